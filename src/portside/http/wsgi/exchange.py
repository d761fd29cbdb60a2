"""One request and its answer, as PEP 3333 orders them. Bytes leave through a function; no socket is known here.

    start_response()   checks and keeps the head; nothing is sent
    first block        the head, with what the server adds, and that block: one send
    further blocks     each is sent before the application is asked for the next
    end                a chunked body is closed; a head that no block has sent is sent

An answer without a Content-Length gets one if its whole body is there (a list); else it is chunked, or where the client
is too old for that ends with the connection.
"""

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Protocol

from portside.http.wsgi.file_wrapper import FileWrapper, span
from portside.http.wsgi.rules import Head, checked

Application = Callable[[dict[str, Any], "Callable[..., Callable[[bytes], object]]"], Iterable[bytes]]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
SendFile = Callable[[Any, int, int], int]

_LAST_CHUNK = b"0\r\n\r\n"

# Bytes of a block up to which it is copied to leave in one send with what goes before it; a copy is cheaper than a
# system call up to about here.
JOINED = 65_536


class BadApplication(Exception):
    """The application broke PEP 3333 in what it did, rather than in what it said; the message says how."""


class Opening:
    """How answers on one connection begin: most begin as the one before did, within a second.

    Args:
        server_line: header line for answers that do not say it themselves.

    Attributes:
        head: what the application had announced; one announcement like another is the same object.
        date_line: the second.
        asked: whether the client knew HTTP/1.1, whether the connection was to last, and the length of the body.
        data: the bytes before the body.
    """

    __slots__ = ("asked", "data", "date_line", "head", "server_line")

    def __init__(self, server_line: str) -> None:
        self.server_line = server_line
        self.head: Head | None = None
        self.date_line = ""
        self.asked = (False, False, -1)
        self.data = b""


class Sink(Protocol):
    """Where an answer goes. It may have a `sendfile` too, which takes a file, a position and a number of bytes."""

    def write(self, data: bytes, /) -> object:
        """Send bytes, all of them."""


class Exchange:
    """The answer to one request.

    Args:
        sink: takes the bytes.
        opening: of this connection's answers.
        is_head: the request is a HEAD: its answer has no body.
        modern: the client knows HTTP/1.1: chunks, and connections that last.
        lasting: the connection may go on after this answer.
        date_line: header line for an answer that does not say it itself.

    Attributes:
        code: the answer's status; 0 while there is none.
        sent: bytes of the body so far.
        begun: whether the head is on its way.
        lasting: as above; False once the connection has to end.
        lost: whether sending failed: the client is gone.
    """

    __slots__ = (
        *("_chunked", "_date_line", "_head", "_modern", "_opening", "_send", "_silent", "_sink"),
        *("begun", "lasting", "lost", "sent"),
    )

    def __init__(
        self,
        sink: Sink,
        opening: Opening,
        is_head: bool,
        modern: bool,
        lasting: bool,
        date_line: str,
    ) -> None:
        self._sink = sink
        self._send = sink.write
        self._opening = opening
        self._silent = is_head
        self._modern = modern
        self._date_line = date_line
        self._head: Head | None = None
        self._chunked = False
        self.lasting = lasting
        self.begun = False
        self.lost = False
        self.sent = 0

    @property
    def code(self) -> int:
        """The answer's status; 0 while there is none."""
        return self._head.code if self._head else 0

    # -- what the application calls --

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
    ) -> Callable[[bytes], None]:
        """Announce the answer; returns `write`.

        Args:
            status: as "200 OK".
            headers: names and values.
            exc_info: the exception because of which an announcement is replaced; raised again where that is too late.

        Raises:
            TypeError, ValueError, AssertionError: as `rules.checked`.
            BadApplication: there is an answer already, and no exception that would excuse a second.
        """
        if exc_info is not None:
            try:
                if self.begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # it holds this very frame: no cycle
        elif self._head is not None:
            raise BadApplication("start_response was called twice, without exc_info")
        self._head = checked(status, headers)
        return self.write

    def write(self, data: bytes, /) -> None:
        """Send a piece of the body now.

        Raises:
            BadApplication: nothing was announced, or less than this.
            TypeError: it is not bytes.
            OSError: the client is gone.
        """
        if type(data) is not bytes:
            raise TypeError(f"the body must be bytes, not {type(data).__name__}")
        if not data:
            return
        if not self.begun:
            self._begin(None, data)
        else:
            self._send_block(b"", data)

    # -- the way of an answer --

    def answer(self, application: Application, environ: dict[str, Any]) -> None:
        """Call the application and send what it returns; its `close()` is called whatever happens.

        Raises:
            BadApplication: it broke the rules.
            BaseException: whatever it raised, and what `send` raised.
        """
        result = application(environ, self.start_response)
        if type(result) is list or type(result) is tuple:
            self._send_whole(result)
            return
        try:
            if not (isinstance(result, FileWrapper) and self._send_wrapped(result)):
                self._send_blocks(result)
        finally:
            if hasattr(result, "close"):
                result.close()

    def _send_whole(self, blocks: list[bytes] | tuple[bytes, ...]) -> None:
        """A body that is there already: one send, and its length is known."""
        data = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        if self.begun:
            self.write(data)
            self._finish()
            return
        if type(data) is not bytes:
            raise TypeError(f"the body must be bytes, not {type(data).__name__}")
        if not self._send_as_before(data):
            self._begin(len(data), data)
            self._check_length()

    def _send_as_before(self, data: bytes) -> bool:
        """Send an answer that begins as the one before did; False for any other."""
        head, opening, size = self._head, self._opening, len(data)
        if (
            head is not opening.head
            or self._date_line is not opening.date_line
            or (self._modern, self.lasting, size) != opening.asked
            or self._silent
        ):
            return False
        self.begun = self.lost = True
        self._send(opening.data + data)
        self.lost = False
        self.sent = size
        return True

    def _send_blocks(self, blocks: Iterable[bytes]) -> None:
        for block in blocks:
            self.write(block)
            if self._silent and self.begun:
                return  # nobody will see the rest
        self._finish()

    def _send_wrapped(self, wrapper: FileWrapper) -> bool:
        """Have the system send a file; False for one that has to be read, and where the application wrote before."""
        send_file: SendFile | None = getattr(self._sink, "sendfile", None)
        found = None if send_file is None or self.begun else span(wrapper.filelike)
        if found is None or send_file is None:
            return False
        head = self._announced()
        position, length = found
        count = length if head.length is None else min(length, head.length)
        self._begin(length, b"")
        if not self._silent and count:
            self.lost = True
            self.sent += send_file(wrapper.filelike, position, count)
            self.lost = False
        self._check_length()
        return True

    def _finish(self) -> None:
        if not self.begun:
            self._begin(0, b"")
        elif self._chunked:
            self._send_together(_LAST_CHUNK, b"", b"")
        self._check_length()

    # -- bytes --

    def _announced(self) -> Head:
        if self._head is None:
            raise BadApplication("the application did not call start_response before its body")
        return self._head

    def _framing(self, head: Head, length: int | None) -> str:
        """Decide how the client will know where the body ends, and say so in header lines."""
        if head.code < 200 or head.code in (204, 304):
            self._silent = True
        elif head.length is None:
            return self._unsaid_length(length)
        return ""

    def _unsaid_length(self, length: int | None) -> str:
        if self._silent:
            return f"Content-Length: {length}\r\n" if length else ""  # a HEAD's empty body tells nothing of the GET's
        if length is not None:
            return f"Content-Length: {length}\r\n"
        if self._modern:
            self._chunked = True
            return "Transfer-Encoding: chunked\r\n"
        self.lasting = False
        return ""

    def _begin(self, length: int | None, data: bytes) -> None:
        """Send the head, and with it the first of the body.

        Args:
            length: bytes of the whole body; None where nobody knows.
            data: the first of them.
        """
        head = self._announced()
        framing = self._framing(head, length)
        date = "" if head.has_date else self._date_line
        server = "" if head.has_server else self._opening.server_line
        fields = head.fields if head.code != 204 or head.length is None else _without_length(head.fields)
        version, connection = _VERSIONS[self._modern, self.lasting]
        self.begun = True
        before = f"{version}{head.line}{date}{server}{fields}{framing}{connection}\r\n".encode("latin-1")
        if length is not None and head.length in (None, length) and not self._silent and length <= JOINED:
            self._remember(head, length, before)
        self._send_block(before, data)

    def _remember(self, head: Head, length: int, data: bytes) -> None:
        opening = self._opening
        opening.head, opening.date_line, opening.data = head, self._date_line, data
        opening.asked = self._modern, self.lasting, length

    def _send_block(self, before: bytes, data: bytes) -> None:
        length = self._head.length if self._head else None
        if self._silent:
            data = b""
        elif length is not None and len(data) > length - self.sent:
            self._send_too_much(before, data[: length - self.sent])
        elif self._chunked and data:
            self.sent += len(data)
            self._send_together(b"%b%x\r\n" % (before, len(data)), data, b"\r\n")
            return
        if before or data:
            self.sent += len(data)
            self._send_together(before, data, b"")

    def _send_too_much(self, before: bytes, data: bytes) -> None:
        """Send what was announced and no more (PEP 3333, "Handling the Content-Length Header")."""
        self.sent += len(data)
        self._send_together(before, data, b"")
        raise BadApplication(f"the body is longer than its Content-Length, {self.sent}: the rest was not sent")

    def _send_together(self, before: bytes, data: bytes, after: bytes) -> None:
        self.lost = True  # unless it goes well
        if len(data) <= JOINED:
            self._send(before + data + after)
        else:
            for part in filter(None, (before, data, after)):
                self._send(part)
        self.lost = False

    def _check_length(self) -> None:
        length = self._head.length if self._head else None
        if length is not None and self.sent < length and not self._silent:
            self.lasting = False  # the client waits for bytes that do not come: only the end tells it
            raise BadApplication(f"the body has {self.sent} bytes, and its Content-Length is {length}")

    # -- failures --

    def fail(self) -> None:
        """The application cannot answer: say so if that can still be said, and end the connection in any case.

        Raises:
            OSError: the client is gone.
        """
        self.lasting = False
        if not self.begun:
            self._head = _FAILURE
            self._begin(len(_FAILURE_BODY), _FAILURE_BODY)


def _without_length(fields: str) -> str:
    """A 204 has no Content-Length (RFC 9110, 8.6), whatever the application thinks."""
    return "\r\n".join(line for line in fields.split("\r\n") if not line.lower().startswith("content-length:"))


# (the client is modern, the connection lasts) -> version, Connection field. What is usual for a version goes unsaid.
_VERSIONS = {
    (True, True): ("HTTP/1.1 ", ""),
    (True, False): ("HTTP/1.1 ", "Connection: close\r\n"),
    (False, True): ("HTTP/1.0 ", "Connection: keep-alive\r\n"),
    (False, False): ("HTTP/1.0 ", ""),
}

_FAILURE_BODY = b"A server error occurred.  Please contact the administrator."
_FAILURE = checked("500 Internal Server Error", [("Content-Type", "text/plain")])
