"""The handlers of the async engine: the same roles, with `async def handle(self)`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

from portside.frames import READ_SIZE, bounded
from portside.framing import Codec, FrameTooLong, Lines
from portside.handlers import Handler, send_datagram
from portside.policy.async_handshakes import TLSRequest, TLSWriter, start_tls_async
from portside.starttls import injected, settle, startable
from portside.telemetry import CloseReason


class AsyncRequestHandler(Handler):
    """Handles one request in a coroutine: awaiting the object runs `setup()`, `handle()` and `finish()`.

    Its arguments are `Handler`'s.
    """

    def __await__(self) -> Generator[Any, None, None]:
        return self._run().__await__()

    def _portside_tls(self) -> Any:
        transport = getattr(self.request, "transport", None)
        return transport and transport.get_extra_info("ssl_object")

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

    @property
    def unread(self) -> int:
        """Bytes that have arrived and were not read yet."""
        return len(vars(self)["_buffer"])  # which asyncio shows nobody

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


class _Protocol(asyncio.StreamReaderProtocol):
    """asyncio's protocol under `reader` and `writer`, which tells when the connection is about to be closed.

    Args:
        reader: the reader.
        on_lost: called then, with the error that ended it.
        stall: seconds that a client may take nothing while output waits; then the connection is cut. None for ever.
    """

    def __init__(
        self, reader: asyncio.StreamReader, on_lost: Callable[[Exception | None], None], stall: float | None
    ) -> None:
        super().__init__(reader)
        self._on_lost = on_lost
        self._stall = stall
        self._timer: asyncio.TimerHandle | None = None
        self._transport_below: Any = None
        self._late: Exception | None = None  # what the handler's `drain` raises then
        self._is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport_below = transport
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        self._is_lost = True
        self._on_lost(self._late or exc)
        super().connection_lost(self._late or exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.expect_progress()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._rest()

    def expect_progress(self) -> None:
        """From now on, cut the connection when its client takes nothing for too long."""
        if self._stall is not None and self._timer is None:
            self._await_progress(self._transport_below.get_write_buffer_size())

    def expect_end(self) -> None:
        """The same, where there is output that has not left."""
        below = self._transport_below
        if not self._is_lost and not below.is_closing() and below.get_write_buffer_size():
            self.expect_progress()

    def _await_progress(self, left: int) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._stall or 0, self._look, left)

    def _look(self, before: int) -> None:
        left = self._transport_below.get_write_buffer_size()
        if left < before:
            self._await_progress(left)
        else:
            self._late = TimeoutError("the client took nothing in time")
            self._transport_below.abort()

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


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
    _portside_secured = False  # whether asyncio's TLS is between the socket and the protocol
    _portside_broken = False  # whether a handshake has failed, after which asyncio tells nobody of the connection's end

    async def setup(self) -> None:
        """Make `reader` and `writer`. May be extended."""
        loop = asyncio.get_running_loop()
        self.reader = self._reader()
        protocol = self._protocol(self.reader)
        if isinstance(self.request, TLSRequest):
            transport, self._portside_secured = self.request.transport, True
            self.request.hand_over(protocol)
        else:
            self.request.setblocking(False)
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, self.request)
        writer_class = TLSWriter if self._portside_secured else asyncio.StreamWriter
        self.writer = writer_class(transport, protocol, self.reader, loop)

    def _protocol(self, reader: asyncio.StreamReader) -> _Protocol:
        door = self._portside_door
        stall = None if door is None else door.limits.write_seconds
        self._portside_protocol = _Protocol(reader, self._settle, stall)
        return self._portside_protocol

    async def start_tls(self, tls: Any = None) -> None:
        """Go on encrypted: shake hands, and make `reader` and `writer` anew (STARTTLS).

        What it is for, its argument and what it raises are as of `StreamRequestHandler.start_tls`.
        """
        policy = startable(self.peer, self.server, tls)
        if self._portside_unread():
            raise injected()
        before, reader = self.reader, self._reader()
        protocol = self._protocol(reader)
        context, seconds = policy.fresh_context(self.server), policy.handshake_timeout
        self._portside_secured = True
        try:
            transport = await start_tls_async(self.writer.transport, protocol, context, seconds)
        except BaseException:
            self._portside_broken = True
            raise
        before.set_exception(ValueError("start_tls() has put another reader in the place of this one: self.reader"))
        self.reader = reader
        vars(self).pop("peer", None)  # more is known of it now
        self._portside_plain = self.writer  # which would close its transport, and with it this one, if nobody held it
        self.writer = TLSWriter(transport, protocol, reader, asyncio.get_running_loop())

    def _portside_unread(self) -> bool:
        """Whether bytes of the client's have arrived, and were not taken by the handler yet."""
        reader = self.reader
        return isinstance(reader, LimitedReader) and reader.unread > 0

    def _portside_tls(self) -> Any:
        return self.writer.get_extra_info("ssl_object") if hasattr(self, "writer") else super()._portside_tls()

    def abandon(self) -> None:
        """Close the connection without sending anything more. May be extended."""
        if hasattr(self, "writer"):
            self.writer.transport.abort()

    def _settle(self, error: Exception | None) -> None:
        """The transport is about to close the socket: the server's record must ask it for its figures before.

        With TLS it has closed it, which it does of itself only when the client has left.
        """
        late = isinstance(error, TimeoutError)
        machine = getattr(self.server, "_portside", None)
        record = machine and machine.connections.get(self.request)
        if record and late:
            record.blame(CloseReason.TIMED_OUT, error)
            record.forsake()
        lost = late or self._portside_secured or isinstance(error, ConnectionError)
        settle(self.server, self.request, lost=lost)

    def _reader(self) -> asyncio.StreamReader:
        """Without a timeout, without a deadline: its bookkeeping is half the price of a short line."""
        door, timeout, limit = self._portside_door, self.timeout, self.limit
        if door is not None:
            timeout = door.read_seconds if timeout is None else timeout
            limit = min(limit, door.limits.line_bytes or limit)
        return LimitedReader(limit=limit) if timeout is None else DeadlineReader(limit=limit, timeout=timeout)

    async def finish(self) -> None:
        """Send what is left, and close. May be extended."""
        if self._portside_secured:
            settle(self.server, self.request)
            self._portside_secured = False  # that the connection ends is this handler's doing from now on
        if self._portside_broken:
            self.writer.transport.abort()
            return
        self._portside_protocol.expect_end()
        self.writer.close()
        with contextlib.suppress(OSError):  # the client left before it had read everything
            await self.writer.wait_closed()


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
        door = self._portside_door
        codec = self.codec if door is None else bounded(self.codec, door.limits.frame_bytes)
        self._portside_decoder = codec.decoder()
        self.frames = self._read_frames()

    async def send(self, *frames: bytes) -> None:
        """Send frames, and wait while the client is slow to read.

        Raises:
            FrameTooLong, FrameCorrupt: a frame cannot be written in this codec; nothing was sent.
            OSError: the client is gone.
        """
        self.writer.write(b"".join(map(self.codec.encode, frames)))
        await self.writer.drain()

    def _portside_unread(self) -> bool:
        return super()._portside_unread() or self._portside_decoder.pending > 0

    async def _read_frames(self) -> AsyncIterator[bytes]:
        decoder = self._portside_decoder
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
