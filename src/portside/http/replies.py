"""What a handler calls to answer: `send_response`, `send_header`, `end_headers`, `send_error`, and the log."""

import email.utils
import functools
import html
import itertools
import sys
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

from portside.http.writer import Framing, ResponseWriter, framing

if TYPE_CHECKING:
    from portside.handlers import StreamRequestHandler as _Base
else:
    _Base = object

DEFAULT_ERROR_MESSAGE = """\
<!DOCTYPE HTML>
<html lang="en">
    <head>
        <meta charset="utf-8">
        <title>Error response</title>
    </head>
    <body>
        <h1>Error response</h1>
        <p>Error code: %(code)d</p>
        <p>Message: %(message)s.</p>
        <p>Error code explanation: %(code)s - %(explain)s.</p>
    </body>
</html>
"""

DEFAULT_ERROR_CONTENT_TYPE = "text/html;charset=utf-8"

# Statuses whose answer has no body at all (RFC 9110, 6.4.1 and 15.3.6).
_WITHOUT_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT, HTTPStatus.NOT_MODIFIED)


# How `log_request` says it.
LOG_FORMAT = '"%s" %s %s'


class RequestLog(_Base):
    """The lines that a handler writes about its requests, as the standard library's does."""

    weekdayname: ClassVar[list[str]] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    monthname: ClassVar[list[str | None]] = [
        None,
        *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
        *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    ]
    requestline: str

    # https://en.wikipedia.org/wiki/List_of_Unicode_characters#Control_codes
    _control_char_table = str.maketrans({c: rf"\x{c:02x}" for c in itertools.chain(range(0x20), range(0x7F, 0xA0))})
    _control_char_table[ord("\\")] = r"\\"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log an accepted request. Called by `send_response()`; may be overridden."""
        if isinstance(code, HTTPStatus):
            code = code.value
        self.log_message(LOG_FORMAT, self.requestline, str(code), str(size))

    def log_error(self, format: str, *args: Any) -> None:
        """Log an error. May be overridden."""
        self.log_message(format, *args)

    def log_message(self, format: str, *args: Any) -> None:
        """Log anything; the other logging methods end here. May be overridden.

        Args:
            format: for the `%` operator.
            args: its arguments. Control characters in the result are escaped: they are the client's.
        """
        message = (format % args).translate(self._control_char_table)
        sys.stderr.write(f"{self.address_string()} - - [{self.log_date_time_string()}] {message}\n")

    def log_date_time_string(self) -> str:
        """The time as `log_message` writes it."""
        return _log_date(int(time.time()))

    def address_string(self) -> str:
        """The client's address; a client of a Unix socket has none."""
        address = self.client_address
        return str(address[0]) if isinstance(address, tuple) and address else "-"


class Replies(RequestLog):
    """Builds responses. A subclass brings the request: `command`, `request_version`, `close_connection`.

    Attributes:
        protocol_version: what responses say, and "HTTP/1.1" or later keeps connections open.
        server_version, sys_version: what `version_string()` is made of.
        error_message_format, error_content_type: the body of `send_error()`'s answers.
        responses: status -> (reason phrase, explanation).
    """

    protocol_version: str = "HTTP/1.0"
    server_version: str = "BaseHTTP/0.6"
    sys_version: str = "Python/" + sys.version.split()[0]
    error_message_format: str = DEFAULT_ERROR_MESSAGE
    error_content_type: str = DEFAULT_ERROR_CONTENT_TYPE
    responses: ClassVar[dict[int, tuple[str, str]]] = {
        status: (status.phrase, status.description) for status in HTTPStatus.__members__.values()
    }
    command: str | None
    request_version: str
    close_connection: bool

    _writer: ResponseWriter | None = None
    _headers_buffer: list[bytes]
    rfile: Any
    wfile: Any
    _answered = 0  # the status of the final response, once its head was written
    _status = 0  # of the response whose head is being built; 0 between them
    _length: int | None = None  # its Content-Length
    _coded = False  # whether it has a Transfer-Encoding
    _told = False  # whether it has a Connection

    def send_response(self, code: int, message: str | None = None) -> None:
        """Begin a response: the status line, Server and Date; also logs the request.

        Args:
            code: the status.
            message: the reason phrase; None is the usual one.

        Raises:
            ValueError: the phrase holds CR, LF or NUL.
        """
        self.log_request(code)
        self.send_response_only(code, message)
        self.send_header("Server", self.version_string())
        self.send_header("Date", self.date_time_string())

    def _opening(self, code: int, message: str | None) -> bytes:
        """What that makes of the head where none of it is overridden; the same for a second."""
        server, date = _encoded(f"Server: {self.version_string()}"), _encoded(f"Date: {self.date_time_string()}")
        return self._first_line(code, message) + server + date

    def send_response_only(self, code: int, message: str | None = None) -> None:
        """Begin a response with the status line alone; raises as `send_response`."""
        self._status, self._length, self._coded, self._told = code, None, False, False
        self._buffer(self._first_line(code, message))

    def _first_line(self, code: int, message: str | None) -> bytes:
        if message is None:
            message = self.responses[code][0] if code in self.responses else ""
        return _status_line(self.protocol_version, code, message)

    def _buffer(self, line: bytes) -> None:
        try:
            self._headers_buffer.append(line)
        except AttributeError:  # the standard library's name, and its way: it is there when it is needed
            self._headers_buffer = [line]

    def send_header(self, keyword: str, value: Any) -> None:
        """Add a header.

        Raises:
            ValueError: name or value hold CR, LF or NUL (they would be taken for further headers), or the value of
                Content-Length is no number.
        """
        lowered, text = keyword.lower(), str(value)
        if lowered == _TRACEBACK:
            text = " ".join(text.splitlines())
        line = _encoded(f"{keyword}: {text}")
        if lowered in _UNDERSTOOD:
            self._understand(lowered, text.strip().lower())
        self._buffer(line)

    def _understand(self, name: str, value: str) -> None:
        if name == "content-length":
            if not (value.isascii() and value.isdigit()):
                raise ValueError(f"Content-Length is a number of bytes, and not {value!r}")
            self._length = int(value)
        elif name == "transfer-encoding":
            self._coded = True
        else:
            self._told = True
            if value in _KEPT:
                self.close_connection = not _KEPT[value]

    def end_headers(self) -> None:
        """End the head. It leaves with the first byte of the body, at the latest when the request ends."""
        self._buffer(b"\r\n")
        self.flush_headers()

    def flush_headers(self) -> None:
        """Hand the buffered headers to `wfile`; to a client of HTTP/0.9, which knows of none, nothing."""
        buffered = getattr(self, "_headers_buffer", None)
        if not buffered:
            return
        self._headers_buffer = []
        if self.request_version == "HTTP/0.9":
            return
        writer = self._writer
        if writer is None or self.wfile is not writer:  # the program has put a file of its own there
            self.wfile.write(b"".join(buffered))
        elif self._status and buffered[-1] == b"\r\n":
            buffered.pop()  # the empty line: the writer may have a header to add
            self._begin_body(writer, buffered)
        else:
            writer.write(b"".join(buffered))

    def _begin_body(self, writer: ResponseWriter, lines: list[bytes]) -> None:
        """Decide how the body ends and what becomes of the connection, and give the writer the head."""
        status, self._status = self._status, 0
        modern = self.protocol_version >= "HTTP/1.1"
        kind = framing(self.command, status, self._length, self._coded, modern and self.request_version >= "HTTP/1.1")
        if status >= 200 and kind is not _OTHER:
            self._answered = status
            if kind is _CLOSE or not self._can_go_on():
                self.close_connection = True
            if modern and not self._told:
                said = _CLOSING if self.close_connection else _KEEPING
                lines.append(said.get(self.request_version, b""))
        writer.head(b"".join(lines), kind, self._length)
        if status < 200 or kind is _OTHER:
            writer.flush()
        if kind is _OTHER:
            self._switch_protocol()

    def _switch_protocol(self) -> None:
        """Another protocol takes over after the head; a subclass has a connection to prepare."""

    def _can_go_on(self) -> bool:
        """Whether the connection can be used after this response; a subclass knows more."""
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send, and log, an answer that says what went wrong; the connection closes after it.

        Args:
            code: the status.
            message: the reason phrase; None is the usual one.
            explain: a longer text for the body; None is the usual one.

        Raises:
            ValueError: the message holds CR, LF or NUL.
        """
        usual, explanation = self.responses.get(code, ("???", "???"))
        message = usual if message is None else message
        self.log_error("code %d, message %s", code, message)
        self.send_response(code, message)
        self.send_header("Connection", "close")
        body = None
        if code >= 200 and code not in _WITHOUT_BODY:
            body = self._error_page(code, message, explanation if explain is None else explain)
            self.send_header("Content-Type", self.error_content_type)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and body:
            self.wfile.write(body)

    def _error_page(self, code: int, message: str, explain: str) -> bytes:
        escaped = {
            "code": code,
            "message": html.escape(message, quote=False),
            "explain": html.escape(explain, quote=False),
        }
        return (self.error_message_format % escaped).encode("UTF-8", "replace")

    def version_string(self) -> str:
        """What the Server header says. May be overridden."""
        return self.server_version + " " + self.sys_version

    def date_time_string(self, timestamp: float | None = None) -> str:
        """A time as headers have it, in seconds since the epoch; None is now."""
        return http_date(int(time.time())) if timestamp is None else email.utils.formatdate(timestamp, usegmt=True)


def _encoded(line: str) -> bytes:
    if "\n" in line or "\r" in line or "\0" in line:
        raise ValueError(f"CR, LF and NUL cannot stand in a response's head: {line!r}")
    return line.encode("latin-1", "strict") + b"\r\n"


@functools.lru_cache(maxsize=256)
def _status_line(version: str, code: int, message: str) -> bytes:
    return _encoded(f"{version} {code:d} {message}")


# What a response says of its connection where the handler has not, by whether it closes and the request's version:
# only what the client would not know by itself (RFC 9112, 9.3).
_CLOSING = {"HTTP/1.1": b"Connection: close\r\n"}
_KEEPING = {"HTTP/1.0": b"Connection: keep-alive\r\n"}

_OTHER, _CLOSE = Framing.OTHER, Framing.CLOSE  # names that need one look-up less

# Headers of a response that are looked at, and what Connection says of keeping it open.
_UNDERSTOOD = frozenset({"connection", "content-length", "transfer-encoding"})
_TRACEBACK = "x-traceback"  # the standard library's xmlrpc.server puts whole tracebacks there, of many lines
_KEPT = {"close": False, "keep-alive": True}


@functools.lru_cache(maxsize=2)  # one second after the other
def http_date(seconds: int) -> str:
    """The second as headers have it (RFC 9110, 5.6.7)."""
    return email.utils.formatdate(seconds, usegmt=True)


@functools.lru_cache(maxsize=2)
def _log_date(seconds: int) -> str:
    year, month, day, hour, minute, second, *_ = time.localtime(seconds)
    return f"{day:02d}/{RequestLog.monthname[month]}/{year:04d} {hour:02d}:{minute:02d}:{second:02d}"
