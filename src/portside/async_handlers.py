"""The handlers of the async engine: the same roles, with `async def handle(self)`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any

from portside.frames import READ_SIZE, bounded
from portside.framing import Codec, FrameTooLong, Lines
from portside.handlers import Handler, send_datagram
from portside.telemetry import CloseReason


class AsyncRequestHandler(Handler):
    """Handles one request in a coroutine: awaiting the object runs `setup()`, `handle()` and `finish()`.

    Its arguments are `Handler`'s.
    """

    def __await__(self) -> Generator[Any, None, None]:
        return self._run().__await__()

    async def setup(self) -> None:
        """Awaited before `handle()`. May be overridden."""

    async def handle(self) -> None:
        """Do all the work of the request. To be overridden."""

    async def finish(self) -> None:
        """Awaited after `handle()`, unless `setup()` raised. May be overridden."""

    def abandon(self) -> None:
        """Called when `setup()` raised: give back what it had opened. May be extended."""

    async def _run(self) -> None:
        try:
            await self.setup()
        except BaseException:
            self.abandon()
            raise
        try:
            await self.handle()
        finally:
            await self.finish()


class LimitedReader(asyncio.StreamReader):
    """asyncio's reader, with the name for a line that is too long which all of Portside has.

    Args:
        limit: bytes of the longest line.
    """

    def __init__(self, *, limit: int) -> None:
        super().__init__(limit=limit)
        self._longest = limit

    async def readline(self) -> bytes:
        """As asyncio's.

        Raises:
            FrameTooLong: a ValueError, as asyncio's: the client sent more than `limit` bytes without a line's end.
        """
        try:
            return await super().readline()
        except ValueError as error:
            raise FrameTooLong(self._longest) from error


class DeadlineReader(LimitedReader):
    """The reader, with a deadline for each read.

    Args:
        limit: bytes of the longest line, as asyncio's.
        timeout: seconds that one read may wait before it raises TimeoutError.
    """

    def __init__(self, *, limit: int, timeout: float) -> None:
        super().__init__(limit=limit)
        self._seconds = timeout

    async def read(self, n: int = -1) -> bytes:
        """As asyncio's, under the deadline."""
        async with asyncio.timeout(self._seconds):
            return await super().read(n)

    async def readexactly(self, n: int) -> bytes:
        """As asyncio's, under the deadline."""
        async with asyncio.timeout(self._seconds):
            return await super().readexactly(n)

    async def readuntil(self, separator: Any = b"\n") -> bytes:
        """As asyncio's, under the deadline; `readline` and iteration stand on it."""
        async with asyncio.timeout(self._seconds):
            return await super().readuntil(separator)


class DeadlineWriter(asyncio.StreamWriter):
    """asyncio's writer, with a deadline for a client that takes nothing: then the connection is cut.

    Attributes:
        seconds: how long that may last before it raises TimeoutError.
    """

    seconds: float

    async def drain(self) -> None:
        """As asyncio's, under the deadline."""
        await self._taken(super().drain())

    async def wait_closed(self) -> None:
        """As asyncio's, under the deadline."""
        await self._taken(super().wait_closed())

    async def _taken(self, waiting: Coroutine[Any, Any, None]) -> None:
        """Wait while the client takes something; where nothing waits to be sent, without any bookkeeping."""
        left = self.transport.get_write_buffer_size()
        if not left:
            await waiting
            return
        done = asyncio.ensure_future(waiting)
        while not (await asyncio.wait((done,), timeout=self.seconds))[0]:
            before, left = left, self.transport.get_write_buffer_size()
            if left >= before:
                self.transport.abort()
                done.cancel()
                raise TimeoutError("the client took nothing in time")
        await done


class _Protocol(asyncio.StreamReaderProtocol):
    """asyncio's protocol under `reader` and `writer`, which tells when the connection is about to be closed."""

    def __init__(self, reader: asyncio.StreamReader, on_lost: Callable[[Exception | None], None]) -> None:
        super().__init__(reader)
        self._on_lost = on_lost

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost(exc)
        super().connection_lost(exc)


class AsyncStreamRequestHandler(AsyncRequestHandler):
    """Handles a connection through `reader` and `writer`, asyncio's own.

    Attributes:
        timeout: seconds that one read may wait before it raises TimeoutError; None for ever.
        limit: bytes of the longest line; asyncio's default of 64 KiB.
    """

    timeout: float | None = None
    limit: int = 65_536
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def setup(self) -> None:
        """Make `reader` and `writer`. May be extended."""
        loop = asyncio.get_running_loop()
        self.request.setblocking(False)
        self.reader = self._reader()
        protocol = _Protocol(self.reader, self._settle)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, self.request)
        self.writer = self._writer(transport, protocol, loop)

    def abandon(self) -> None:
        """Close the connection without sending anything more. May be extended."""
        if hasattr(self, "writer"):
            self.writer.transport.abort()

    def _settle(self, error: Exception | None) -> None:
        """The transport is about to close the socket: the server's record must ask it for its figures before."""
        record = self._portside_record
        if record:
            record.settle(lost=isinstance(error, ConnectionError))

    @property
    def _portside_record(self) -> Any:
        machine = getattr(self.server, "_portside", None)
        return machine and machine.connections.get(self.request)

    def _reader(self) -> asyncio.StreamReader:
        """Without a timeout, without a deadline: its bookkeeping is half the price of a short line."""
        door, timeout, limit = self._portside_door, self.timeout, self.limit
        if door is not None:
            timeout = door.read_seconds(self.request) if timeout is None else timeout
            limit = min(limit, door.limits.line_bytes or limit)
        return LimitedReader(limit=limit) if timeout is None else DeadlineReader(limit=limit, timeout=timeout)

    def _writer(self, transport: Any, protocol: Any, loop: asyncio.AbstractEventLoop) -> asyncio.StreamWriter:
        door = self._portside_door
        if door is None or door.limits.write_seconds is None:
            return asyncio.StreamWriter(transport, protocol, self.reader, loop)
        writer = DeadlineWriter(transport, protocol, self.reader, loop)
        writer.seconds = door.limits.write_seconds
        return writer

    async def finish(self) -> None:
        """Send what is left, and close. May be extended."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except TimeoutError as error:
            if self._portside_record:
                self._portside_record.blame(CloseReason.TIMED_OUT, error)
        except OSError:
            pass  # the client left before it had read everything


class AsyncFramedRequestHandler(AsyncStreamRequestHandler):
    """Handles a connection as frames: `async for frame in self.frames: await self.send(frame)`.

    Attributes:
        codec: how frames are written on the wire.
        frames: yields each frame (bytes) that the client sends, and ends when the client has.
    """

    codec: Codec = Lines()

    async def setup(self) -> None:
        """Make `frames`, on top of `reader`. May be extended."""
        await super().setup()
        self.frames = self._read_frames()

    async def send(self, *frames: bytes) -> None:
        """Send frames, and wait while the client is slow to read.

        Raises:
            FrameTooLong, FrameCorrupt: a frame cannot be written in this codec; nothing was sent.
            OSError: the client is gone.
        """
        self.writer.write(b"".join(map(self.codec.encode, frames)))
        await self.writer.drain()

    async def _read_frames(self) -> AsyncIterator[bytes]:
        door = self._portside_door
        decoder = (self.codec if door is None else bounded(self.codec, door.limits.frame_bytes)).decoder()
        while data := await self.reader.read(READ_SIZE):
            decoder.feed(data)
            for frame in decoder:
                yield frame
        decoder.finish()


class AsyncDatagramRequestHandler(AsyncRequestHandler):
    """Handles a datagram: `packet` holds it, `reply()` answers.

    Attributes:
        packet: the datagram's bytes.
        socket: the server's socket.
    """

    async def setup(self) -> None:
        """Take the request apart. May be extended."""
        self.packet, self.socket = self.request

    def reply(self, data: bytes) -> None:
        """Send one datagram to the client.

        Raises:
            ConnectionResetError: the client's socket is gone.
            OSError: the system refuses; EMSGSIZE when `data` is longer than a datagram may be.
        """
        send_datagram(self.socket, data, self.client_address)
