"""What a request is made of: a connection, of which a record is kept, or a datagram, of which nothing is."""

import os
from typing import Any

from portside.connections import Connection
from portside.dispatcher import ACCEPT_BATCH
from portside.gates import Gate, gates_of
from portside.ownership import is_ours
from portside.policy.owed_handshakes import OwedHandshakes, take_over
from portside.roles import Transport
from portside.telemetry import ConnectionClosed, ConnectionOpened, emit

# The engines that take any socket; asyncio does not take an encrypted one.
_BLOCKING = ("serial", "threads", "forks")


class StreamTransport(Transport):
    """Connections: each is opened, recorded and closed, and both are told."""

    queues = True

    def prepare(self) -> None:
        """Several loops may watch one listener, and a client that woke them all goes to one: no other may wait for it.

        Python's own notion of the socket stays "blocking", for programs that look at it.
        """
        self.batch = _batch(self.server)
        if self.server.socket.gettimeout() is None:
            os.set_blocking(self.server.fileno(), False)

    _taken_over: Any = None  # the encrypted listener whose handshakes a gate makes

    def gates(self) -> tuple[Gate, ...]:
        """The server's, and one for a listener that a program has encrypted; a green one sees to that by itself."""
        listener = self.server.socket
        if self.server._portside.engine.name in _BLOCKING and take_over(listener):
            self._taken_over = listener
        owed = (OwedHandshakes(),) if listener is self._taken_over and listener is not None else ()
        return (*gates_of(self.server), *owed)

    def opened(self, request: Any, client_address: Any) -> Connection | None:
        """Keep a record, and tell."""
        record = self.connections.add(request, client_address)
        if self.tally is not None:
            self.tally.openings.once()
        if ConnectionOpened.subscribers:
            emit(ConnectionOpened(server=self.server, client_address=client_address))
        return record

    def closed(self, request: Any) -> None:
        """Drop the record, and tell, once."""
        record = self.connections.pop(request)
        if record is None:
            return
        if self.tally is not None:
            record.count(self.tally, request)
        if ConnectionClosed.subscribers:
            emit(record.summary(self.server))

    def stop_listening(self) -> None:
        """Close the listener."""
        self.server.socket.close()

    def become_child(self) -> None:
        """Close the listener, or a child that outlives its parent would keep the port from the parent's successor."""
        self.server.socket.close()


class DatagramTransport(Transport):
    """Datagrams: receiving says for itself that it does not wait, and the child answers through the server's socket."""

    def prepare(self) -> None:
        """Many in a row, where `get_request` is ours."""
        self.batch = _batch(self.server)

    def gates(self) -> tuple[Gate, ...]:
        """None: they are for connections.

        Raises:
            ValueError: the server is told to have some.
        """
        if gates_of(self.server):
            raise ValueError("proxy_protocol and tls are for connections: a server of datagrams cannot have them")
        return ()


def _batch(server: Any) -> int:
    """1 where a second `get_request` might wait: one that a program has written, or a listener with a timeout."""
    return ACCEPT_BATCH if is_ours(server.get_request) and server.socket.gettimeout() is None else 1
