"""The writing side of a connection: whatever a handler writes, what leaves is a well-formed response.

A head is kept until the first byte of its body, the end of its request or a `flush()`, so that a small response leaves
in one system call. What the body may be is decided by `framing()`, a table in the order of RFC 9112, 6.3.
"""

import math
import os
import socket
import time
from collections.abc import Callable
from enum import Enum, auto
from io import BufferedIOBase
from typing import Any, Protocol

from portside.http.output import Output
from portside.http.quick import QuickWriter, Sender, know
from portside.http.waits import bound_sending

# Bytes of a body up to which it is copied behind its head: copying them costs less than a system call of its own.
JOINED = 64 * 1024

# Bytes that one sendfile(2) may send: it must come back in time for the client's next deadline.
SENDFILE_STEP = 1024 * 1024

# The same over a green socket, whose deadline is for all of a piece: a client that takes 4 KiB a second is in time.
GREEN_STEP = 256 * 1024


class Framing(Enum):
    """How the end of a response's body is told."""

    RAW = auto()  # the handler's business: it writes heads, or chunks, of its own
    OTHER = auto()  # another protocol takes over: 101, and CONNECT
    NONE = auto()  # there is no body, whatever is written
    LENGTH = auto()  # Content-Length
    OPEN = auto()  # in chunks; "Content-Length: 0" where nothing is written
    CLOSE = auto()  # the connection's end


def framing(method: str | None, status: int, length: int | None, coded: bool, chunks_understood: bool) -> Framing:
    """How a response's body ends (RFC 9112, 6.3; 205 is told by closing, RFC 9110, 15.3.6).

    Args:
        method: of the request.
        status: of the response.
        length: what the handler gave as Content-Length.
        coded: the handler gave a Transfer-Encoding, and writes in it.
        chunks_understood: both sides speak HTTP/1.1.
    """
    if status == 101 or (method == "CONNECT" and 200 <= status < 300):
        return Framing.OTHER
    if method == "HEAD" or status in (204, 304) or status < 200:
        return Framing.NONE
    if coded:
        return Framing.RAW
    if length is not None:
        return Framing.LENGTH
    return Framing.OPEN if chunks_understood and status != 205 else Framing.CLOSE


class Sink(Protocol):
    """Where a response goes."""

    def write(self, data: Any, /) -> Any:
        """Take all of `data`."""

    def flush(self) -> None:
        """Send what is kept."""


class SocketSink(BufferedIOBase):
    """Sends at once. A send may last as long as the client goes on taking something.

    Args:
        sock: a connected socket; it stays the caller's.
        patience: seconds without any progress after which TimeoutError is raised; None is for ever.

    Attributes:
        keeps: whether anything that was written stays here until `flush()`.
    """

    keeps = False

    def __init__(self, sock: socket.socket, patience: float | None) -> None:
        self._sock = sock
        self._send = sock.send
        self._patience = patience
        self._prompt = bound_sending(sock, patience)

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: Any) -> int:
        """Send all of `data` (bytes, or a view of bytes).

        Raises:
            TimeoutError: the client takes nothing any more.
            OSError: it is gone.
        """
        size = len(data)
        try:
            sent = self._send(data)
        except (TimeoutError, BlockingIOError):
            sent = 0
        if sent < size:
            self._send_rest(memoryview(data)[sent:])
        return size

    def new_sender(self) -> Callable[[Any], object]:
        """What sends as `write` does, at the least cost."""
        return Sender(self._sock, self._send_rest) if Sender is not None and self._prompt else self.write

    def _send_rest(self, view: memoryview) -> None:
        deadline = self._deadline()
        while view:
            try:
                view = view[self._send(view) :]
                deadline = self._deadline()
            except (TimeoutError, BlockingIOError) as error:  # this wait's deadline may be one for reading, and shorter
                if time.monotonic() >= deadline:
                    raise TimeoutError("the client takes nothing") from error

    def _deadline(self) -> float:
        return math.inf if self._patience is None else time.monotonic() + self._patience

    def sendfile(self, file: Any, offset: int, count: int) -> int:
        """Have the kernel send a file's bytes; returns how many, 0 where it cannot (TLS).

        Raises:
            TimeoutError, OSError: as `write`.
        """
        if type(self._sock) is not socket.socket or self._sock.gettimeout() is not None:
            return 0
        sent = 0
        while sent < count:
            try:
                step = os.sendfile(self._sock.fileno(), file.fileno(), offset + sent, min(count - sent, SENDFILE_STEP))
            except BlockingIOError as error:
                raise TimeoutError("the client takes nothing") from error
            if not step:
                break  # the file has become shorter
            sent += step
        return sent

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()


class GreenSink:
    """Sends over a green socket: at once, or together with other small answers where the client pipelines.

    Args:
        sock: the socket; it stays the caller's.
        file: its compiled file for writing, unbuffered.
        patience: as for `SocketSink`.

    Attributes:
        file: the file.
    """

    keeps = False

    def __init__(self, sock: Any, file: Any, patience: float | None) -> None:
        self._sock = sock
        self.file = file
        sock.settimeout(patience)

    def send(self, data: bytes | memoryview) -> int:
        """Send a small piece."""
        sent: int = self.file.write(data)
        return sent

    def flush(self) -> None:
        """Send what is gathered."""
        self.file.flush()

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def fileno(self) -> int:
        """The socket's descriptor."""
        return int(self.file.fileno())

    def write(self, data: Any) -> int:
        """Send all of `data` (bytes, or a view of bytes), each piece of it in time; raises as `SocketSink.write`."""
        size = len(data)
        if size <= JOINED:
            self.send(data)
        else:
            view = memoryview(data)
            for start in range(0, size, GREEN_STEP):
                self.send(view[start : start + GREEN_STEP])
        return size

    def sendfile(self, file: Any, offset: int, count: int) -> int:
        """Have the kernel send a file's bytes; returns how many; raises as `write`."""
        self.flush()
        return int(self._sock.sendfile(file, offset, count, span=GREEN_STEP)) if count else 0


class AnyResponseWriter(Output):
    """Writes responses of every kind, see `ResponseWriter`."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self._keeps = getattr(sink, "keeps", True)
        self._send_to(sink)
        self._head: bytes | None = None  # kept, without the empty line that ends it
        self._framing = Framing.RAW
        self._left = 0  # bytes that Content-Length still promises
        self.started = False
        self.sent = 0
        self.broken = False

    def _send_to(self, sink: Any) -> None:
        """What small pieces are sent to, where there is a shorter way."""

    def begin(self) -> None:
        """A request begins: nothing is known of its response."""
        self._head, self._framing, self.started, self.sent = None, Framing.RAW, False, 0

    def head(self, head: bytes, kind: Framing, length: int | None = None) -> None:
        """Take a response's head, without the empty line that ends it, and keep it for now."""
        self._head, self._framing, self._left = head, kind, length or 0

    @property
    def pending(self) -> bool:
        """Whether a head is kept."""
        return self._head is not None

    def forget(self) -> None:
        """Drop a head that is kept."""
        self._head, self._framing = None, Framing.RAW

    def write(self, b: Any, /) -> int:
        """Send `b` (bytes-like) as a part of the body; returns its length in bytes.

        Raises:
            OSError: the client is gone, or TimeoutError: it does not read.
        """
        data: Any = b if isinstance(b, bytes) else memoryview(b).cast("B")
        size = len(data)
        if not size:
            return 0
        self.sent += size
        if self._framing is Framing.LENGTH:
            self._deliver(data if size <= self._left else self._cut(data), b"\r\n")
            self._left -= min(size, self._left)
        elif self._framing is Framing.OPEN:
            self._deliver(b"%x\r\n%b\r\n" % (size, data), b"Transfer-Encoding: chunked\r\n\r\n")
        elif self._framing is not Framing.NONE:
            self._deliver(data, b"\r\n")
        else:
            self.sent = 0
        return size

    def _cut(self, data: Any) -> Any:
        """More than was promised would be taken for the next response."""
        self.broken = True
        return data[: self._left]

    def _deliver(self, data: Any, end_of_head: bytes) -> None:
        head, self._head = self._head, None
        self.started = True
        if head is None:
            self._sink.write(data)
        elif len(data) <= JOINED:
            self._sink.write(b"".join((head, end_of_head, data)))
        else:
            self._sink.write(head + end_of_head)
            self._sink.write(data)

    def flush(self) -> None:
        """Send everything that is kept, a head too."""
        if self._head is not None:
            self._deliver(b"", b"Transfer-Encoding: chunked\r\n\r\n" if self._framing is Framing.OPEN else b"\r\n")
        self._sink.flush()

    def close(self) -> None:
        """Flush, and close what it writes to (not the socket)."""
        if not self.closed:
            try:
                self.flush()
            finally:
                super().close()
                self._sink.close()

    def interim(self, head: bytes) -> None:
        """Send an interim response (1xx, whole) at once, before a head that is kept; nothing once that has left."""
        if not self.started:
            self._sink.write(head)
            self._sink.flush()

    def end(self) -> None:
        """The request is over: send what is kept, and the end of the body."""
        if self._framing is Framing.OPEN:
            if self._head is None:
                self._sink.write(b"0\r\n\r\n")
            else:
                self._deliver(b"", b"Content-Length: 0\r\n\r\n")
        elif self._head is not None:
            self._deliver(b"", b"\r\n")
        if self._framing is Framing.LENGTH and self._left:
            self.broken = True
        self._framing = Framing.RAW
        self._sink.flush()

    def break_off(self) -> None:
        """The rest of the body will not come: what was sent must not look whole, so the connection has to be closed."""
        if self._framing is Framing.OPEN:
            self._framing = Framing.CLOSE
        self.broken = True

    def hand_over(self) -> None:
        """The handler goes on with the socket itself: what is kept leaves, and the connection's end ends the body."""
        if self._framing is Framing.OPEN and self._head is not None:
            self._framing, self.broken = Framing.CLOSE, True
        self.flush()

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a file's bytes as a part of the body, by the kernel's own copying where it can.

        Args:
            file: an open regular file, binary; its position afterwards is undefined.
            offset: of the first byte.
            count: bytes to send; None is up to the end.

        Returns:
            The bytes that were sent; fewer than `count` where the file is shorter.

        Raises:
            OSError: as `write`.
        """
        if count is None:
            count = max(0, os.fstat(file.fileno()).st_size - offset)
        if self._framing is Framing.NONE:
            return count
        by_kernel = getattr(self._sink, "sendfile", None)
        if (
            by_kernel is None
            or self._framing is Framing.OPEN
            or (self._framing is Framing.LENGTH and count > self._left)
        ):
            return self._copy(file, offset, count)
        self.flush()
        sent = int(by_kernel(file, offset, count))
        self._left -= sent
        self.sent += sent
        return sent + (self._copy(file, offset + sent, count - sent) if sent < count else 0)

    def _copy(self, file: Any, offset: int, count: int) -> int:
        file.seek(offset)
        sent = 0
        while sent < count and (data := file.read(min(JOINED, count - sent))):
            sent += self.write(data)
        return sent


class ResponseWriter(QuickWriter, AnyResponseWriter):
    """The `wfile` of a handler.

    Args:
        sink: a `SocketSink` or `GreenSink`, or a buffered writer where the handler asks for one (`wbufsize`).

    Attributes:
        started: whether a byte of the current response has left.
        sent: bytes of its body that have.
        broken: whether the response does not end where it should: the connection has to be closed.
    """


know(LENGTH=Framing.LENGTH, RAW=Framing.RAW, OPEN=Framing.OPEN)
