"""The client's side of the same streams and frames: `portside.connect(endpoint)`."""

import contextlib
import socket
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from portside.encrypted import EncryptedSocket
from portside.endpoints import Endpoint
from portside.frames import FrameReader
from portside.framing import Codec, Lines
from portside.handlers import SocketWriter
from portside.reading import PatientReader

if TYPE_CHECKING:
    import ssl

    from portside.policy.tls import ClientTLS

# Bytes of the largest datagram that is received whole.
_LARGEST = 65_535


class Patience:
    """How long one operation on a socket may wait: its timeout, or what a deadline leaves of it.

    Args:
        sock: the socket whose timeout is set.
        timeout: seconds for one operation; None for ever.
    """

    def __init__(self, sock: socket.socket, timeout: float | None) -> None:
        self._sock = sock
        self._timeout = timeout
        self._deadline: float | None = None

    def apply(self) -> None:
        """Before an operation: give the socket the time there is.

        Raises:
            TimeoutError: the deadline has passed.
        """
        if self._deadline is None:
            return
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the deadline has passed")
        self._sock.settimeout(remaining if self._timeout is None else min(remaining, self._timeout))

    @contextlib.contextmanager
    def until(self, seconds: float) -> Iterator[None]:
        """All operations in the block together take at most `seconds`, and no longer than an outer block leaves."""
        outer = self._deadline
        mine = time.monotonic() + seconds
        self._deadline = mine if outer is None else min(mine, outer)
        try:
            yield
        finally:
            self._deadline = outer
            self._sock.settimeout(self._timeout)


class _Sink(SocketWriter):
    """What `wfile` is: each write leaves at once."""

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        super().__init__(sock)
        self._patience = patience

    def write(self, b: Any) -> int:
        self._patience.apply()
        return super().write(b)


class Client:
    """A connected socket, and what to say through it.

    Attributes:
        socket: the connected socket; with TLS an `EncryptedSocket`, which has what clients need of one.
        endpoint: where it is connected to.

    Resource handling: the socket, from construction to `close()` or the end of a `with` block.
    """

    def __init__(self, sock: Any, endpoint: Endpoint, timeout: float | None) -> None:
        self.socket = sock
        self.endpoint = endpoint
        sock.settimeout(timeout)
        self._patience = Patience(sock, timeout)

    def deadline(self, seconds: float) -> contextlib.AbstractContextManager[None]:
        """All operations in the block together take at most `seconds`, or raise TimeoutError.

        The connection stays usable after that: `with client.deadline(2): line = client.rfile.readline()`.
        """
        return self._patience.until(seconds)

    def close(self) -> None:
        """Close the connection. May be called again."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class StreamClient(Client):
    """A connection.

    Attributes:
        rfile: a buffered binary file to read from.
        wfile: a binary file to write to; each write is sent before it returns.
        frames: yields each frame (bytes) that the server sends, and ends when the server has.
    """

    def __init__(self, sock: Any, endpoint: Endpoint, timeout: float | None, codec: Codec) -> None:
        super().__init__(sock, endpoint, timeout)
        self.codec = codec
        self.rfile = PatientReader(self._receive)
        self.wfile = _Sink(sock, self._patience)
        self.frames: Iterator[bytes] = FrameReader(codec, self.rfile.read1)

    def _receive(self, size: int) -> bytes:
        self._patience.apply()
        data: bytes = self.socket.recv(size)
        return data

    def send(self, *frames: bytes) -> None:
        """Send frames, all of them in one write.

        Raises:
            FrameTooLong, FrameCorrupt: a frame cannot be written in this codec; nothing was sent.
            OSError: the server is gone, or TimeoutError: it did not read in time.
        """
        self.wfile.write(b"".join(map(self.codec.encode, frames)))

    def receive(self) -> bytes:
        """The next frame.

        Raises:
            EOFError: the server has ended the connection.
            FrameTooLong, FrameCorrupt: the server broke the framing.
            OSError: the server is gone, or TimeoutError: it did not send in time.
        """
        for frame in self.frames:
            return frame
        raise EOFError(f"{self.endpoint} has ended the connection")

    def end(self) -> None:
        """Tell the server that nothing more comes; its answers can still be read."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the connection and its files. May be called again."""
        self.rfile.close()
        self.wfile.close()
        super().close()


class DatagramClient(Client):
    """A socket that sends datagrams to one endpoint: what is sent and received whole is the datagram.

    Attributes:
        frames: yields each datagram (bytes) that arrives.
    """

    @property
    def frames(self) -> Iterator[bytes]:
        """Each datagram that arrives, without end."""
        while True:
            yield self.receive()

    def send(self, *frames: bytes) -> None:
        """Send each frame as a datagram.

        Raises:
            OSError: nobody is there, or the frame is longer than a datagram may be (EMSGSIZE).
        """
        for frame in frames:
            self._patience.apply()
            self.socket.send(frame)

    def receive(self) -> bytes:
        """The next datagram.

        Raises:
            OSError: nobody is there, or TimeoutError: nothing came in time.
        """
        self._patience.apply()
        data: bytes = self.socket.recv(_LARGEST)
        return data


def connect(
    endpoint: str | int | Endpoint,
    *,
    timeout: float | None = None,
    codec: Codec | None = None,
    tls: "ClientTLS | ssl.SSLContext | None" = None,
) -> "StreamClient | DatagramClient":
    """Connect to an endpoint.

    Args:
        endpoint: an endpoint's text, a port of the loopback interface, or an `Endpoint`.
        timeout: seconds that connecting, and later each operation, may wait; None for ever.
        codec: how frames are written on the wire; lines where none is given. Datagrams need none.
        tls: how to encrypt the connection, and whom to trust; None is `ClientTLS()` for tls:// and https:// endpoints,
            and no TLS for others.

    Returns:
        A `StreamClient`, or for a datagram endpoint a `DatagramClient`; either is a context manager.

    In a green handler the client's operations let the other handlers run, connecting and looking a name up included.

    Raises:
        EndpointError: the text is no endpoint.
        TypeError: TLS is for connections, and the endpoint is of datagrams.
        OSError: nobody is there; TimeoutError: nobody answered in time; ssl.SSLCertVerificationError: it is not the
            server that it should be.
    """
    where = Endpoint.parse(endpoint)
    if tls is not None and not where.is_stream:
        raise TypeError(f"{where} cannot have TLS, which is for connections: leave tls=... out")
    sock: Any = where.connect(timeout, network=_network())
    if tls is not None or where.is_tls:
        sock = encrypted(sock, where, tls)
    if where.is_stream:
        return StreamClient(sock, where, timeout, codec or Lines())
    return DatagramClient(sock, where, timeout)


def encrypted(sock: socket.socket, endpoint: Endpoint, tls: "ClientTLS | ssl.SSLContext | None") -> EncryptedSocket:
    """The client's side of a handshake, in which each wait lasts as long as the socket's timeout.

    Args:
        sock: connected to the endpoint; it goes over to what is returned, or is closed.
        endpoint: whose host the server must be, unless `tls` names another.
        tls: see `connect`.

    Raises:
        OSError: the server does not shake hands, or is not who it should be.
    """
    from portside.policy.tls import ClientTLS

    tls = ClientTLS(alpn=("http/1.1",) if endpoint.scheme == "https" else ()) if tls is None else tls
    name = (tls.server_name if isinstance(tls, ClientTLS) else None) or endpoint.host or "localhost"
    try:
        context = tls.context() if isinstance(tls, ClientTLS) else tls
        return EncryptedSocket(sock, context, name.partition("%")[0])
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            error.add_note(f"while connecting to {endpoint}")
        raise


def _network() -> Any:
    """The `socket` module; in a task, the one that does not hold up the others."""
    hub = sys.modules.get("portside.core.hub")  # where nobody has imported it, nothing runs in tasks
    if hub is None or hub.running_hub() is None:
        return socket
    from portside.core import network

    return network
