"""What the handlers of the conformance suite do, for the async engine: see `blocking.py`."""

import asyncio
import hashlib
import sys
import threading
from typing import Any

from portside import (
    AsyncDatagramRequestHandler,
    AsyncFramedRequestHandler,
    AsyncRequestHandler,
    AsyncStreamRequestHandler,
)
from tests.engines.instruments import BULK, PIECE, Gate, Journal, name_of, pattern


class Echo(AsyncStreamRequestHandler):
    """Lines, each back in upper case."""

    async def handle(self) -> None:
        async for line in self.reader:
            self.writer.write(line.upper())
            await self.writer.drain()


class FrameEcho(AsyncFramedRequestHandler):
    """Frames, each back as it came."""

    async def handle(self) -> None:
        async for frame in self.frames:
            await self.send(frame)


class DatagramEcho(AsyncDatagramRequestHandler):
    """A datagram, back in upper case."""

    async def handle(self) -> None:
        if self.client_address:
            self.reply(self.packet.upper())


class Quiet(AsyncRequestHandler):
    """Nothing."""


class Bulk(AsyncStreamRequestHandler):
    """Reads BULK bytes, answers with their digest and BULK bytes of its own."""

    async def handle(self) -> None:
        digest, missing = hashlib.sha256(), BULK
        while missing and (piece := await self.reader.read(min(PIECE, missing))):
            digest.update(piece)
            missing -= len(piece)
        self.writer.write(digest.digest())
        self.writer.write(pattern(BULK))
        await self.writer.drain()


class Raises(AsyncStreamRequestHandler):
    """Fails, at once or when it is asked to."""

    async def handle(self) -> None:
        async for line in self.reader:
            if line == b"raise\n":
                raise LookupError("this handler was written to fail")
            self.writer.write(line.upper())


class DatagramRaises(AsyncDatagramRequestHandler):
    """Fails."""

    async def handle(self) -> None:
        if self.packet == b"raise":
            raise LookupError("this handler was written to fail")
        self.reply(self.packet.upper())


class Exits(AsyncStreamRequestHandler):
    """Calls `sys.exit` when it is asked to."""

    async def handle(self) -> None:
        async for line in self.reader:
            if line == b"exit\n":
                sys.exit(3)
            self.writer.write(line.upper())


class Closes(AsyncStreamRequestHandler):
    """Closes the connection itself."""

    async def handle(self) -> None:
        self.writer.write((await self.reader.readline()).upper())
        await self.writer.drain()
        self.request.close()


class LeavesThread(AsyncStreamRequestHandler):
    """Leaves a thread behind, which ends when the gate opens."""

    gate: Gate

    async def handle(self) -> None:
        threading.Thread(target=self.gate.wait, daemon=True).start()
        self.writer.write((await self.reader.readline()).upper())


class Impatient(Echo):
    """Waits a moment for a line, and no longer."""

    timeout = 0.2


class Floods(AsyncStreamRequestHandler):
    """Sends until it cannot."""

    journal: Journal

    async def handle(self) -> None:
        self.journal.note("flooding")
        while True:
            self.writer.write(pattern(PIECE))
            await self.writer.drain()


class Waits(AsyncStreamRequestHandler):
    """Reads a line, waits for the gate to open, answers."""

    journal: Journal
    gate: Gate

    async def handle(self) -> None:
        line = await self.reader.readline()
        self.journal.note("waiting")
        await self.gate.opened()
        self.writer.write(line.upper())


class Farewell(AsyncStreamRequestHandler):
    """Lines, each back in upper case, and a last word when there are no more."""

    async def handle(self) -> None:
        async for line in self.reader:
            self.writer.write(line.upper())
        self.writer.write(b"BYE\n")


class Stops(AsyncStreamRequestHandler):
    """Stops its own server, and answers."""

    drain: float | None

    async def handle(self) -> None:
        await self.reader.readline()
        self.server.shutdown(drain=self.drain)
        self.writer.write(b"STOPPED\n")


class Named(AsyncStreamRequestHandler):
    """Says to whom it talks, and through which proxy, before each line."""

    async def handle(self) -> None:
        async for line in self.reader:
            self.writer.write(name_of(self) + line)
            await self.writer.drain()


class Tells(AsyncRequestHandler):
    """Sends what it was given."""

    word: bytes

    async def handle(self) -> None:
        await plain(self.request, self.client_address, self.server, word=self.word)


class Breaks(AsyncStreamRequestHandler):
    """Fails before it handles anything."""

    async def setup(self) -> None:
        raise LookupError("this handler was written to fail early")

    async def finish(self) -> None:
        raise AssertionError("finish() is for handlers whose setup() went well")


class BreaksLate(AsyncStreamRequestHandler):
    """Fails when it has set itself up."""

    async def setup(self) -> None:
        await super().setup()
        raise LookupError("this handler was written to fail early")

    async def finish(self) -> None:
        raise AssertionError("finish() is for handlers whose setup() went well")


class Hooks(AsyncStreamRequestHandler):
    """Tells the order of its own hooks."""

    journal: Journal

    async def setup(self) -> None:
        self.journal.note("setup")
        await super().setup()

    async def handle(self) -> None:
        self.journal.note("handle")
        self.writer.write((await self.reader.readline()).upper())

    async def finish(self) -> None:
        await super().finish()
        self.journal.note("finish")


async def plain(request: Any, client_address: Any, server: Any, *, word: bytes) -> None:
    """A handler without a class."""
    request.setblocking(False)
    await asyncio.get_running_loop().sock_sendall(request, word)
