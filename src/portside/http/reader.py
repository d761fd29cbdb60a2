"""The reading side of a connection: whole request heads under a deadline, and whatever bytes follow them."""

import io
import socket
import time

from portside.frames import READ_SIZE
from portside.http.errors import HTTPError, IncompleteRequest, RequestTimeout
from portside.http.head import check_fields, check_sizes
from portside.http.limits import HTTPLimits
from portside.http.waits import Waits
from portside.reading import PatientReader

_END = b"\r\n\r\n"
_CR = 13
# A head with bare line feeds is refused, but it is refused when it ends, and not when its deadline has come.
_ANY_END = (b"\n\n", b"\n\r\n")


class ConnectionReader(PatientReader):
    """Reads requests from a socket; it stays the caller's.

    Args:
        sock: a connected socket.
        limits: of the heads.
        idle: seconds of each wait, until `wait_at_most` says otherwise; None is for ever.

    Raises:
        TimeoutError: out of every method that reads: nothing came in time.
    """

    def __init__(self, sock: socket.socket, limits: HTTPLimits, idle: float | None) -> None:
        super().__init__(sock.recv)
        self._limits = limits
        self._waits = Waits(sock)
        self._waits.set(idle)
        self._fields_size = 0  # of header fields that are known to be in the buffer
        self._small = min(limits.request_line, limits.header_line, limits.header_bytes)
        self.wait_at_most = self._waits.set

    def _fill(self) -> bool:
        try:
            data = self._receive(READ_SIZE)
        except BlockingIOError as error:
            raise TimeoutError("the client sent nothing in time") from error
        self._buffer += data
        return bool(data)

    def _take(self, size: int) -> bytes:
        self._fields_size = 0
        return super()._take(size)

    def request_line(self) -> bytes:
        """Wait for the whole head of the next request, and take its first line; b"" when the client has ended.

        Raises:
            TimeoutError: no byte of it came.
            RequestTimeout: it began, and its end did not come in time.
            HTTPError: what came is longer than the limits allow.
            IncompleteRequest: the client ended inside it.
            OSError: the connection broke.
        """
        buffer = self._buffer
        if not buffer and not self._fill():
            return b""
        if (end := buffer.find(_END) + 4) < 4 or end > self._small or buffer[0] == _CR:
            end = self._end_of_head()
        size = buffer.find(b"\n") + 1
        line = bytes(buffer[:size])
        del buffer[:size]
        self._fields_size = end - size
        return line

    def first_line(self) -> bytes:
        """What has come of a head's first line; for a head that is refused."""
        return bytes(self._buffer[: self._buffer.find(b"\n") + 1])

    def take_fields(self) -> bytes:
        """The header fields that come next, with the CRLF that ends them; raises as `request_line`."""
        return self._take(self._fields_size or self._end_of_fields())

    @property
    def buffered(self) -> int:
        """Bytes that can be read without waiting."""
        return len(self._buffer)

    def give_back(self, data: bytes) -> None:
        """Put bytes in front of the buffer: they were read beyond the end of a body."""
        self._buffer[:0] = data

    def _end_of_head(self) -> int:
        """Where a head ends that is long, or has not arrived whole, or has an empty line before it.

        That line is ignored (RFC 9112, 2.2).
        """
        deadline = time.monotonic() + self._limits.header_seconds
        with self._waits.kept():
            while len(self._buffer) < 2:
                self._fill_before(deadline)
            if self._buffer.startswith(b"\r\n"):
                del self._buffer[:2]
            while not (end := _first_end(self._buffer)):
                check_sizes(self._buffer, self._limits)
                self._fill_before(deadline)
        check_sizes(self._buffer[:end], self._limits)
        return end

    def _end_of_fields(self) -> int:
        """Where the fields end, for a program that has read a request line by itself."""
        deadline = time.monotonic() + self._limits.header_seconds
        with self._waits.kept():
            while len(self._buffer) < 2:
                self._fill_before(deadline)
            while not (end := 2 if self._buffer.startswith(b"\r\n") else _first_end(self._buffer)):
                check_fields(self._buffer, self._limits)
                self._fill_before(deadline)
        return end

    def _fill_before(self, deadline: float) -> None:
        remaining = deadline - time.monotonic()
        try:
            if remaining <= 0:
                raise TimeoutError
            self._waits.set(remaining)
            if not self._fill():
                raise IncompleteRequest("the request ended inside its head")
        except TimeoutError as error:
            raise RequestTimeout(f"the head did not come within {self._limits.header_seconds:g} s") from error


def _first_end(head: bytearray) -> int:
    return min((at + len(end) for end in _ANY_END if (at := head.find(end)) >= 0), default=0)


class PacedSource:
    """Reads a body from a connection, and insists that it comes: `HTTPLimits.body_rate` and its neighbours.

    Called with a number of bytes, it returns some of them; b"" at the end of the stream.

    Raises:
        RequestTimeout: the client is too slow.
        HTTPError: 413, the body is longer than `body_bytes`.
    """

    def __init__(self, reader: ConnectionReader, limits: HTTPLimits) -> None:
        self._reader = reader
        self._limits = limits
        self._received = 0
        self._waited = 0.0

    def __call__(self, size: int) -> bytes:
        data = self._reader.read1(size) if self._reader.buffered else self._receive(size)
        self._received += len(data)
        if self._limits.body_bytes is not None and self._received > self._limits.body_bytes:
            raise HTTPError(413)
        return data

    def _receive(self, size: int) -> bytes:
        limits = self._limits
        allowed = limits.body_grace + self._received / limits.body_rate - self._waited
        began = time.monotonic()
        try:
            if allowed <= 0:
                raise TimeoutError
            self._reader.wait_at_most(allowed)
            return self._reader.read1(size)
        except TimeoutError as error:
            raise RequestTimeout(f"the body came slower than {limits.body_rate:g} bytes a second") from error
        finally:
            self._waited += time.monotonic() - began


def take_fields(source: io.BufferedIOBase, limits: HTTPLimits, *, lenient: bool) -> bytes:
    """The header fields that come next in any file object, which a program put in the place of `rfile`.

    Args:
        source: the file.
        limits: of the head.
        lenient: whether a bare line feed ends a line too, and the file's end the fields; both come back as CRLF.

    Raises:
        HTTPError: they are longer than the limits allow.
        IncompleteRequest: the source ended inside them.
    """
    block, line = b"", b"-"
    while line not in (b"\r\n", b"\n"):
        line = source.readline(limits.header_line + 1)
        if lenient:
            line = _with_crlf(line)
        if not line:
            raise IncompleteRequest("the request ended inside its head")
        block += line
        check_fields(block, limits)
    return block


def _with_crlf(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r") + b"\r\n"
