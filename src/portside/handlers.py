"""The handlers: what a user derives from and fills with `handle()`."""

import contextlib
import errno
import functools
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from io import BufferedIOBase, BytesIO
from typing import Any

from portside.admission import Admission
from portside.connections import Stalled
from portside.dispatcher import Dispatcher
from portside.frames import FrameReader, bounded
from portside.framing import Codec, Lines
from portside.gates import TurnedAway
from portside.peer import Peer, tls_facts
from portside.policy.handshakes import say_goodbye, shake_hands
from portside.policy.peers import peer_of
from portside.policy.proxy_protocol import Proxied
from portside.reading import bounded_reader
from portside.starttls import buffered, injected, settle, startable


class Handler:
    """What every handler is told, and keeps as attributes.

    Args:
        request: the connection's socket; for datagrams `(data, socket)`.
        client_address: who asks.
        server: the server object.
        handler_args: the server's `handler_args`, each of which becomes an attribute.
    """

    def __init__(self, request: Any, client_address: Any, server: Any, **handler_args: Any) -> None:
        self.request = request
        self.client_address = client_address
        self.server = server
        if handler_args:
            vars(self).update(handler_args)
        self._portside_begin()

    @functools.cached_property  # which a program may assign to, as some have an attribute of that name
    def proxy(self) -> Proxied | None:
        """The proxy before the client and what it says, where the server has a `proxy_protocol`; else None."""
        machine: Dispatcher | None = getattr(self.server, "_portside", None)
        record = None if machine is None else machine.connections.get(self.request)
        found: Proxied | None = None if record is None else record.proxy
        return found

    @functools.cached_property  # which a program may assign to
    def peer(self) -> Peer:
        """Who the client is, as far as the kernel and TLS vouch for it."""
        return replace(peer_of(self.request) or Peer(), **tls_facts(self._portside_tls()))

    def _portside_tls(self) -> Any:
        """What knows of TLS on the connection, if there is any."""
        return self.request

    @property
    def _portside_door(self) -> Admission | None:
        """The server's door, where it has limits."""
        machine = getattr(self.server, "_portside", None)
        door: Admission | None = getattr(machine, "admission", None)
        return door

    def _portside_begin(self) -> None:
        """What the constructor does beyond that."""


class BaseRequestHandler(Handler):
    """Handles one request: the constructor calls `setup()`, `handle()` and, whatever happened, `finish()`.

    Its arguments are `Handler`'s.
    """

    def _portside_begin(self) -> None:
        self.setup()
        try:
            self.handle()
        finally:
            self.finish()

    def setup(self) -> None:
        """Called before `handle()`. May be overridden."""

    def handle(self) -> None:
        """Do all the work of the request. To be overridden."""

    def finish(self) -> None:
        """Called after `handle()`, unless `setup()` raised. May be overridden."""


class StreamRequestHandler(BaseRequestHandler):
    """Handles a connection through two file objects: `rfile` to read from, `wfile` to write to.

    Attributes:
        rbufsize: bytes of `rfile`'s buffer; -1 is the system's default, 0 none.
        wbufsize: bytes of `wfile`'s buffer; 0 sends each write at once.
        timeout: seconds that one read or write may wait before it raises TimeoutError; None for ever.
        disable_nagle_algorithm: send small packets at once (TCP_NODELAY); without effect on Unix sockets.
        connection: the socket, the same as `request`.
    """

    rbufsize: int = -1
    wbufsize: int = 0
    timeout: float | None = None
    disable_nagle_algorithm: bool = False
    _portside_secured = False  # whether TLS began in the middle, and the server knows nothing of it
    _portside_bounds_lines = True  # by the server's limits

    def setup(self) -> None:
        """Make `rfile` and `wfile`. May be extended."""
        connection = self.connection = self.request
        if self.timeout is not None:
            connection.settimeout(self.timeout)
        if self.disable_nagle_algorithm and _may_delay(connection):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self._portside_open()

    def _portside_open(self) -> None:
        connection, door = self.connection, self._portside_door
        self.rfile = connection.makefile("rb", self.rbufsize)
        if door is not None and self._portside_bounds_lines:
            bound = getattr(self.rfile, "bound_lines", None)
            if bound is not None:  # a green one sees to both
                bound(door.longest_line)
            else:
                prompt = self.timeout is None and door.read_seconds is not None
                self.rfile = bounded_reader(self.rfile, connection, self.rbufsize, door.longest_line, prompt=prompt)
        if self.wbufsize == 0 and not hasattr(connection, "writes_whole"):
            self.wfile = SocketWriter(connection)
        else:
            self.wfile = connection.makefile("wb", self.wbufsize)

    def finish(self) -> None:
        """Flush what is left, and close both files. May be extended."""
        try:
            try:
                if not self.wfile.closed:
                    self.wfile.flush()
            finally:
                self.wfile.close()  # which flushes once more
        except OSError:
            pass  # the client left before it had read everything
        finally:
            self.rfile.close()
        if self._portside_secured:
            self._portside_close()

    def start_tls(self, tls: Any = None) -> None:
        """Go on encrypted: shake hands, and make `request`, `connection`, `rfile` and `wfile` anew (STARTTLS).

        Call it after telling the client to begin, and forget what the client has said of itself until then: anybody
        could have said it.

        Args:
            tls: a `TLS` or `ContextTLS`; None is the server's, which is made with `starttls=True`.

        Raises:
            TurnedAway: an OSError. The client does not shake hands within `handshake_timeout`, or has sent what would
                pass for encrypted later (CVE-2011-0411). Left uncaught, that closes the connection and is told as the
                client's doing. Nothing more can be said on the connection.
            ValueError: nobody said which TLS, or the connection is encrypted already.
        """
        policy = startable(self.peer, self.server, tls)
        if self._portside_unread():
            raise injected()
        self.wfile.flush()
        self.wfile.close()
        self.rfile.close()
        context, seconds = policy.fresh_context(self.server), policy.handshake_timeout
        self._portside_given = self.request
        try:
            self._portside_go_on(shake_hands(self.connection, context, seconds))
        except TurnedAway as error:
            self._portside_go_on(error.request or self.connection)
            raise
        self._portside_open()

    def _portside_go_on(self, sock: Any) -> None:
        self.request = self.connection = sock
        self._portside_secured = True
        vars(self).pop("peer", None)  # more is known of it now

    def _portside_unread(self) -> bool:
        """Whether bytes of the client's have been read from the kernel, and not yet by the handler."""
        return bool(buffered(self.rfile))

    def _portside_close(self) -> None:
        """End and close what `start_tls` has made: the server knows only the socket that it gave."""
        settle(self.server, self._portside_given)
        say_goodbye(self.request)
        with contextlib.suppress(OSError):  # the client left first
            self.request.shutdown(socket.SHUT_WR)
        self.request.close()


_INET = (None, socket.AF_INET, socket.AF_INET6)


def _may_delay(connection: Any) -> bool:
    """Whether a connection may hold small packets back: not a Unix socket, nor what a program's test has for one."""
    return getattr(connection, "family", None) in _INET and hasattr(connection, "setsockopt")


class SocketWriter(BufferedIOBase):
    """A `wfile` without a buffer: each write is sent, whole, before it returns.

    Args:
        sock: a connected socket; it stays the caller's.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, b: Any) -> int:
        """Send all of `b` (bytes-like); returns its length in bytes.

        Raises:
            OSError: the client is gone, or TimeoutError: it did not read in time.
        """
        try:
            self._sock.sendall(b)
        except BlockingIOError as error:
            if self._sock.gettimeout() == 0:
                raise
            raise Stalled("the client took nothing in time") from error  # SO_SNDTIMEO, socket(7)
        with memoryview(b) as view:
            return view.nbytes

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()


class DatagramRequestHandler(BaseRequestHandler):
    """Handles a datagram: `rfile` holds it, and what was written to `wfile` is the answer.

    Attributes:
        packet: the datagram's bytes.
        socket: the server's socket.
    """

    def setup(self) -> None:
        """Make `rfile` and `wfile`. May be extended."""
        self.packet, self.socket = self.request
        self.rfile = BytesIO(self.packet)
        self.wfile = BytesIO()

    def finish(self) -> None:
        """Send the answer. May be extended.

        Raises:
            ConnectionResetError: the client's socket is gone, and `handle()` raised nothing that is to be told instead.
            OSError: the answer cannot be sent; EMSGSIZE when it is longer than a datagram may be.
        """
        if not self.client_address:  # a Unix client that is bound to nothing cannot be answered
            return
        failing = sys.exception() is not None
        try:
            send_datagram(self.socket, self.wfile.getvalue(), self.client_address)
        except ConnectionResetError:
            if not failing:
                raise


def send_datagram(sock: socket.socket, data: bytes, address: Any) -> None:
    """Send one datagram.

    Raises:
        ConnectionResetError: the receiver's socket is gone.
        OSError: the system refuses; EMSGSIZE when `data` is longer than a datagram may be.
    """
    try:
        sock.sendto(data, address)
    except (ConnectionRefusedError, FileNotFoundError) as error:  # a Unix socket that nobody holds any more
        raise ConnectionResetError(errno.ECONNRESET, "the client's socket is gone") from error


class FramedRequestHandler(StreamRequestHandler):
    """Handles a connection as frames: `for frame in self.frames: self.send(frame)`.

    Attributes:
        codec: how frames are written on the wire; lines of at most 64 KiB unless a subclass says otherwise.
        frames: yields each frame (bytes) that the client sends, and ends when the client has.

    A client that breaks the framing raises `FrameTooLong` or `FrameCorrupt` out of the loop; left uncaught, that closes
    the connection and is told as `CloseReason.BAD_INPUT`.
    """

    codec: Codec = Lines()
    _portside_frames: FrameReader

    def setup(self) -> None:
        """Make `frames`, on top of `rfile`. May be extended."""
        super().setup()  # calls _portside_open

    def _portside_open(self) -> None:
        super()._portside_open()
        if self._portside_secured:
            self._portside_frames.go_on(self.rfile.read1)  # a loop over `frames` may be under way
        else:
            door = self._portside_door
            codec = self.codec if door is None else bounded(self.codec, door.limits.frame_bytes)
            self._portside_frames: FrameReader = FrameReader(codec, self.rfile.read1)
            self.frames: Iterator[bytes] = self._portside_frames

    def _portside_unread(self) -> bool:
        return super()._portside_unread() or self._portside_frames.pending > 0

    def send(self, *frames: bytes) -> None:
        """Send frames, all of them in one write.

        Raises:
            FrameTooLong, FrameCorrupt: a frame cannot be written in this codec; nothing was sent.
            OSError: as `wfile.write`.
        """
        self.wfile.write(b"".join(map(self.codec.encode, frames)))
