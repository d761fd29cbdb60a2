"""The door: what is decided about a request between `get_request` and `verify_request`, and what it gets to go by.

Whatever is decided about a stranger is decided here in constant time, before TLS and before any hook. A guest's
deadlines are given to whoever can keep them without a timer for each call: to the kernel for blocking sockets, to the
hub for green ones, to the keeper for those that concern the connection as a whole.
"""

import contextlib
import math
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from portside.connections import Connection, Connections
from portside.farewell import Farewells
from portside.keeper import Keeper, oldest
from portside.policy.access import Access
from portside.policy.hosts import host_of
from portside.policy.limits import NO_LIMITS, Limits
from portside.policy.rates import Rates
from portside.telemetry import CloseReason, ConnectionRefused, RefusalReason, emit

_TIMEVAL = struct.Struct("@ll")  # seconds and microseconds
_PACING_RATE = 47  # SO_MAX_PACING_RATE of Linux's asm-generic/socket.h, which the socket module does not name


class Hosts:
    """How many connections each host has open; the door counts them up, and whoever closes one leaves a note."""

    def __init__(self) -> None:
        self._open: dict[int, int] = {}
        self._left: deque[int] = deque()  # so that nobody but the door changes the counts

    def count(self, host: int) -> int:
        """Connections that are open from a host."""
        self._read_notes()
        return self._open.get(host, 0)

    def admit(self, host: int, most: int | None = None) -> bool:
        """One more; False, and none, where there are as many as there may be."""
        if self._left:
            self._read_notes()
        count = self._open.get(host, 0)
        if most is not None and count >= most:
            return False
        self._open[host] = count + 1
        return True

    def leave(self, host: int) -> None:
        """One less; may be called in any thread, at any moment."""
        self._left.append(host)

    def __len__(self) -> int:
        """Hosts that have any."""
        self._read_notes()
        return len(self._open)

    def _read_notes(self) -> None:
        while self._left:
            host = self._left.popleft()
            if self._open.get(host, 0) > 1:
                self._open[host] -= 1
            else:
                self._open.pop(host, None)


class Admission:
    """The door of one server of connections.

    Args:
        server: the server object.
        opened: called with a request and its address that may come in; makes its record.
        connections: where the records are.
        limits: its limits; None for none.
        access: who may come in; None for everybody.

    Attributes:
        given: the limits and rules that it was made for.
        limits: the same limits, all of them None where there are none.
        read_seconds: how long a wait for a client's next byte may last; None for ever.
        longest_line: bytes of the longest line that is given out whole; 0 for any number.
        keeper: watches those who stay.
    """

    def __init__(
        self,
        server: Any,
        opened: Callable[[Any, Any], Connection | None],
        connections: Connections,
        limits: Limits | None,
        access: Access | None,
    ) -> None:
        self._server = server
        self._opened = opened
        self._connections = connections
        self.given = limits, access
        self.limits = limits = limits or NO_LIMITS
        self.read_seconds = _read_seconds(server, limits)
        self._access = access
        self.longest_line = limits.line_bytes or 0
        self._send_rate = limits.send_rate
        waits = self.read_seconds, limits.write_seconds
        self._waits = None if waits == (None, None) else waits
        self._counts_hosts = limits.per_host is not None or limits.rate_per_host is not None
        self._judges = self._counts_hosts or limits.connections is not None
        self._knows_clients = getattr(server, "proxy_protocol", None) is None  # else see `meet`
        self._hosts = Hosts()
        self._rates = None if limits.rate_per_host is None else Rates(limits.rate_per_host, limits.burst_per_host)
        self._lock = threading.Lock()  # several loops may accept for one server
        self._shaking: dict[Connection, None] = {}
        self.keeper = Keeper(limits)
        self._queues = self.keeper.queues
        self._farewells = Farewells(_word(server, limits))
        connections.on_gone = self._left

    # -- strangers --

    def let_in(self, request: Any, client_address: Any) -> bool:
        """Decide about a request that was just accepted: it is recorded and gets its deadlines, or it is turned away.

        Returns:
            False for one that was turned away; it is closed then.
        """
        host, access = None, self._access
        if self._judges or (access is not None and access.active):
            reason, host = self._decide(request, client_address)
            if reason is not None:
                self._turn_away(request, client_address, reason)
                return False
        record = self._opened(request, client_address)
        if record is not None:
            record.host = host
            self.keeper.enter(record)
        elif host is not None:  # nothing will tell when it has gone
            self._hosts.leave(host)
        if self._waits is not None:
            set_waits(request, *self._waits)
        if self._send_rate is not None:
            with contextlib.suppress(AttributeError, OSError):  # a Unix socket, or another system
                request.setsockopt(socket.SOL_SOCKET, _PACING_RATE, self._send_rate)
        return True

    def _decide(self, request: Any, client_address: Any) -> tuple[RefusalReason | None, int | None]:
        """Why a request may not come in; or None, and the host for which one more is counted."""
        most = self.limits.connections
        if most is not None and len(self._connections) >= most:
            return RefusalReason.CONNECTIONS, None
        return self._judge(request, client_address) if self._knows_clients else (None, None)

    def meet(self, request: Any, client_address: Any) -> RefusalReason | None:
        """Decide about a connection whose client is known only now: a proxy has said who it is.

        Args:
            request: the connection, which has a record.
            client_address: the client's real address.

        Returns:
            Why it may not stay; the caller tells, and closes it.
        """
        if self._knows_clients:
            return None
        reason, host = self._judge(request, client_address)
        record = self._connections.get(request)
        if record is not None:
            record.host = host
        elif host is not None:
            self._hosts.leave(host)
        return reason

    def _judge(self, request: Any, client_address: Any) -> tuple[RefusalReason | None, int | None]:
        """Why a client may not come in; or None, and the host for which one more is counted."""
        limits, access = self.limits, self._access
        reason = access.refusal(request, client_address) if access is not None and access.active else None
        host = host_of(client_address) if self._counts_hosts and reason is None else None
        if host is None:
            return reason, None
        with self._lock:
            if not self._hosts.admit(host, limits.per_host):
                return RefusalReason.PER_HOST, None
            if self._rates is not None and not self._rates.takes(host):
                self._hosts.leave(host)
                return RefusalReason.RATE, None
        return None, host

    def _turn_away(self, request: Any, client_address: Any, reason: RefusalReason) -> None:
        if ConnectionRefused.subscribers:
            emit(ConnectionRefused(server=self._server, client_address=client_address, reason=reason))
        self._farewells.say(request)
        self._server.shutdown_request(request)

    # -- guests --

    @contextlib.contextmanager
    def handshake(self, request: Any) -> Iterator[None]:
        """Count a handshake within the block; where that is one too many, the oldest one makes room.

        A child process counts for itself: there, only `max_children` bounds them.
        """
        record = self._connections.get(request)
        if record is None:
            yield
            return
        self._shaking[record] = None
        if self.limits.handshakes is not None and len(self._shaking) > self.limits.handshakes:
            self._make_room()
        try:
            yield
        finally:
            self._shaking.pop(record, None)

    def _make_room(self) -> None:
        found = oldest(self._shaking)
        if found is None:
            return
        record, _ = found
        self._shaking.pop(record, None)
        emit(
            ConnectionRefused(
                server=self._server, client_address=record.client_address, reason=RefusalReason.HANDSHAKES
            )
        )
        record.blame(CloseReason.TIMED_OUT)
        record.cut()

    def _left(self, record: Connection) -> None:
        """A connection is gone. Called anywhere, at any moment; see `Connections.on_gone`."""
        record.gone = True
        for queue, _ in self._queues:
            queue.pop(record, None)
        if self._shaking:
            self._shaking.pop(record, None)
        if record.host is not None:
            self._hosts.leave(record.host)

    # -- the loop's --

    def remaining(self) -> float | None:
        """Seconds until `look` has something to do; None while nothing will come by itself."""
        keeps = self.keeper.remaining()
        lingers = self._farewells.remaining() if self._farewells.any else None
        if keeps is None or lingers is None:
            return lingers if keeps is None else keeps
        return min(keeps, lingers)

    def look(self) -> None:
        """End what has been there for too long."""
        self.keeper.look()
        if self._farewells.any:
            self._farewells.look()

    def close(self) -> None:
        """A loop is over: nobody looks after those who linger."""
        self._farewells.close()


class DatagramAdmission(Admission):
    """The door of a server of datagrams: there is nobody to tell, and nobody who stays."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        rate = self.limits.datagrams_per_host
        self._rates = None if rate is None else Rates(rate, self.limits.datagram_burst)

    def let_in(self, request: Any, client_address: Any) -> bool:
        """Decide about a datagram; False for one that is dropped."""
        reason = self._refusal(client_address)
        if reason is None:
            self._opened(request, client_address)
            return True
        if ConnectionRefused.subscribers:
            emit(ConnectionRefused(server=self._server, client_address=client_address, reason=reason))
        self._server.shutdown_request(request)
        return False

    def sifted(self, arrivals: Iterable[tuple[bytes, Any]], sock: Any) -> Iterator[tuple[bytes, Any]]:
        """Those of `arrivals` (data and address) that are let in."""
        return (each for each in arrivals if self.let_in((each[0], sock), each[1]))

    def _refusal(self, client_address: Any) -> RefusalReason | None:
        access = self._access
        reason = access.refusal(None, client_address) if access is not None and access.active else None
        host = host_of(client_address) if reason is None and self._rates is not None else None
        if host is None or self._rates is None:
            return reason
        with self._lock:
            return None if self._rates.takes(host) else RefusalReason.RATE


def admission_for(
    server: Any,
    opened: Callable[[Any, Any], Connection | None],
    connections: Connections,
    before: Admission | None,
) -> Admission | None:
    """The door that a server's `limits` and `access` ask for; the one before, where they are the same."""
    limits, access = getattr(server, "limits", None), getattr(server, "access", None)
    # A program may have attributes of these names for purposes of its own.
    limits = limits if isinstance(limits, Limits) else None
    access = access if isinstance(access, Access) else None
    if limits is None and access is None:
        return None
    if before is not None and before.given == (limits, access):
        return before
    kind = Admission if getattr(server, "socket_type", None) != socket.SOCK_DGRAM else DatagramAdmission
    return kind(server, opened, connections, limits, access)


def set_waits(request: Any, reading: float | None, writing: float | None) -> None:
    """Let waits on one connection last so long, where that costs its reads and writes nothing.

    Args:
        request: a green socket, or a plain one that blocks. TLS and sockets with a timeout of their own keep to that.
        reading: seconds that a read may wait for the client; None for ever.
        writing: seconds that a client may take nothing; None for ever.
    """
    bound = getattr(request, "bound_waits", None)
    if bound is not None:
        bound(-1 if reading is None else reading, -1 if writing is None else writing)
    elif type(request) is socket.socket and request.gettimeout() is None:
        with contextlib.suppress(AttributeError, OSError):  # the client has left already; another system
            if reading is not None:
                request.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(reading))
            if writing is not None:
                request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(writing))


def _read_seconds(server: Any, limits: Limits) -> float | None:
    """How long a wait for a client may last; of a Unix client the kernel does not tell how long it has been idle."""
    bounds = [limits.read_seconds]
    if getattr(server, "address_family", None) == getattr(socket, "AF_UNIX", -1):
        bounds.append(limits.idle_seconds)
    return min((each for each in bounds if each is not None), default=None)


def _timeval(seconds: float) -> bytes:
    fraction, whole = math.modf(seconds)
    return _TIMEVAL.pack(int(whole), int(fraction * 1_000_000))


def _word(server: Any, limits: Limits) -> bytes:
    """What refused clients are told: what the limits say, or the handler's protocol; TLS would not understand it."""
    if getattr(server, "ssl_context", None) is not None or getattr(server, "tls", None) is not None:
        return b""
    if limits.refusal is not None:
        return limits.refusal
    handler = server.RequestHandlerClass
    word = getattr(getattr(handler, "func", handler), "refusal", b"")  # a functools.partial of it, perhaps
    return word if isinstance(word, bytes) else b""
