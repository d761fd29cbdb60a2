"""The servers: hooks by transport, and each transport by engine.

    +------------+   +-----------+
    | BaseServer |-->| TCPServer |-->  UnixStreamServer
    +------------+   +-----------+
                       |
                       +-> UDPServer    -->  UnixDatagramServer

and, for each of the four, `Threading...`, `Forking...`, `Green...` and `Async...`: the engine's mix-in before it. What
the hooks have in common, the machine that calls them, is in `portside.dispatcher`.
"""

import socket
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self

from portside.addresses import plain_address
from portside.binding import UnixFile, bind_inet, bind_unix, unlink_unix
from portside.blame import close_reason
from portside.dispatcher import DRAIN_SECONDS, Dispatcher
from portside.engines import AsyncMixIn, ForkingMixIn, GreenMixIn, ThreadingMixIn
from portside.listening import AF_UNIX, choose_family, explained
from portside.ownership import is_plain_class
from portside.policy.guarded import Guarded
from portside.policy.handshakes import say_goodbye
from portside.policy.proxy_protocol import ProxyProtocol
from portside.promptly import accept, close, end
from portside.roles import Engine, Transport
from portside.telemetry import CloseReason, DatagramTruncated, HandlerFailed, emit
from portside.transports import DatagramTransport, StreamTransport

# Asked of listen(2), which takes the system's maximum (net.core.somaxconn, 4,096 by default) where that is smaller. The
# standard library's 5 refuses clients in every burst.
SYSTEM_BACKLOG = 65_535

# Bytes of the largest UDP datagram, headers included (RFC 768: a length of 16 bits).
LARGEST_DATAGRAM = 65_535


class BaseServer(Guarded):
    """What every server has in common; sockets come with `TCPServer`.

    Args:
        server_address: where to listen, as the socket module writes addresses.
        RequestHandlerClass: called as `RequestHandlerClass(request, client_address, server, **handler_args)` for each
            request; any callable will do.
        handler_args: further keyword arguments for it (python/cpython#74133).

    Attributes:
        timeout: seconds that `handle_request()` waits for a request before `handle_timeout()`; None waits for ever.
        drain_timeout: seconds that `server_close()` waits for handlers, and `shutdown()` for a handler in the loop's
            own thread.
        handler_args: for subclasses that fix them.

    Hooks that may be overridden are called in the standard library's order: `get_request`, `verify_request`,
    `process_request`, `finish_request`, `handle_error`, `shutdown_request`, `close_request`; and `service_actions`.
    """

    timeout: float | None = None
    drain_timeout: float = DRAIN_SECONDS
    handler_args: Mapping[str, Any] = MappingProxyType({})
    server_address: Any
    socket: socket.socket
    _portside_engine: ClassVar[type[Engine]] = Engine
    _portside_transport: ClassVar[type[Transport]] = Transport

    def __init__(
        self,
        server_address: Any,
        RequestHandlerClass: Callable[..., Any],
        *,
        handler_args: Mapping[str, Any] | None = None,
    ) -> None:
        self.server_address = server_address
        self.RequestHandlerClass = RequestHandlerClass
        if handler_args is not None:
            self.handler_args = handler_args
        self._portside = Dispatcher(self, self._portside_engine, self._portside_transport)

    def server_activate(self) -> None:
        """Called by the constructor to activate the server. May be overridden."""

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Handle requests until `shutdown()`.

        Several threads, or processes forked before, may call it at once on one server: each serves.

        Args:
            poll_interval: seconds between two calls of an overridden `service_actions()`; without one an idle server
                sleeps until something happens.

        Raises:
            ValueError: the server is closed.
        """
        self._portside.serve(poll_interval)

    def shutdown(self, *, drain: float | None = None) -> None:
        """Stop `serve_forever`, in every thread that runs it.

        May be called at any moment, from any thread, a handler's own and a signal handler's included, any number of
        times. Blocks until the loops have ended, unless the caller is what they would wait for. Called before
        `serve_forever`, it makes that return at once; called after, it does nothing.

        Args:
            drain: seconds for handlers to finish: no client is accepted any more, handlers that wait for an idle
                client read the end of its stream, and at the deadline what is left is cut. None leaves handlers alone.
        """
        self._portside.stop(drain, seconds=self.drain_timeout if drain is None else drain)

    def handle_request(self) -> None:
        """Handle one request, waiting for it at most `timeout` seconds (and the socket's own timeout)."""
        limits = [each for each in (self.socket.gettimeout(), self.timeout) if each is not None]
        self._portside.handle_one(min(limits, default=None))

    def server_close(self) -> None:
        """Stop the loops and give the server's resources back. May be extended, and called again."""
        self._portside.stop(None, seconds=self.drain_timeout, own=True)
        self._portside.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.server_close()

    def fileno(self) -> int:
        """The descriptor to watch for requests."""
        return self.socket.fileno()

    def get_request(self) -> tuple[Any, Any]:
        """Return a request and its client's address, without waiting. Must be overridden."""
        raise NotImplementedError("get_request() must be overridden: return (request, client_address)")

    def service_actions(self) -> None:
        """Called after every turn of the loop. May be overridden; then it is called every `poll_interval` too."""

    def handle_timeout(self) -> None:
        """Called when no request came within `timeout`. May be overridden."""

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return True to go on with this request. May be overridden."""
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Have the request handled: here and now, unless an engine's mix-in overrides this."""
        self._portside.conclude_inline(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> Any:
        """Handle the request by calling `RequestHandlerClass`; returns what that returned."""
        handler: Any = self.RequestHandlerClass
        if self.handler_args or not (handler is self._portside.plain_class or self._portside_is_plain(handler)):
            return handler(request, client_address, self, **self.handler_args)
        # What `handler(...)` does, without a C frame for the handler's life: in a greenlet that is memory for every
        # idle client and time for every switch.
        made = handler.__new__(handler)
        made.__init__(request, client_address, self)
        return made

    def _portside_is_plain(self, handler: Any) -> bool:
        """`is_plain_class`, which is asked once for each class and not for each client."""
        plain = is_plain_class(handler)
        self._portside.plain_class = handler if plain else None
        return plain

    def shutdown_request(self, request: Any) -> None:
        """Shut down and close one request."""
        self.close_request(request)

    def close_request(self, request: Any) -> None:
        """Clean up one request."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell of the exception that is being handled: a `HandlerFailed` event, which is logged.

        A client that left, fell silent or broke its protocol is no failure of the handler's and is not told here; its
        `ConnectionClosed` says why. May be overridden.
        """
        error = sys.exception()
        record = self._portside.connections.get(request)
        if error is not None and close_reason(error, record) is CloseReason.FAILED:
            emit(HandlerFailed(server=self, client_address=client_address, error=error))

    def _handle_request_noblock(self) -> None:
        """The standard library's name for accepting one request that is there."""
        self._portside.handle_one_noblock()

    # Programs set this name-mangled flag of the standard library's to stop a server from its handler's thread, where
    # that library's shutdown() would hang.
    @property
    def __shutdown_request(self) -> bool:
        return any(run.stopping for run in self._portside.lifecycle.running())

    @__shutdown_request.setter
    def __shutdown_request(self, wanted: bool) -> None:
        if wanted:
            self._portside.lifecycle.stop()


class TCPServer(BaseServer):
    """A server of TCP connections, one at a time.

    Args:
        server_address: `(host, port)`; an IPv6 host chooses that family by itself, `""` is every IPv4 interface, or
            with `dual_stack` every interface of both families.
        RequestHandlerClass: see `BaseServer`.
        bind_and_activate: False leaves `server_bind()` and `server_activate()` to the caller, who may set options of
            `socket` before.
        handler_args: see `BaseServer`.

    Attributes:
        address_family, socket_type: what `socket` is made of.
        request_queue_size: connections that may wait to be accepted; the system takes its maximum where that is less.
        allow_reuse_address: bind although connections of a server that ended linger (SO_REUSEADDR).
        allow_reuse_port: bind although another process listens, and share its clients (SO_REUSEPORT).
        dual_stack: serve IPv4 clients on an IPv6 address too; their `client_address` is a plain `(host, port)`.
        proxy_protocol: a `portside.ProxyProtocol`: connections come through proxies, which say who the client is; that
            is its `client_address` from `verify_request` on.
        tls: a `portside.TLS`: connections are encrypted before their handler begins, or when it asks for that.

    Raises:
        OSError: the address cannot be bound; the message says what to do about it. The socket is closed.

    Resource handling: the socket from construction to `server_close()`, or a `with` statement's end.
    """

    address_family: int = socket.AF_INET
    socket_type: int = socket.SOCK_STREAM
    request_queue_size: int = SYSTEM_BACKLOG
    allow_reuse_address: bool = False
    allow_reuse_port: bool = False
    dual_stack: bool = False
    proxy_protocol: ProxyProtocol | None = None
    tls: Any = None
    _portside_transport: ClassVar[type[Transport]] = StreamTransport

    def __init__(
        self,
        server_address: Any,
        RequestHandlerClass: Callable[..., Any],
        bind_and_activate: bool = True,
        *,
        handler_args: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(server_address, RequestHandlerClass, handler_args=handler_args)
        choose_family(self)
        self.socket = self._portside_own_socket(socket.socket(self.address_family, self.socket_type))
        if bind_and_activate:
            try:
                self.server_bind()
                self.server_activate()
            except BaseException:
                self.server_close()
                raise

    def _portside_own_socket(self, plain: socket.socket) -> socket.socket:
        """A socket of the kind that the engine works with, in the place of a plain one."""
        return plain

    def server_bind(self) -> None:
        """Called by the constructor to bind the socket. May be overridden."""
        with explained(self):
            bind_inet(
                self.socket,
                self.server_address,
                reuse_address=self.allow_reuse_address,
                reuse_port=self.allow_reuse_port,
                dual_stack=self.dual_stack,
            )
        self.server_address = self.socket.getsockname()

    def server_activate(self) -> None:
        """Called by the constructor to listen. May be overridden."""
        self.socket.listen(self.request_queue_size)

    def server_close(self) -> None:
        """Stop the loops and close the listener. May be extended, and called again."""
        super().server_close()
        self.socket.close()

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; returns its socket and the client's address. May be overridden."""
        request, client_address = accept(self.socket)
        return request, plain_address(client_address) if self.dual_stack else client_address

    def shutdown_request(self, request: Any) -> None:
        """Tell the client that nothing more comes, and close its connection."""
        self._portside.transport.closed(request)
        if self.tls is not None:
            say_goodbye(request)
        try:
            end(request)
        except OSError:
            pass  # the client left first
        finally:
            self.close_request(request)

    def close_request(self, request: Any) -> None:
        """Close a connection."""
        self._portside.transport.closed(request)
        close(request)


class UDPServer(TCPServer):
    """A server of UDP datagrams: a request is `(data, socket)`.

    Attributes:
        max_packet_size: bytes of a datagram that a handler sees; what is longer is cut and told (`DatagramTruncated`).
    """

    allow_reuse_address: bool = False
    allow_reuse_port: bool = False
    socket_type: int = socket.SOCK_DGRAM
    max_packet_size: int = LARGEST_DATAGRAM
    _portside_transport: ClassVar[type[Transport]] = DatagramTransport

    def get_request(self) -> tuple[Any, Any]:
        """Receive a datagram; returns `(data, socket)` and the client's address. May be overridden."""
        data, client_address = self.socket.recvfrom(self.max_packet_size + 1, _DO_NOT_WAIT)
        if len(data) > self.max_packet_size:
            data = data[: self.max_packet_size]
            emit(DatagramTruncated(server=self, client_address=client_address, limit=self.max_packet_size))
        return (data, self.socket), client_address

    def server_activate(self) -> None:
        """Nothing to do: datagrams need no listen(2)."""

    def shutdown_request(self, request: Any) -> None:
        """Nothing to shut down."""
        self.close_request(request)

    def close_request(self, request: Any) -> None:
        """Nothing to close."""


class _UnixFileMixIn(TCPServer):
    """Binding to a path: a stale socket file is replaced, a live one never.

    Attributes:
        socket_mode: permission bits of the socket file, which never has wider ones; None leaves them to the umask.
        unlink_on_close: whether `server_close()` removes the file. The standard library leaves it.
    """

    address_family: int = AF_UNIX
    socket_mode: int | None = None
    unlink_on_close: bool = False
    _portside_file: UnixFile | None = None

    def server_bind(self) -> None:
        """Called by the constructor to bind the socket. May be overridden."""
        with explained(self):
            self._portside_file = bind_unix(self.socket, self.server_address, mode=self.socket_mode)
        self.server_address = self.socket.getsockname()

    def server_close(self) -> None:
        """Stop the loops, remove the file where that is asked for, and close the listener."""
        if self.unlink_on_close:
            unlink_unix(self._portside_file)  # while the socket is open: see unlink_unix
            self._portside_file = None
        super().server_close()


class UnixStreamServer(_UnixFileMixIn, TCPServer):
    """A server of Unix stream connections; `server_address` is a path, or NUL and a name in the abstract namespace."""


class UnixDatagramServer(_UnixFileMixIn, UDPServer):
    """A server of Unix datagrams. A client that wants answers binds an address of its own."""


class ThreadingTCPServer(ThreadingMixIn, TCPServer):
    """TCP, each connection in a thread."""


class ThreadingUDPServer(ThreadingMixIn, UDPServer):
    """UDP, each datagram in a thread."""


class ThreadingUnixStreamServer(ThreadingMixIn, UnixStreamServer):
    """Unix streams, each connection in a thread."""


class ThreadingUnixDatagramServer(ThreadingMixIn, UnixDatagramServer):
    """Unix datagrams, each in a thread."""


class ForkingTCPServer(ForkingMixIn, TCPServer):
    """TCP, each connection in a child process."""


class ForkingUDPServer(ForkingMixIn, UDPServer):
    """UDP, each datagram in a child process."""


class ForkingUnixStreamServer(ForkingMixIn, UnixStreamServer):
    """Unix streams, each connection in a child process."""


class ForkingUnixDatagramServer(ForkingMixIn, UnixDatagramServer):
    """Unix datagrams, each in a child process."""


class GreenTCPServer(GreenMixIn, TCPServer):
    """TCP, each connection in a greenlet."""


class GreenUDPServer(GreenMixIn, UDPServer):
    """UDP, each datagram in a greenlet."""


class GreenUnixStreamServer(GreenMixIn, UnixStreamServer):
    """Unix streams, each connection in a greenlet."""


class GreenUnixDatagramServer(GreenMixIn, UnixDatagramServer):
    """Unix datagrams, each in a greenlet."""


class AsyncTCPServer(AsyncMixIn, TCPServer):
    """TCP, each connection in a coroutine."""


class AsyncUDPServer(AsyncMixIn, UDPServer):
    """UDP, each datagram in a coroutine."""


class AsyncUnixStreamServer(AsyncMixIn, UnixStreamServer):
    """Unix streams, each connection in a coroutine."""


class AsyncUnixDatagramServer(AsyncMixIn, UnixDatagramServer):
    """Unix datagrams, each in a coroutine."""


# MSG_DONTWAIT keeps one receive from waiting without making the socket non-blocking, since answers leave through it.
_DO_NOT_WAIT: int = getattr(socket, "MSG_DONTWAIT", 0)
