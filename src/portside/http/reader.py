"""The reading side of a connection: whole request heads under a deadline, and whatever bytes follow them."""

import contextlib
import io
import socket
import time
from collections.abc import Iterator
from typing import Any

from portside.engines.compiled import core
from portside.frames import READ_SIZE
from portside.http.errors import HTTPError, IncompleteRequest, RequestTimeout
from portside.http.head import check_fields, check_sizes
from portside.http.limits import HTTPLimits
from portside.http.quick import receive
from portside.http.waits import Waits
from portside.reading import PatientReader

_END = b"\r\n\r\n"
_CR = 13
# A head with bare line feeds is refused, but it is refused when it ends, and not when its deadline has come.
_ANY_END = (b"\n\n", b"\n\r\n")


class Waiter:
    """Who waits for a request, where nobody else wants to know."""

    idle = ending = False


class HeadSource:
    """Reads whole heads of requests; where the bytes come from is a subclass's to say.

    Args:
        limits: of the heads.

    Attributes:
        file: what else reads the same bytes: bodies, and programs that read for themselves.
        small: bytes of a head that passes no limit, whatever is in it.
        waiter: its `idle` is true while nothing of another request has come; see `portside.connections.Connection`.
    """

    file: Any
    waiter: Any = Waiter()

    def __init__(self, limits: HTTPLimits) -> None:
        self._limits = limits
        self._fields = (0, 0)  # bytes of header fields that are known to be unread, and how much was unread then
        self.small = limits.small_head

    # -- what a subclass brings --

    def wait_at_most(self, seconds: float | None) -> None:
        """Let every read last so many seconds from now on; None is for ever."""
        raise NotImplementedError

    def give_back(self, data: bytes) -> None:
        """Put bytes in front of what is unread: they were read beyond the end of a body."""
        raise NotImplementedError

    @property
    def buffered(self) -> int:
        """Bytes that can be read without waiting."""
        raise NotImplementedError

    def _unread(self) -> bytes | bytearray:
        """What has come and was not read."""
        raise NotImplementedError

    def _more(self) -> bool:
        """Receive more of it; False at the end of the stream."""
        raise NotImplementedError

    def _take(self, size: int) -> bytes:
        """Read so many bytes, which are there."""
        raise NotImplementedError

    def _kept_wait(self) -> contextlib.AbstractContextManager[None]:
        """At the end of the block reads last as long again as before it."""
        raise NotImplementedError

    # -- heads --

    def head(self) -> bytes:
        """Wait for the whole head of the next request, and take it; b"" when the client has ended.

        Raises:
            TimeoutError: no byte of it came.
            RequestTimeout: it began, and its end did not come in time.
            HTTPError: what came is longer than the limits allow.
            IncompleteRequest: the client ended inside it.
            OSError: the connection broke.
        """
        end = self._wait_for_head()
        return self._take(end) if end else b""

    def request_line(self) -> bytes:
        """The same, taking its first line only; the rest is there to be read."""
        end = self._wait_for_head()
        if not end:
            return b""
        line = self._take(self._unread().find(b"\n") + 1)
        self._fields = end - len(line), self.buffered
        return line

    def first_line(self) -> bytes:
        """What has come of a head's first line; for a head that is refused."""
        unread = self._unread()
        return bytes(unread[: unread.find(b"\n") + 1])

    def take_fields(self) -> bytes:
        """The header fields that come next, with the CRLF that ends them; raises as `head`."""
        size, unread = self._fields
        return self._take(size if size and unread == self.buffered else self._end_of_fields())

    def _wait_for_head(self) -> int:
        """Bytes of the next head, all of which are there; 0 when the client has ended."""
        if not self.buffered and not self._more():
            return 0
        unread = self._unread()
        end = unread.find(_END) + 4
        return self._end_of_head() if end < 4 or end > self.small or unread[0] == _CR else end

    def _end_of_head(self) -> int:
        """Where a head ends that is long, or has not arrived whole, or has an empty line before it.

        That line is ignored (RFC 9112, 2.2).
        """
        self.waiter.idle = False
        deadline = time.monotonic() + self._limits.header_seconds
        with self._kept_wait():
            while self.buffered < 2:
                self._fill_before(deadline)
            if self._unread().startswith(b"\r\n"):
                self._take(2)
            while not (end := _first_end(self._unread())):
                check_sizes(self._unread(), self._limits)
                self._fill_before(deadline)
        check_sizes(self._unread()[:end], self._limits)
        return end

    def _end_of_fields(self) -> int:
        """Where the fields end, for a program that has read a request line by itself."""
        deadline = time.monotonic() + self._limits.header_seconds
        with self._kept_wait():
            while self.buffered < 2:
                self._fill_before(deadline)
            while not (end := 2 if self._unread().startswith(b"\r\n") else _first_end(self._unread())):
                check_fields(self._unread(), self._limits)
                self._fill_before(deadline)
        return end

    def _fill_before(self, deadline: float) -> None:
        remaining = deadline - time.monotonic()
        try:
            if remaining <= 0:
                raise TimeoutError
            self.wait_at_most(remaining)
            if not self._more():
                raise IncompleteRequest("the request ended inside its head")
        except TimeoutError as error:
            raise RequestTimeout(f"the head did not come within {self._limits.header_seconds:g} s") from error


class SocketHeads(HeadSource, PatientReader):
    """Reads requests from a socket; it stays the caller's.

    Args:
        sock: a connected socket.
        limits: of the heads.
        idle: seconds of each wait, until `wait_at_most` says otherwise; None is for ever.

    Raises:
        TimeoutError: out of every method that reads: nothing came in time.
    """

    def __init__(self, sock: socket.socket, limits: HTTPLimits, idle: float | None) -> None:
        HeadSource.__init__(self, limits)
        PatientReader.__init__(self, sock.recv)
        self._waits = Waits(sock)
        self._first = sock if self._waits.by_kernel else None  # until its first head is asked for
        self._waits.set(idle)

    @property
    def file(self) -> Any:
        """This object."""
        return self

    @property
    def buffered(self) -> int:
        """Bytes that can be read without waiting."""
        return len(self._buffer)

    def head(self) -> bytes:
        """See `HeadSource.head`; one that came alone and whole is not copied."""
        if self._buffer:
            return super().head()
        first, self._first = self._first, None
        data = None if first is None else receive(first)
        if data is None:
            data = self._received()
        if (end := data.find(_END)) > 0 and end + len(_END) == len(data) <= self.small and data[0] != _CR:
            return data
        self._buffer += data
        return super().head() if data else b""

    def wait_at_most(self, seconds: float | None) -> None:
        """Let every read last so many seconds from now on; None is for ever."""
        self._waits.set(seconds)

    def give_back(self, data: bytes) -> None:
        """Put bytes in front of what is unread."""
        self._buffer[:0] = data

    def _unread(self) -> bytearray:
        return self._buffer

    def _kept_wait(self) -> contextlib.AbstractContextManager[None]:
        return self._waits.kept()

    def _take(self, size: int) -> bytes:
        return PatientReader._take(self, size)

    def _more(self) -> bool:
        return self._fill()

    def _fill(self) -> bool:
        data = self._received()
        self._buffer += data
        return bool(data)

    def _received(self) -> bytes:
        try:
            return self._receive(READ_SIZE)
        except BlockingIOError as error:
            raise TimeoutError("the client sent nothing in time") from error


class GreenHeads(HeadSource):
    """The same from a green socket, whose own compiled file keeps what is unread.

    Args:
        sock: the socket.
        file: its file for reading.
        limits, idle: as for `SocketHeads`.

    Attributes:
        heads: the compiled reader of whole heads.
    """

    def __init__(self, sock: Any, file: Any, limits: HTTPLimits, idle: float | None) -> None:
        super().__init__(limits)
        self.file = file
        self.heads = core().heads.HeadReader(sock)
        self.heads.wait_at_most(idle)

    def head(self) -> bytes:
        """See `HeadSource.head`; one call where the head has come whole."""
        taken: bytes | None = self.heads.take(self.small)
        return super().head() if taken is None else taken

    @property
    def buffered(self) -> int:
        """Bytes that can be read without waiting."""
        return int(self.heads.buffered)

    def wait_at_most(self, seconds: float | None) -> None:
        """Let every read last so many seconds from now on; None is for ever."""
        self.heads.wait_at_most(seconds)

    def give_back(self, data: bytes) -> None:
        """Put bytes in front of what is unread."""
        self.heads.give_back(data)

    def _unread(self) -> bytes:
        found: bytes = self.file.peek() if self.buffered else b""
        return found

    def _more(self) -> bool:
        return bool(self.heads.more())

    def _take(self, size: int) -> bytes:
        taken: bytes = self.file.read(size)
        return taken

    @contextlib.contextmanager
    def _kept_wait(self) -> Iterator[None]:
        seconds = self.heads.wait
        try:
            yield
        finally:
            self.wait_at_most(seconds)


def _first_end(head: bytes | bytearray) -> int:
    return min((at + len(end) for end in _ANY_END if (at := head.find(end)) >= 0), default=0)


class PacedSource:
    """Reads a body from a connection, and insists that it comes: `HTTPLimits.body_rate` and its neighbours.

    Called with a number of bytes, it returns some of them; b"" at the end of the stream.

    Raises:
        RequestTimeout: the client is too slow.
        HTTPError: 413, the body is longer than `body_bytes`.
    """

    def __init__(self, reader: HeadSource, limits: HTTPLimits) -> None:
        self._reader = reader
        self._limits = limits
        self._received = 0
        self._waited = 0.0

    def __call__(self, size: int) -> bytes:
        data: bytes = self._reader.file.read1(size) if self._reader.buffered else self._receive(size)
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
            data: bytes = self._reader.file.read1(size)
            return data
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
