"""What the handlers of the conformance suite do, for the engines that run blocking code.

`coroutines.py` holds the same names for the async engine; `test_kit.py` sees to it that neither has one more.
"""

import hashlib
import sys
import threading
from typing import Any

from portside import BaseRequestHandler, DatagramRequestHandler, FramedRequestHandler, StreamRequestHandler
from tests.engines.instruments import BULK, PIECE, Gate, Journal, name_of, pattern


class Echo(StreamRequestHandler):
    """Lines, each back in upper case."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


class FrameEcho(FramedRequestHandler):
    """Frames, each back as it came."""

    def handle(self) -> None:
        for frame in self.frames:
            self.send(frame)


class DatagramEcho(DatagramRequestHandler):
    """A datagram, back in upper case."""

    def handle(self) -> None:
        self.wfile.write(self.packet.upper())


class Quiet(BaseRequestHandler):
    """Nothing."""


class Bulk(StreamRequestHandler):
    """Reads BULK bytes, answers with their digest and BULK bytes of its own."""

    def handle(self) -> None:
        digest, missing = hashlib.sha256(), BULK
        while missing and (piece := self.rfile.read(min(PIECE, missing))):
            digest.update(piece)
            missing -= len(piece)
        self.wfile.write(digest.digest())
        self.wfile.write(pattern(BULK))


class Raises(StreamRequestHandler):
    """Fails, at once or when it is asked to."""

    def handle(self) -> None:
        for line in self.rfile:
            if line == b"raise\n":
                raise LookupError("this handler was written to fail")
            self.wfile.write(line.upper())


class DatagramRaises(DatagramRequestHandler):
    """Fails."""

    def handle(self) -> None:
        if self.packet == b"raise":
            raise LookupError("this handler was written to fail")
        self.wfile.write(self.packet.upper())


class Exits(StreamRequestHandler):
    """Calls `sys.exit` when it is asked to."""

    def handle(self) -> None:
        for line in self.rfile:
            if line == b"exit\n":
                sys.exit(3)
            self.wfile.write(line.upper())


class Closes(StreamRequestHandler):
    """Closes the connection itself."""

    def handle(self) -> None:
        self.wfile.write(self.rfile.readline().upper())
        self.request.close()


class LeavesThread(StreamRequestHandler):
    """Leaves a thread behind, which ends when the gate opens."""

    gate: Gate

    def handle(self) -> None:
        threading.Thread(target=self.gate.wait, daemon=True).start()
        self.wfile.write(self.rfile.readline().upper())


class Impatient(Echo):
    """Waits a moment for a line, and no longer."""

    timeout = 0.2


class Floods(StreamRequestHandler):
    """Sends until it cannot."""

    journal: Journal

    def handle(self) -> None:
        self.journal.note("flooding")
        while True:
            self.wfile.write(pattern(PIECE))


class Waits(StreamRequestHandler):
    """Reads a line, waits for the gate to open, answers."""

    journal: Journal
    gate: Gate

    def handle(self) -> None:
        line = self.rfile.readline()
        self.journal.note("waiting")
        self.gate.wait()
        self.wfile.write(line.upper())


class Farewell(StreamRequestHandler):
    """Lines, each back in upper case, and a last word when there are no more."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())
        self.wfile.write(b"BYE\n")


class Stops(StreamRequestHandler):
    """Stops its own server, and answers."""

    drain: float | None

    def handle(self) -> None:
        self.rfile.readline()
        self.server.shutdown(drain=self.drain)
        self.wfile.write(b"STOPPED\n")


class Named(StreamRequestHandler):
    """Says to whom it talks, and through which proxy, before each line."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(name_of(self) + line)


class Tells(BaseRequestHandler):
    """Sends what it was given."""

    word: bytes

    def handle(self) -> None:
        self.request.sendall(self.word)


class Breaks(StreamRequestHandler):
    """Fails before it handles anything."""

    def setup(self) -> None:
        raise LookupError("this handler was written to fail early")

    def finish(self) -> None:
        raise AssertionError("finish() is for handlers whose setup() went well")


class BreaksLate(StreamRequestHandler):
    """Fails when it has set itself up."""

    def setup(self) -> None:
        super().setup()
        raise LookupError("this handler was written to fail early")

    def finish(self) -> None:
        raise AssertionError("finish() is for handlers whose setup() went well")


class Hooks(StreamRequestHandler):
    """Tells the order of its own hooks."""

    journal: Journal

    def setup(self) -> None:
        self.journal.note("setup")
        super().setup()

    def handle(self) -> None:
        self.journal.note("handle")
        self.wfile.write(self.rfile.readline().upper())

    def finish(self) -> None:
        super().finish()
        self.journal.note("finish")


def plain(request: Any, client_address: Any, server: Any, *, word: bytes) -> None:
    """A handler without a class."""
    request.sendall(word)
