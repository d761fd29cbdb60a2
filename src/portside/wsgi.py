"""A WSGI server: the standard library's `wsgiref.simple_server` on our servers. Change one import line.

    from portside.wsgi import make_server

As that library's, it serves one request at a time, and speaks HTTP/1.0 unless the handler's `protocol_version` says
otherwise; `server_class=ThreadingWSGIServer` serves many at once. For an application on the command line there is
`portside wsgi`, and for one in a program `portside.http.wsgi.handler.wsgi_handler`.
"""

import sys
import traceback
from collections.abc import Callable, Iterable
from io import StringIO
from platform import python_implementation
from typing import IO, Any
from wsgiref.handlers import SimpleHandler

from portside.engines import ThreadingMixIn
from portside.http.handler import BaseHTTPRequestHandler
from portside.http.servers import HTTPServer
from portside.http.wsgi.environ import add_fields, add_request
from portside.http.wsgi.exchange import Application
from portside.http.wsgi.handler import WSGIHandler, client_environ, server_environ

__all__ = ["ServerHandler", "ThreadingWSGIServer", "WSGIRequestHandler", "WSGIServer", "demo_app", "make_server"]

__version__ = "0.2"  # the standard library's, which clients and programs may look at

server_version = f"WSGIServer/{__version__}"
sys_version = f"{python_implementation()}/{sys.version.split()[0]}"
software_version = f"{server_version} {sys_version}"


class ServerHandler(SimpleHandler):
    """`wsgiref`'s gateway, for programs that override its methods; `WSGIRequestHandler` has a faster one.

    Such a program makes it in `handle()`, sets its `request_handler`, and calls its `run()`.
    """

    server_software = software_version
    request_handler: Any
    status: str | None
    bytes_sent: int

    def close(self) -> None:
        """Log the request, and close what the application returned."""
        try:
            self.request_handler.log_request(str(self.status).split(" ", 1)[0], self.bytes_sent)
        finally:
            super().close()


class WSGIServer(HTTPServer):
    """An HTTP server with an application.

    Attributes:
        application: what answers; `set_app` sets it.
        base_environ: what every request is told.
    """

    application: Application | None = None
    base_environ: dict[str, Any]

    def server_bind(self) -> None:
        """Called by the constructor to bind the socket. May be overridden."""
        super().server_bind()
        self.setup_environ()

    def setup_environ(self) -> None:
        """Make `base_environ`. May be extended."""
        self.base_environ = {
            "SERVER_NAME": self.server_name,
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SERVER_PORT": str(self.server_port),
            "REMOTE_HOST": "",
            "CONTENT_LENGTH": "",
            "SCRIPT_NAME": "",
        }

    def get_app(self) -> Application | None:
        """The application."""
        return self.application

    def set_app(self, application: Application | None) -> None:
        """Have an application answer from now on."""
        self.application = application


class ThreadingWSGIServer(ThreadingMixIn, WSGIServer):
    """The same, with a thread for each connection."""

    daemon_threads: bool = True


class WSGIRequestHandler(WSGIHandler):
    """Has the server's application answer every request."""

    protocol_version: str = "HTTP/1.0"
    server_version: str = server_version
    sys_version: str = sys_version

    def get_application(self) -> Any:
        """The server's."""
        return self.server.get_app()

    def version_string(self) -> str:
        """What the Server header says. May be overridden."""
        return f"{self.server_version} {self.sys_version}"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log an answer. May be overridden."""
        BaseHTTPRequestHandler.log_request(self, code, size)

    def application_failed(self, error: Exception) -> None:
        """Print the traceback where the application's own errors go. May be overridden."""
        traceback.print_exception(error, file=self.get_stderr())

    def get_stderr(self) -> IO[str]:
        """What the application writes its errors to. May be overridden."""
        return sys.stderr

    def get_environ(self) -> dict[str, Any]:
        """What the application is told of the request, a dict of its own. May be extended."""
        fields: dict[str, Any] = {}
        add_fields(fields, self.headers.items())
        environ: dict[str, Any] = (
            self.server.base_environ
            | server_environ(self.server)
            | client_environ(self.client_address, self.connection)
            | {"CONTENT_TYPE": self.headers.get_content_type(), "SERVER_SOFTWARE": self.server_version}
            | fields
            | {"SERVER_NAME": self.server.server_name, "wsgi.input": self.rfile, "wsgi.errors": self.get_stderr()}
        )
        add_request(environ, str(self.command), self.path, self.request_version)
        host = self.address_string()
        if host != environ.get("REMOTE_ADDR"):
            environ["REMOTE_HOST"] = host
        return environ


def demo_app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """An application that shows its `environ`."""
    shown = StringIO()
    shown.write("Hello world!\n\n")
    for name, value in sorted(environ.items()):
        shown.write(f"{name} = {value!r}\n")
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [shown.getvalue().encode()]


def make_server(
    host: str,
    port: int,
    app: Application | None,
    server_class: type[WSGIServer] = WSGIServer,
    handler_class: type[WSGIRequestHandler] = WSGIRequestHandler,
) -> WSGIServer:
    """A server, bound and about to serve `app`.

    Args:
        host: where to listen; "" is every IPv4 interface.
        port: 0 for any that is free.
        app: the application.
        server_class: the server's class.
        handler_class: the handler's class.
    """
    server = server_class((host, port), handler_class)
    server.set_app(app)
    return server
