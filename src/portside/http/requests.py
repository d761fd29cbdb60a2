"""How a request comes in: its first line, its head, its body."""

import functools
import socket
from email.message import Message
from http import HTTPStatus
from http.client import HTTPMessage, parse_headers
from io import BytesIO
from typing import Any

from portside.http.bodies import NO_BODY, NoBody, RequestBody, open_body
from portside.http.errors import HTTPError
from portside.http.head import (
    NO_FIELDS,
    HeaderFields,
    RequestLine,
    authority,
    check_request,
    parse_fields,
    parse_request_line,
    shown,
)
from portside.http.limits import HTTPLimits
from portside.http.reader import HeadSource, PacedSource, Waiter, take_fields
from portside.http.replies import Replies

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Requests(Replies):
    """Reads requests. A subclass brings the connection: `rfile`, `wfile`, and what becomes of a bad request."""

    http_limits: HTTPLimits = HTTPLimits()
    default_request_version: str = "HTTP/0.9"
    MessageClass: type[Any] = HTTPMessage

    raw_requestline: bytes
    requestline: str
    path: str
    _reader: HeadSource | None = None  # None where the program brings its own files
    _record: Any = Waiter()  # of the connection
    _ahead: bytes | None = None  # header fields that were read with the first line
    _source: Any = None  # during a request, what `rfile` is between requests
    _body: RequestBody = NO_BODY
    _block: bytes | None = None  # the header fields of the request before: clients repeat themselves
    _fields: HeaderFields = NO_FIELDS
    _message: Any = None  # `headers`, once it was looked at
    _socket: Any = None
    _under_way = False  # whether a request has begun and not ended

    @property
    def headers(self) -> Any:
        """The request's header fields, a `MessageClass`; made when it is first looked at."""
        if self._message is None:
            self._message = _message(self._fields, self.MessageClass, self._block or b"\r\n")
        return self._message

    @headers.setter
    def headers(self, message: Any) -> None:
        """A program may put its own there."""
        self._message = message

    def parse_request(self) -> bool:
        """Read a head, whose first line is `raw_requestline`; may be extended.

        Returns:
            True for success: `command`, `path`, `request_version` and `headers` are set, and `rfile` is the body. False
            when the request is refused, and that has been answered.
        """
        self._under_way = True
        self.command = None
        self.request_version = self.default_request_version
        self.close_connection = True
        self.requestline = str(self.raw_requestline, "iso-8859-1").rstrip("\r\n")
        if not self.requestline.strip():
            return False
        try:
            line = self._parse_line()
            self._parse_fields(line)
        except HTTPError as error:
            self._refuse(error)
            return False
        return not self._expects(line) or self.handle_expect_100()

    def _parse_line(self) -> RequestLine:
        try:
            line = parse_request_line(self.requestline)
        except HTTPError:
            if "HTTP/" in self.requestline.upper():  # who names a version understands a status line
                self.request_version = self.protocol_version
            raise
        self.command, self.path = line.method, line.target
        if line.version:
            self.request_version = line.version
        if self.path.startswith("//"):  # clients take that for an address without its scheme (python/cpython#87389)
            self.path = "/" + self.path.lstrip("/")
        return line

    def _parse_fields(self, line: RequestLine) -> None:
        block, by_hand = self._take_fields()
        if block != self._block:
            self._fields = parse_fields(block, self.http_limits)
            self._block = block
        self._message = None
        if not by_hand and (self._fields.host is None or line.target[0] != "/"):
            self._check_host(line)
        if self._fields.chunked:
            check_request(line, self._fields)
        self._choose_connection(line.number)
        self._open_body()

    def _parse_usual_fields(self, block: bytes) -> bool:
        """The same for a plain line that asks for a path; False where there is more to decide, be it a refusal."""
        try:
            fields = parse_fields(block, self.http_limits)
        except HTTPError:
            return False
        if fields.chunked or fields.length or fields.expects_continue or fields.host is None:
            return False
        self._fields, self._block = fields, block
        return True

    def _take_fields(self) -> tuple[bytes, bool]:
        """The header fields, and whether a program feeds the handler a request by hand, as tests of programs do.

        Then there is nobody else who might understand it otherwise, and what people type is understood.
        """
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            block, by_hand = ahead, False
        elif (reader := self._reader) is not None and self.rfile is reader.file:
            block, by_hand = reader.take_fields(), False
        else:
            by_hand = not isinstance(self._socket, socket.socket)
            block = take_fields(self.rfile, self.http_limits, lenient=by_hand)
        if not (by_hand or self.raw_requestline.endswith(b"\r\n")):
            raise HTTPError(HTTPStatus.BAD_REQUEST, f"Bad request syntax ({shown(self.requestline)})")
        return block, by_hand

    def _check_host(self, line: RequestLine) -> None:
        host = authority(line, self._fields)
        if host != self._fields.host:  # the target's takes the other's place (RFC 9112, 3.2.2)
            del self.headers["Host"]
            self.headers["Host"] = host

    def _choose_connection(self, number: tuple[int, int]) -> None:
        options = self._fields.connection
        persistent = number >= (1, 1) or "keep-alive" in options
        self.close_connection = not (persistent and self.protocol_version >= "HTTP/1.1") or "close" in options

    def _open_body(self) -> None:
        fields, limits, reader = self._fields, self.http_limits, self._reader
        self._source = source = self.rfile
        if not fields.chunked and not fields.length:
            self._body = NO_BODY if not NO_BODY.closed else NoBody()
        elif limits.body_bytes is not None and (fields.length or 0) > limits.body_bytes:
            raise HTTPError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif reader is not None and source is reader.file:
            self._body = open_body(fields, PacedSource(reader, limits), reader.give_back)
        else:
            self._body = open_body(fields, getattr(source, "read1", source.read), self._give_up)
        self.rfile = self._body

    def _give_up(self, rest: bytes) -> None:
        """What was read too much of a program's own file cannot be put back."""
        self.close_connection = self.close_connection or rest != b""

    def _expects(self, line: RequestLine) -> bool:
        return self._fields.expects_continue and self.protocol_version >= "HTTP/1.1" and line.number >= (1, 1)

    def handle_expect_100(self) -> bool:
        """The client waits for 100 (Continue) before it sends its body. May be overridden.

        Returns:
            True to go on; then 100 leaves when the body is first read, and at once where there is none. An override
            that returns False has sent its answer.
        """
        if self._writer is not None and not self._body.ended:
            self._body.before_reading = functools.partial(self._writer.interim, _CONTINUE)
        else:
            self.send_response_only(HTTPStatus.CONTINUE)
            self.end_headers()
        return True

    def _can_go_on(self) -> bool:
        """Whether the connection can be used after the response: not in a drain, nor before an unwanted body."""
        return self._body.before_reading is None and not self._record.ending

    def _refuse(self, error: HTTPError) -> None:
        """Answer a request that cannot be served."""
        raise NotImplementedError


def _message(fields: HeaderFields, kind: type[Any], block: bytes) -> Any:
    if not issubclass(kind, Message):
        return parse_headers(BytesIO(block), _class=kind)
    message = kind()
    for name, value in fields.fields:
        message.set_raw(name, value)
    return message
