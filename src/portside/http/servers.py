"""The HTTP servers: `HTTPServer` and `HTTPSServer`, and each with threads or greenlets."""

import os
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from portside.engines import GreenMixIn, ThreadingMixIn
from portside.policy.handshakes import TICKETS, TLSGate
from portside.servers import TCPServer


class HTTPServer(TCPServer):
    """A TCP server that knows its name.

    Attributes:
        server_name: the host it was asked to serve, without a look-up (python/cpython#106505): the machine's own name
            where that is every interface.
        server_port: the port it got.
    """

    allow_reuse_address: bool = True
    server_name: str
    server_port: int

    def server_bind(self) -> None:
        """Called by the constructor to bind the socket. May be overridden."""
        asked = self.server_address[0] if isinstance(self.server_address, tuple) else ""
        super().server_bind()
        address = self.server_address
        self.server_name = socket.gethostname() if asked in _EVERYWHERE else str(asked)
        self.server_port = address[1] if isinstance(address, tuple) else 0


_EVERYWHERE = ("", "0.0.0.0", "::")


class ThreadingHTTPServer(ThreadingMixIn, HTTPServer):
    """HTTP, each connection in a thread."""

    daemon_threads: bool = True


class GreenHTTPServer(GreenMixIn, HTTPServer):
    """HTTP, each connection in a greenlet."""


class HTTPSServer(HTTPServer):
    """HTTP over TLS. A client shakes hands in its handler's thread or greenlet, within `handshake_timeout`.

    Args:
        server_address, RequestHandlerClass, bind_and_activate, handler_args: see `TCPServer`.
        certfile: path of the certificate chain, PEM.
        keyfile: path of the private key; None where `certfile` holds it.
        password: of the key, or a callable that returns it; None where it has none.
        alpn_protocols: offered to clients, the best first; None is HTTP/1.1.

    Attributes:
        handshake_timeout: seconds.

    Raises:
        OSError: a file cannot be read. ssl.SSLError: it holds no certificate or key, or the password is wrong.
    """

    handshake_timeout: float = 10.0

    def __init__(
        self,
        server_address: Any,
        RequestHandlerClass: Callable[..., Any],
        bind_and_activate: bool = True,
        *,
        certfile: str | os.PathLike[str],
        keyfile: str | os.PathLike[str] | None = None,
        password: Any = None,
        alpn_protocols: Sequence[str] | None = None,
        handler_args: Mapping[str, Any] | None = None,
    ) -> None:
        self.certfile = certfile
        self.keyfile = keyfile
        self.password = password
        self.alpn_protocols = ["http/1.1"] if alpn_protocols is None else alpn_protocols
        self.ssl_context = self._create_context()  # before a socket is bound: what is wrong with it is found first
        self.tls = _OwnContext()
        super().__init__(server_address, RequestHandlerClass, bind_and_activate, handler_args=handler_args)

    def _create_context(self) -> ssl.SSLContext:
        """The standard library's name for making the context. May be overridden."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certfile, self.keyfile, self.password)
        context.set_alpn_protocols(list(self.alpn_protocols))
        context.num_tickets = TICKETS
        return context


class _OwnContext:
    """TLS by the context of an `HTTPSServer`, as it is when a client comes."""

    def gate(self) -> TLSGate:
        return TLSGate(lambda server: server.ssl_context, lambda server: server.handshake_timeout)


class ThreadingHTTPSServer(ThreadingMixIn, HTTPSServer):
    """HTTP over TLS, each connection in a thread."""

    daemon_threads: bool = True


class GreenHTTPSServer(GreenMixIn, HTTPSServer):
    """HTTP over TLS, each connection in a greenlet."""
