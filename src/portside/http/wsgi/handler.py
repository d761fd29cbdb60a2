"""`WSGIHandler`: a handler class around an application, for any server and any engine of ours."""

import functools
import sys
import time
from operator import is_
from typing import Any

from portside.engines import ForkingMixIn
from portside.http.cgi.metavariables import server_name_and_port
from portside.http.errors import HTTPError
from portside.http.handler import BaseHTTPRequestHandler
from portside.http.head import HeaderFields
from portside.http.replies import http_date
from portside.http.wsgi.environ import add_fields, add_request
from portside.http.wsgi.exchange import Application, Exchange, Opening
from portside.http.wsgi.file_wrapper import FileWrapper
from portside.roles import Engine
from portside.telemetry import HandlerFailed, emit

# What else applications are asked: the registered methods (RFC 9110, 9; RFC 5789; WebDAV's, RFC 4918 and its family)
# and those of UPnP and caches. Not CONNECT, which asks for a tunnel. One method for all of them costs an attribute
# look-up; `__getattr__` would cost every look-up of the handler.
METHODS = (
    *("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "QUERY", "LINK", "UNLINK"),
    *("PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH", "ACL", "MKCALENDAR"),
    *("BIND", "REBIND", "UNBIND", "CHECKIN", "CHECKOUT", "UNCHECKOUT", "MERGE", "MKACTIVITY", "UPDATE", "LABEL"),
    *("VERSION-CONTROL", "MKWORKSPACE", "BASELINE-CONTROL", "ORDERPATCH", "MKREDIRECTREF", "UPDATEREDIRECTREF"),
    *("M-SEARCH", "NOTIFY", "SUBSCRIBE", "UNSUBSCRIBE", "PURGE"),
)


class WSGIHandler(BaseHTTPRequestHandler):
    """Has an application answer every request, whatever its method.

    Attributes:
        application: called as PEP 3333 says; a subclass sets it (`staticmethod` around a function), or overrides
            `get_application`.
    """

    protocol_version: str = "HTTP/1.1"
    server_version: str = "Portside"
    application: Application

    _template: dict[str, Any] | None = None  # what every request of the connection is told
    _known: tuple[HeaderFields | None, dict[str, Any]] = (None, {})  # header fields, and the template with them
    _asked: tuple[Any, ...] = (None, None, None, None)  # these and the words of the request line before
    _answered_so: dict[str, Any] | None = None  # the template with both, once they came a second time
    _answers: Opening | None = None

    def get_application(self) -> Application:
        """The application. May be overridden."""
        return self.application

    def version_string(self) -> str:
        """What the Server header says: not which Python this is, which is nobody's business."""
        return self.server_version

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log an answer: not here, since `RequestServed` tells of it. May be overridden."""

    def do_GET(self) -> None:
        """Answer a request, of whatever method."""
        exchange = self._exchange()
        try:
            exchange.answer(self.get_application(), self.get_environ())
        except HTTPError:
            if not exchange.begun:
                raise
            exchange.lasting = False
        except Exception as error:
            if exchange.lost:
                raise  # the client left, which is no failure of the application's
            self.application_failed(error)
            exchange.fail()
        self.close_connection = not exchange.lasting
        self.log_request(exchange.code, exchange.sent)
        if self._began:
            self._count(exchange)

    def application_failed(self, error: Exception) -> None:
        """The application raised `error`: tell of it. May be overridden."""
        emit(HandlerFailed(server=self.server, client_address=self.client_address, error=error))

    def _exchange(self) -> Exchange:
        answers = self._answers
        if answers is None:
            answers = self._answers = Opening(f"Server: {self.version_string()}\r\n")
        exchange = Exchange(  # with positions only, which cost a class half of what names do
            self.wfile,
            answers,
            self.command == "HEAD",
            self.request_version >= "HTTP/1.1" and self.protocol_version >= "HTTP/1.1",
            not (self.close_connection or self._record.ending),
            _date_line(int(time.time())),
        )
        if self._body.before_reading is not None:
            self._last_unless_read(exchange)
        return exchange

    def _last_unless_read(self, exchange: Exchange) -> None:
        """Until it was told to go on, the client may send its body or not: the connection cannot be used again.

        Once the answer's head is on its way it is too late to tell it (RFC 9110, 15.2).
        """
        lasting, tell = exchange.lasting, self._body.before_reading

        def read() -> None:
            if tell is not None and not exchange.begun:
                exchange.lasting = lasting
                tell()

        exchange.lasting = False
        self._body.before_reading = read

    def _count(self, exchange: Exchange) -> None:
        """For `RequestServed`: what was written here had its head in it, and was counted as one."""
        self._answered = exchange.code
        if self._writer is not None:
            self._writer.sent = exchange.sent

    # -- the environ --

    def get_environ(self) -> dict[str, Any]:
        """What the application is told of the request, a dict of its own. May be extended."""
        fields, command, path, version = self._asked
        if (
            fields is self._fields
            and path is self.path
            and command is self.command
            and version is self.request_version
            and self._answered_so is not None
        ):
            environ = self._answered_so.copy()
        else:
            environ = self._new_environ()
        environ["wsgi.input"] = self.rfile
        environ["wsgi.errors"] = sys.stderr
        return environ

    def _new_environ(self) -> dict[str, Any]:
        """The same for another request than the one before, or for its first repetition: then it is remembered."""
        fields, template = self._known
        if fields is not self._fields:
            template = self._connection_environ().copy()
            add_fields(template, self._fields.fields)
            self._known = self._fields, template
        environ = template.copy()
        add_request(environ, str(self.command), self.path, self.request_version)
        asked = self._fields, self.command, self.path, self.request_version
        self._answered_so = environ.copy() if all(map(is_, asked, self._asked)) else None
        self._asked = asked
        return environ

    def _connection_environ(self) -> dict[str, Any]:
        if self._template is None:
            self._template = server_environ(self.server) | client_environ(self.client_address, self.connection)
            self._template["SERVER_SOFTWARE"] = self.version_string()
        return self._template


@functools.lru_cache(maxsize=2)
def _date_line(seconds: int) -> str:
    """The header line, one object for all of a second."""
    return f"Date: {http_date(seconds)}\r\n"


for _method in METHODS:
    setattr(WSGIHandler, f"do_{_method}", WSGIHandler.do_GET)


def server_environ(server: Any) -> dict[str, Any]:
    """What the server knows: its name, and how handlers run side by side."""
    forks = isinstance(server, ForkingMixIn)
    name, port = server_name_and_port(server)
    return {
        "SERVER_NAME": name,
        "SERVER_PORT": port,
        "SCRIPT_NAME": "",
        "wsgi.version": (1, 0),
        "wsgi.multithread": not forks and getattr(server, "_portside_engine", None) is not Engine,
        "wsgi.multiprocess": forks,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,  # reading ends with the body, chunked or not; Werkzeug asks for this
    }


def client_environ(client_address: Any, connection: Any) -> dict[str, Any]:
    """What the connection knows: who asks, and over what."""
    secure = hasattr(connection, "cipher")
    known: dict[str, Any] = {"wsgi.url_scheme": "https" if secure else "http"}
    if secure:
        known["HTTPS"] = "on"
    if isinstance(client_address, tuple):
        known["REMOTE_ADDR"] = str(client_address[0])
        known["REMOTE_PORT"] = str(client_address[1])
    return known


def wsgi_handler(application: Application) -> type[WSGIHandler]:
    """A handler class for an application: `portside.serve(wsgi_handler(application), "tcp://127.0.0.1:8000")`.

    Raises:
        TypeError: it cannot be called.
    """
    if not callable(application):
        raise TypeError(f"the application {application!r} cannot be called: give a WSGI application")
    name = getattr(application, "__name__", type(application).__name__)
    return type(name, (WSGIHandler,), {"application": staticmethod(application), "__doc__": WSGIHandler.__doc__})
