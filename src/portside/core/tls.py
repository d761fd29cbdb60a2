"""TLS over green sockets: an `ssl.SSLSocket` whose handshake, reads and writes wait in the hub.

`ssl.SSLContext.sslsocket_class` is where the standard library lets another class in. The one that `install` puts there
makes a `GreenSSLSocket` of a green socket, and leaves every other socket to the class that was there before.

OpenSSL works on memory; what it wrote there is sent, and what it wants to read is received, by the stream that a green
socket is without TLS too (records.pyx).
"""

import functools
import math
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from portside.core.records import Records
from portside.core.sockets import GreenSocket

if TYPE_CHECKING:

    class _SSLSocket(ssl.SSLSocket):
        """What type checkers are not told of `ssl.SSLSocket`."""

        do_handshake_on_connect: bool
        suppress_ragged_eofs: bool
        _channel: Any
        _connected: bool
        _context: Any
        _session: Any
        _sslobj: Any

        @classmethod
        def _create(cls, sock: Any, **options: Any) -> Any: ...

        def _check_connected(self) -> None: ...

        def _check_sendfile_params(self, file: Any, offset: int, count: int | None) -> None: ...

else:
    _SSLSocket = ssl.SSLSocket

# Bytes of a file that are read and sent at once: four records.
_BLOCK = 65_536

_INET = (socket.AF_INET, socket.AF_INET6)

# What is known of a connection only after its handshake.
_ASKED_AFTER_HANDSHAKE = (
    "cipher",
    "compression",
    "get_channel_binding",
    "get_unverified_chain",
    "get_verified_chain",
    "getpeercert",
    "selected_alpn_protocol",
    "shared_ciphers",
    "verify_client_post_handshake",
    "version",
)


def install() -> None:
    """Let every context make green TLS sockets of green sockets. May be called again."""
    if ssl.SSLContext.sslsocket_class is not GreenSSLSocket:
        GreenSSLSocket._class_before = ssl.SSLContext.sslsocket_class
        ssl.SSLContext.sslsocket_class = GreenSSLSocket


def adopted(plain: Any) -> "GreenSSLSocket":
    """A green TLS socket in the place of a plain `ssl.SSLSocket` that listens; the plain one is detached."""
    context, timeout = plain.context, plain.gettimeout()
    green = GreenSocket(fileno=plain.detach())
    green.settimeout(timeout)
    made: GreenSSLSocket = GreenSSLSocket._create(
        green,
        context=context,
        server_side=plain.server_side,
        do_handshake_on_connect=plain.do_handshake_on_connect,
        suppress_ragged_eofs=plain.suppress_ragged_eofs,
    )
    return made


class _Giver:
    """What `ssl` asks of a socket that it takes over, except that the descriptor goes on not to block.

    Args:
        sock: the socket.
    """

    def __init__(self, sock: GreenSocket) -> None:
        self._sock = sock
        self.family, self.type, self.proto = sock.family, sock.type, sock.proto
        self.fileno, self.gettimeout, self.getsockopt = sock.fileno, sock.gettimeout, sock.getsockopt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def detach(self) -> int:
        """Let go of the descriptor."""
        timeout = self._sock.gettimeout()
        self._sock.settimeout(0.0)
        try:
            return self._sock.detach()
        finally:
            self._sock.settimeout(timeout)


class _OverMemory:
    """A context as `ssl.SSLSocket._create` sees it: it makes OpenSSL's side over memory, for `Records` to serve.

    Args:
        context: the real one.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.check_hostname = context.check_hostname

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def _wrap_socket(
        self, sock: "GreenSSLSocket", server_side: bool, server_hostname: str | None, *, owner: Any, session: Any
    ) -> Any:
        sock._context = self._context
        return sock._joined(server_side, server_hostname, session)


class GreenSSLSocket(_SSLSocket, GreenSocket):
    """See `ssl.SSLSocket` for everything. In a task, waiting gives the other tasks a turn.

    What differs: several tasks may write at once. After the end of a stream that came without a goodbye (a drain's, for
    one) there can still be written. And a listener that a server watches shakes hands with nobody in `accept`, but with
    each client when its handler first reads, writes or asks what was agreed on.
    """

    _origin: GreenSocket | None = None  # the socket that this one has taken over from, by which others may know it
    _class_before: Any = ssl.SSLSocket
    _records: Records | None = None  # what is between the stream and its descriptor; None without TLS

    @classmethod
    def _create(cls, sock: Any, *, do_handshake_on_connect: bool = True, context: Any = None, **options: Any) -> Any:
        if not isinstance(sock, GreenSocket):
            return cls._class_before._create(
                sock, do_handshake_on_connect=do_handshake_on_connect, context=context, **options
            )
        made = super()._create(_Giver(sock), do_handshake_on_connect=False, context=_OverMemory(context), **options)
        made._context = context
        made._follow(sock)
        made._origin = sock
        made.do_handshake_on_connect = do_handshake_on_connect
        if do_handshake_on_connect and made._sslobj is not None:
            made._shake_hands_or_close()
        return made

    def _joined(self, server_side: bool, server_hostname: str | None, session: Any) -> Any:
        """OpenSSL's side of the connection, over memory that the stream brings to the peer."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        engine = self._context._wrap_bio(incoming, outgoing, server_side, server_hostname, owner=self, session=session)
        self._records = Records(engine, incoming, outgoing, self.suppress_ragged_eofs)
        self._records.join(self._channel)
        return engine

    @property
    def tls_failure(self) -> OSError | None:
        """What OpenSSL has complained of in what the peer sent."""
        return None if self._records is None else self._records.failure

    def _part(self) -> None:
        """There is no TLS any more."""
        records, self._records, self._sslobj = self._records, None, None
        if records is not None:
            records.leave(self._channel)

    def _shake_hands_or_close(self) -> None:
        try:
            if self.gettimeout() == 0:
                raise ValueError("do_handshake_on_connect should not be specified for non-blocking sockets")
            self.do_handshake()
        except BaseException:
            self.close()
            raise

    def settimeout(self, value: float | None) -> None:
        """Seconds that an operation may take: None for ever, 0 not at all."""
        super().settimeout(value)
        if self._origin is not None:
            self._origin.settimeout(value)

    # -- connections --

    def accept(self) -> tuple[Any, Any]:
        """Wait for a client; returns its socket, after the handshake where that may be waited for, and its address."""
        client, address = GreenSocket.accept(self)
        later = self.accepts_at_once and self.do_handshake_on_connect
        wrapped: Any = self.context.wrap_socket(
            client,
            server_side=True,
            do_handshake_on_connect=self.do_handshake_on_connect and not later,
            suppress_ragged_eofs=self.suppress_ragged_eofs,
        )
        wrapped._records.owes_handshake = later
        if wrapped.family in _INET:  # what follows the tickets must not wait for their acknowledgement
            wrapped.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        return wrapped, address

    def _real_connect(self, address: Any, connect_ex: bool) -> Any:
        if self.server_side:
            raise ValueError("can't connect in server-side mode")
        if self._connected or self._sslobj is not None:
            raise ValueError("attempt to connect already-connected SSLSocket!")
        self._sslobj = self._joined(False, self.server_hostname, self._session)
        try:
            code = GreenSocket.connect_ex(self, address) if connect_ex else None
            if not connect_ex:
                GreenSocket.connect(self, address)
            if not code:
                self._connected = True
                if self.do_handshake_on_connect:
                    self.do_handshake()
        except (OSError, ValueError):
            self._part()
            raise
        return code

    def do_handshake(self, block: bool = False) -> None:
        """Agree with the peer on how to talk; with `block` also where the timeout is 0."""
        self._check_connected()
        timeout = self.gettimeout()
        if timeout == 0 and block:
            self.settimeout(None)
        try:
            self._engaged("Handshake").shake_hands(self._channel)
        finally:
            self.settimeout(timeout)

    def unwrap(self) -> socket.socket:
        """End TLS on the connection, together with the peer; returns the socket, which goes on without."""
        if self._records is None:
            return super().unwrap()
        self._records.unwrap(self._channel)
        self._records = self._sslobj = None
        return self

    def say_goodbye(self) -> None:
        """Tell the peer that nothing more comes, as far as that needs no waiting."""
        if self._records is not None:
            self._records.say_goodbye(self._channel)

    def shutdown(self, how: int) -> None:
        """Shut one or both halves of the connection, after what was written has left. There is no TLS afterwards."""
        GreenSocket.shutdown(self, how)
        self._part()

    def _real_close(self, *arguments: Any) -> None:
        try:
            GreenSocket._real_close(self, *arguments)
        finally:
            self._part()

    # -- bytes --

    def _engaged(self, what: str) -> Records:
        if self._records is None:
            raise ValueError(f"{what} on closed or unwrapped SSL socket.")
        return self._records

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """Up to `len` bytes, or into `buffer` and their number; b"" or 0 at the end."""
        return self._engaged("Read").read(self._channel, len, buffer)

    def write(self, data: Any) -> int:
        """Send `data`, of which with a timeout of 0 only some may be; returns how many bytes."""
        return self._engaged("Write").write(self._channel, data)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """At most `buflen` bytes; b"" at the end of the stream."""
        if self._records is None or flags:
            return super().recv(buflen, flags)
        return self._records.read(self._channel, buflen)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send `data`, of which with a timeout of 0 only some may be; returns how many bytes."""
        if self._records is None or flags:
            return super().send(data, flags)
        return self._records.write(self._channel, data)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of `data`."""
        if self._records is None or flags or self.gettimeout() == 0:
            super().sendall(data, flags)
        else:
            self._records.write(self._channel, data)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None, *, span: float = math.inf) -> int:
        """Send a file until its end, or `count` bytes of it; returns how many bytes. A timeout is for each block."""
        if self._records is None or self.gettimeout() == 0:
            return super().sendfile(file, offset, count)
        self._check_sendfile_params(file, offset, count)
        if offset:
            file.seek(offset)
        sent = 0
        try:
            while data := file.read(_BLOCK if count is None else min(_BLOCK, count - sent)):
                self.sendall(data)
                sent += len(data)
        finally:
            if sent and hasattr(file, "seek"):
                file.seek(offset + sent)
        return sent

    def pending(self) -> int:
        """Bytes that can be read before anything is received."""
        return 0 if self._records is None else self._records.pending(self._channel)


def _after_handshake(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def asked(self: GreenSSLSocket, *arguments: Any, **options: Any) -> Any:
        if self._records is not None and self._records.owes_handshake:
            self.do_handshake()
        return method(self, *arguments, **options)

    return asked


for _name in _ASKED_AFTER_HANDSHAKE:
    if hasattr(ssl.SSLSocket, _name):  # two of them since Python 3.13
        setattr(GreenSSLSocket, _name, _after_handshake(getattr(ssl.SSLSocket, _name)))
