"""TLS over green sockets: an `ssl.SSLSocket` whose handshake, reads and writes wait in the hub.

`ssl.SSLContext.sslsocket_class` is where the standard library lets another class in. The one that `install` puts there
makes a `GreenSSLSocket` of a green socket, and leaves every other socket to the class that was there before.

To OpenSSL the socket never blocks, whatever its timeout; what OpenSSL could not do for want of the network is done
again when the hub says that it can be.
"""

import functools
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from portside.core.hub import give_way, running_hub
from portside.core.sockets import GreenSocket
from portside.core.sync import Lock

if TYPE_CHECKING:

    class _SSLSocket(ssl.SSLSocket):
        """What type checkers are not told of `ssl.SSLSocket`."""

        do_handshake_on_connect: bool
        suppress_ragged_eofs: bool
        _io_refs: int
        _sslobj: Any

        @classmethod
        def _create(cls, sock: Any, **options: Any) -> Any: ...

        def _check_connected(self) -> None: ...

else:
    _SSLSocket = ssl.SSLSocket

# What an operation counts against its task's credit: as much as a TLS record holds (RFC 8446, section 5.1: 2^14 bytes).
_RECORD = 16_384

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


class _WholeFile(socket.SocketIO):
    """A file without a buffer whose writes send all that they are given."""

    _sock: socket.socket

    def write(self, b: Any) -> int:
        """Send all of `b` (bytes-like); returns its length in bytes."""
        self._checkClosed()
        self._sock.sendall(b)
        with memoryview(b) as view:
            return view.nbytes


class GreenSSLSocket(_SSLSocket, GreenSocket):
    """See `ssl.SSLSocket` for everything. In a task, waiting gives the other tasks a turn.

    What differs: several tasks may write at once. After the end of a stream that came without a goodbye (a drain's, for
    one) there can still be written. And a listener that a server watches shakes hands with nobody in `accept`, but with
    each client when its handler first reads, writes or asks what was agreed on.
    """

    _origin: GreenSocket | None = None  # the socket that this one has taken over from, by which others may know it
    _owes_handshake = False
    _class_before: Any = ssl.SSLSocket
    _writing: Lock

    @classmethod
    def _create(cls, sock: Any, *, do_handshake_on_connect: bool = True, **options: Any) -> Any:
        if not isinstance(sock, GreenSocket):
            return cls._class_before._create(sock, do_handshake_on_connect=do_handshake_on_connect, **options)
        made = super()._create(_Giver(sock), do_handshake_on_connect=False, **options)
        made._take_over(sock)
        made.do_handshake_on_connect = do_handshake_on_connect
        if do_handshake_on_connect and made._sslobj is not None:
            made._shake_hands_or_close()
        return made

    def _take_over(self, sock: GreenSocket) -> None:
        self._follow(sock)
        self._origin = sock
        self._writing = Lock()

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

    # -- what waits --

    def _patiently(self, what: str, operation: Callable[..., Any], *arguments: Any) -> Any:
        """Have OpenSSL do something, again and again until it has not to wait."""
        until: float | None = None
        _give_way_in_time()
        while True:
            try:
                return operation(*arguments)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                if self.gettimeout() == 0:
                    raise
                write = isinstance(error, ssl.SSLWantWriteError)
            if until is None:
                until = self._until(write)
            if not self._wait(write, until):
                raise TimeoutError(f"The {what} operation timed out")

    def _engaged(self, what: str) -> Any:
        """OpenSSL's side of the connection, which an operation keeps although another task may shut it down."""
        if self._sslobj is None:
            raise ValueError(f"{what} on closed or unwrapped SSL socket.")
        if self._owes_handshake:
            self.do_handshake()
        return self._sslobj

    def do_handshake(self, block: bool = False) -> None:
        """Agree with the peer on how to talk; with `block` also where the timeout is 0."""
        self._check_connected()
        timeout = self.gettimeout()
        if timeout == 0 and block:
            self.settimeout(None)
        try:
            self._patiently("handshake", self._sslobj.do_handshake)
        finally:
            self.settimeout(timeout)
        self._owes_handshake = False

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """Up to `len` bytes, or into `buffer` and their number; b"" or 0 at the end."""
        arguments = (len,) if buffer is None else (len, buffer)
        try:
            return self._patiently("read", self._read_some, self._engaged("Read"), *arguments)
        except ssl.SSLError as error:
            if error.args[0] != ssl.SSL_ERROR_EOF or not self.suppress_ragged_eofs:
                raise
            return b"" if buffer is None else 0

    def _read_some(self, engaged: Any, *arguments: Any) -> Any:
        if self.suppress_ragged_eofs and not engaged.pending() and self._at_end():
            # OpenSSL must not see it: for it this is a failure, and what a handler still has to say could not be sent.
            raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the peer has left without a goodbye")
        return engaged.read(*arguments)

    def write(self, data: Any) -> int:
        """Send some of `data`; returns how many bytes.

        A record that OpenSSL could not send whole must be gone before another is begun, so tasks write in turn.
        """
        engaged = self._engaged("Write")
        if not self._writing.acquire(blocking=self.gettimeout() != 0):
            raise ssl.SSLWantWriteError(ssl.SSL_ERROR_WANT_WRITE, "another task is in the middle of a write")
        try:
            return int(self._patiently("write", engaged.write, data))
        finally:
            self._writing.release()

    def send(self, data: Any, flags: int = 0) -> int:
        """Send some of `data`; returns how many bytes."""
        return super().send(data, flags) if self._sslobj is None or flags else self.write(data)

    def unwrap(self) -> socket.socket:
        """End TLS on the connection, together with the peer; returns the socket, which goes on without."""
        if self._sslobj is None:
            return super().unwrap()
        left: socket.socket = self._patiently("shutdown", self._sslobj.shutdown)
        self._sslobj = None
        return left

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
        wrapped._owes_handshake = later
        return wrapped, address

    # -- files --

    def makefile(self, mode: str = "r", buffering: int | None = None, **options: Any) -> Any:
        """A file over the connection. It reads and writes through this object, not through the green socket below."""
        if (mode, buffering) == ("wb", 0):
            self._io_refs += 1
            return _WholeFile(self, "w")
        makefile: Any = socket.socket.makefile
        return makefile(self, mode, buffering, **options)


def _give_way_in_time() -> None:
    """Let the others have a turn when this task has had its share: TLS is work."""
    hub = running_hub()
    if hub is not None:
        hub.credit -= _RECORD
        if hub.credit <= 0:
            give_way()


def _after_handshake(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def asked(self: GreenSSLSocket, *arguments: Any, **options: Any) -> Any:
        if self._owes_handshake:
            self.do_handshake()
        return method(self, *arguments, **options)

    return asked


for _name in _ASKED_AFTER_HANDSHAKE:
    if hasattr(ssl.SSLSocket, _name):  # two of them since Python 3.13
        setattr(GreenSSLSocket, _name, _after_handshake(getattr(ssl.SSLSocket, _name)))
