"""`BaseHTTPRequestHandler`: requests come in, `do_GET` and its family are called, responses leave.

The order of calls is the standard library's, so that every method may be overridden:

    handle()
        handle_one_request()        for each request of the connection
            parse_request()             the head: command, path, request_version, headers
                handle_expect_100()         where the client waits for it
            do_GET()                    or do_ANYTHING(): named by the request
                send_response()             log_request(), send_response_only(), version_string(), date_time_string()
                send_header()
                end_headers()               flush_headers()
                rfile.read(), wfile.write()
"""

import contextlib
import socket
import sys
from http import HTTPStatus
from time import monotonic as _now  # which the compiled part reads, too
from typing import Any

from portside.handlers import StreamRequestHandler
from portside.http.bodies import NO_BODY
from portside.http.closing import linger
from portside.http.errors import HTTPError
from portside.http.head import parse_request_line
from portside.http.quick import QuickRequests, know, stand_before
from portside.http.reader import GreenHeads, HeadSource, SocketHeads
from portside.http.replies import LOG_FORMAT
from portside.http.requests import Requests
from portside.http.waits import bound_sending
from portside.http.writer import GreenSink, ResponseWriter, SocketSink
from portside.telemetry import RequestServed, emit
from portside.telemetry.tally import Tally

# Bytes of a first line that is read from a file of the program's own, which may have more than `http_limits` allows.
_LONGEST_LINE = 65_537


class Exchanges(Requests, StreamRequestHandler):
    """Handles requests of every kind, see `BaseHTTPRequestHandler`."""

    disable_nagle_algorithm: bool = True  # a response's last packet must not wait for an acknowledgement

    refusal = (  # what a client reads that the server's limits keep out
        b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n"
    )
    _portside_bounds_lines = False  # heads and bodies have bounds of their own
    _lingers = False  # whether the client may still be sending what nobody will read

    _socket: Any = None
    _began = 0.0  # when the request did, where somebody wants to know
    _tally: Tally | None = None  # the server's
    _takes_heads = False  # whether a head is taken whole; else its fields are left to be read
    _serves = False  # whether a request has come

    @property
    def connection(self) -> Any:
        """The socket. A head that is kept leaves when it is looked at: the program may go on to write there."""
        if self._under_way and self._writer is not None and self._writer.pending:
            self._writer.hand_over()
        return self._socket

    @connection.setter
    def connection(self, sock: Any) -> None:
        """A program may wrap the socket, in `setup()`."""
        self._socket = sock

    request = connection

    def setup(self) -> None:
        """Make `rfile` and `wfile`. May be extended."""
        super().setup()
        if (machine := getattr(self.server, "_portside", None)) is not None:
            self._tally = machine.transport.tally
        if isinstance(self._socket, socket.socket):
            self._take_over(self._socket)
        self.wfile = self._writer = ResponseWriter(self.wfile)
        self._look_for_overrides()

    def start_tls(self, tls: Any = None) -> None:
        """HTTP does not change to TLS in the middle of a connection: no client asks for it (RFC 2817).

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "start_tls() in an HTTP handler: HTTP has TLS from the beginning or not at all; serve an https:// endpoint "
            "beside http://, and redirect to it"
        )

    def _take_over(self, sock: socket.socket) -> None:
        """Read and write with deadlines, unless the program chose a buffering of its own."""
        limits, waits = self.http_limits, self.timeout
        green = _is_green_stream(sock)
        if self.rbufsize:
            if not green:
                self.rfile.close()
            self._reader = self._new_reader(sock, limits.header_seconds if waits is None else waits, green=green)
            self.rfile = self._reader.file
            self._reader.waiter = self._record = self._connection_record()
        if not self.wbufsize:
            sends = limits.send_seconds if waits is None else waits
            self.wfile = GreenSink(sock, self.wfile, sends) if green else SocketSink(sock, sends)

    def _new_reader(self, sock: socket.socket, waits: float, *, green: bool) -> HeadSource:
        if green:
            return GreenHeads(sock, self.rfile, self.http_limits, waits)
        return SocketHeads(sock, self.http_limits, waits)

    def _new_writer(self, sock: socket.socket, file: Any, patience: float) -> ResponseWriter:
        """For a green socket and its file, or for a plain one, which has none."""
        return ResponseWriter(SocketSink(sock, patience) if file is None else GreenSink(sock, file, patience))

    def _connection_record(self) -> Any:
        """The server's record of the connection; it says when a drain is under way."""
        machine = getattr(self.server, "_portside", None)
        record = None if machine is None else machine.connections.get(self._socket)
        return self._record if record is None else record

    def _look_for_overrides(self) -> None:
        """Where a program has not put methods of its own on the usual way, that may be shorter."""
        ours = type(self).parse_request is Requests.parse_request and "parse_request" not in vars(self)
        self._takes_heads = ours and self._reader is not None

    def handle(self) -> None:
        """Handle the connection's requests, one after the other. May be overridden."""
        self.close_connection = True
        self.handle_one_request()
        while not self.close_connection:
            if self._under_way:  # a `handle_one_request` that is not ours has left that to us
                self._end_request()
            self.handle_one_request()

    def handle_one_request(self) -> None:
        """Handle a single request. May be overridden, though `do_...` methods are the usual way."""
        try:
            if not (self._receive() and self.parse_request()):
                return
            method = getattr(self, f"do_{self.command}", None)
            if method is None:
                self._refuse_method()
            else:
                method()
            self._end_request()
        except Exception as error:
            if not self._rescue(error):
                raise

    def _refuse_method(self) -> None:
        self.send_error(HTTPStatus.NOT_IMPLEMENTED, f"Unsupported method ({self.command!r})")

    def _rescue(self, error: Exception) -> bool:
        """Answer what a request has raised, or close its connection; False where that is not ours to tell."""
        if isinstance(error, HTTPError):
            self._refuse(error)
        elif isinstance(error, TimeoutError):
            if self._under_way or self.timeout is not None:  # a connection that nobody uses is no error
                self.log_error("Request timed out: %r", error)
            self.close_connection = True
        else:
            self._apologise()
            return False
        return True

    # -- a request comes in --

    def _receive(self) -> bool:
        """Wait for the next request's first line; False when none comes."""
        reader = self._reader
        if reader is not None and self.rfile is not reader.file:
            reader = None  # the program has put a file of its own there
        if reader is None:
            head = self.raw_requestline = self.rfile.readline(_LONGEST_LINE)
        else:
            head = self._head_of(reader)
        if not head:
            self.close_connection = True
            return False
        self._begin_request()
        if reader is not None and self._takes_heads:
            self._look_at_head(head)
            return True
        self.requestline = self.request_version = self.command = ""
        self.raw_requestline = head
        if len(head) >= _LONGEST_LINE:
            raise HTTPError(HTTPStatus.REQUEST_URI_TOO_LONG)
        return True

    def _look_at_head(self, head: bytes) -> None:
        """Divide it."""
        end = head.find(b"\n") + 1
        self.requestline = self.request_version = self.command = ""
        self.raw_requestline, self._ahead = head[:end], head[end:]

    def _head_of(self, reader: HeadSource) -> bytes:
        """Wait for a whole head, and take it, or its first line where a program reads the rest."""
        record = self._record
        record.idle = self._serves
        self._serves = True
        try:
            return reader.head() if self._takes_heads else reader.request_line()
        except HTTPError:
            self._begin_request()
            self.requestline = self.request_version = self.command = ""
            self._look_at_line(reader.first_line())
            raise
        except TimeoutError:
            if self.timeout is not None:
                raise
            return b""  # a connection that nobody uses is no error
        finally:
            record.idle = False

    def _begin_request(self) -> None:
        self._under_way = True
        self._answered = 0
        if self._tally is not None or RequestServed.subscribers:
            self._began = _now()
        self._headers_buffer = []
        if self._writer is not None:
            self._writer.begin()

    def _look_at_line(self, line: bytes) -> None:
        """Learn from the first line of a request that will be refused how it wants to be answered."""
        with contextlib.suppress(HTTPError):
            self.requestline = line.decode("latin-1").rstrip("\r\n")
            self.command, self.path, self.request_version, _ = parse_request_line(self.requestline)

    # -- a request ends --

    def _end_request(self) -> None:
        """Send what is kept of the response and drop what is unread of the body, so that another request may follow."""
        if not self._under_way:
            return
        self._under_way = False
        writer = self._writer
        if self.wfile is not writer:
            self.wfile.flush()
        if writer is not None:
            writer.end()
            if writer.broken:
                self.close_connection = True
        tally = self._tally
        if tally is not None and self._answered:
            tally.durations[self.command, self._answered].note(_now() - self._began)
        if RequestServed.subscribers:
            self._tell()
        self._end_body()

    def _tell(self) -> None:
        if self._answered and self._began:  # else the program has written heads of its own, and tells of them itself
            emit(
                RequestServed(
                    server=self.server,
                    client_address=self.client_address,
                    request_line=self.requestline,
                    status=self._answered,
                    bytes_out=None if self._writer is None else self._writer.sent,
                    seconds=_now() - self._began,
                    headers=self.headers,
                )
            )
        self._began = 0.0

    def _switch_protocol(self) -> None:
        """The program speaks for itself from now on, with the deadlines that it has set itself."""
        if self._source is not None:
            self.rfile, self._source = self._source, None
        if self._reader is not None:
            self._reader.wait_at_most(self.timeout)
            bound_sending(self._socket, self.timeout)

    def _end_body(self) -> None:
        body, self._body = self._body, NO_BODY
        if self._source is not None:
            self.rfile, self._source = self._source, None
        if not body.ended and (self.close_connection or not body.drop(self.http_limits.unread_bytes)):
            self.close_connection = self._lingers = True
        if self._reader is not None and self.timeout is None and not self.close_connection:
            self._reader.wait_at_most(self.http_limits.keep_alive)

    def _refuse(self, error: HTTPError) -> None:
        """Answer a request that cannot be served, unless it has been answered already, and close the connection."""
        self.close_connection = self._lingers = True
        if self._forget_response():
            status, message = error.status, error.message
            if status == HTTPStatus.BAD_REQUEST and self.command and not hasattr(self, f"do_{self.command}"):
                status, message = HTTPStatus.NOT_IMPLEMENTED, f"Unsupported method ({self.command!r})"
            self.send_error(status, message, error.explain)
            self._end_request()

    def _apologise(self) -> None:
        """The handler failed: say so, where it has not said anything else yet."""
        self.close_connection = True
        with contextlib.suppress(Exception):  # the failure that is under way is the one to be told
            if self._writer is not None and self.wfile is self._writer and self._forget_response():
                self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
                self._end_request()
        self._under_way = False

    def _forget_response(self) -> bool:
        """Drop a response of which nothing has left yet; False when there is one that has."""
        self._headers_buffer = []
        if self._writer is None:
            return True
        self._writer.forget()
        return not self._writer.started

    def finish(self) -> None:
        """Send what is left, and close both files. May be extended."""
        if self._under_way and sys.exception() is None:
            with contextlib.suppress(OSError):
                self._end_request()  # of a `handle` that is not ours
        if self._source is not None:  # a request failed: what is to be closed is the connection's file
            self.rfile, self._source = self._source, None
        super().finish()
        writer, self._writer = self._writer, None
        if writer is not None and not writer.closed:
            with contextlib.suppress(OSError):
                writer.close()  # where the program has put another file in its place
        if self._lingers:
            linger(self._socket, self.http_limits.linger_seconds)


class BaseHTTPRequestHandler(QuickRequests, Exchanges):
    """Handles the requests of a connection: a request SPAM calls `do_SPAM()`, which a subclass brings.

    Attributes of the class:
        protocol_version: "HTTP/1.0", or "HTTP/1.1" to keep connections open.
        default_request_version: what is assumed of a request whose first line cannot be read.
        MessageClass: of `headers`.
        http_limits: sizes and deadlines.
        timeout: seconds of any single wait for the client, in the place of the limits' own; None leaves it to those.

    Attributes of a request:
        command, path, request_version: the words of `requestline`, which `raw_requestline` is decoded from.
        headers: the header fields, a `MessageClass`.
        rfile: the body, which ends where the request does.
        wfile: the response; small pieces are best written at once, as its head leaves together with the first.
        close_connection: whether this request is the connection's last.
    """


know(NO_BODY=NO_BODY, WAITER=Requests._record, STATUS=HTTPStatus, LOG_FORMAT=LOG_FORMAT)
stand_before(BaseHTTPRequestHandler, RequestServed)


def _is_green_stream(sock: Any) -> bool:
    """Whether a socket has compiled files, which read and write with and without TLS."""
    return hasattr(sock, "set_deadlines")
