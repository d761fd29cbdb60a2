"""Servers that listen: what a service is made of, wherever its loops run."""

import dataclasses
import socket
from collections.abc import Callable, Sequence

from portside.endpoints import Endpoint
from portside.servers import TCPServer
from portside.service.building import build
from portside.service.description import Service


class Bound:
    """The servers of a service.

    Args:
        service: what is served.
        listeners: sockets that listen at its endpoints already, which are the servers' from now on.

    Attributes:
        servers: the server objects of the drop-in face, one an endpoint.
        endpoints: what was really bound, port 0 replaced by the port that the system chose.

    Resource handling: the listeners from construction on.
    """

    def __init__(self, service: Service, listeners: Sequence[socket.socket] | None = None) -> None:
        self.servers: tuple[TCPServer, ...] = tuple(build(service, listeners))
        self.endpoints = tuple(map(_bound, self.servers, service.endpoints))
        self._drain = service.drain
        self._error: BaseException | None = None

    @property
    def endpoint(self) -> Endpoint:
        """The first of `endpoints`."""
        return self.endpoints[0]

    def request_stop(self, drain: float | None = None) -> None:
        """Ask every server to drain and end; waits for nothing, so that a signal handler may call it.

        Args:
            drain: seconds for handlers to finish; None is the service's own.
        """
        seconds = self._seconds(drain)
        for server in self.servers:
            server._portside.lifecycle.stop(seconds)

    def be_patient(self, quiet: float) -> None:
        """In a drain to come, take a client for idle only after so many seconds of silence."""
        for server in self.servers:
            server._portside.quiet = quiet

    def share_listeners(self, wanted: bool) -> None:
        """Whether others accept at the same listeners, and go on when these servers end.

        Clients that wait there when a drain begins are left to them, or else let in.
        """
        for server in self.servers:
            server._portside.shares_listener = wanted

    def hesitate(self, seconds: Callable[[int], float]) -> None:
        """Leave clients to other processes first.

        Args:
            seconds: asked before each accept, with the connections that all servers have; says for how long.
        """
        for server in self.servers:
            server._portside.hesitate = lambda: seconds(self.open_connections)

    @property
    def open_connections(self) -> int:
        """How many connections there are, at all endpoints."""
        return sum(len(server._portside.connections) for server in self.servers)

    def force(self) -> None:
        """End every connection and child process now; waits for nothing."""
        for server in self.servers:
            server._portside.force()

    def _seconds(self, drain: float | None) -> float:
        return self._drain if drain is None else drain

    def _close(self, server: TCPServer) -> None:
        """After the drain: what it could not end is not waited for once more."""
        server.drain_timeout = 0.0
        server.server_close()

    def _raise_error(self) -> None:
        """Raise whatever ended a server before it was asked to, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error


def _bound(server: TCPServer, asked: Endpoint) -> Endpoint:
    found = Endpoint.from_socket(server.socket)
    return dataclasses.replace(found, scheme=asked.scheme) if asked.is_tls else found
