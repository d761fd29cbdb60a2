"""The sockets that a supervisor holds for its workers, and which of them each worker accepts from.

They stay open in the supervisor as long as the service is there: what waits in a socket's queue outlives any worker.
"""

import contextlib
import dataclasses
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portside.binding import UnixFile
from portside.endpoints import Endpoint, adopt
from portside.servers import TCPServer
from portside.service.building import hold
from portside.service.workers import Balance

# Where each worker can have a queue of its own: Linux shares clients out among TCP and UDP sockets only.
_SHARED_OUT = ("tcp", "udp")


def share(queues: int, workers: int, slot: int) -> tuple[int, ...]:
    """Which of an endpoint's queues a worker serves: every queue has a worker, and every worker a queue.

    Args:
        queues: how many the endpoint has.
        workers: how many workers there are.
        slot: the worker's place, below `workers`.

    Returns:
        The numbers of the queues.
    """
    return tuple(range(slot, queues, workers)) if slot < queues else (slot % queues,)


@dataclass(frozen=True, kw_only=True)
class Held:
    """One listening socket.

    Attributes:
        endpoint: where it was asked for.
        server: what holds it: it is bound and listens, and never runs.
    """

    endpoint: Endpoint
    server: TCPServer

    @property
    def bound(self) -> Endpoint:
        """Where it really is."""
        found = Endpoint.from_socket(self.server.socket)
        return dataclasses.replace(found, scheme=self.endpoint.scheme) if self.endpoint.is_tls else found

    def described(self) -> dict[str, Any]:
        """What a successor of this program has to know of it."""
        file: UnixFile | None = getattr(self.server, "_portside_file", None)
        return {
            "endpoint": str(self.endpoint),
            "fd": self.server.fileno(),
            "file": file and dataclasses.asdict(file),
        }

    @classmethod
    def inherited(cls, described: Mapping[str, Any]) -> "Held":
        """The same socket in a successor."""
        endpoint = Endpoint.parse(described["endpoint"])
        server = hold(endpoint, adopt(described["fd"]))
        if described["file"]:
            vars(server)["_portside_file"] = UnixFile(**described["file"])
        return cls(endpoint=endpoint, server=server)


class Listeners:
    """All listening sockets of a service; either all of them listen, or none is left open.

    Args:
        endpoints: where.
        balance: one queue for all, or one for each of the workers.
        workers: how many there are at first.
        inherited: what a predecessor of this program passed on; what is not asked for any more is closed.

    Raises:
        OSError, EndpointError: an endpoint cannot be bound; the message says what to do about it.

    Resource handling: the sockets, and Unix sockets' files, until `close()`.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        balance: Balance = "shared",
        workers: int = 1,
        inherited: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            self._queues: list[list[Held]] = []
            spare = [Held.inherited(each) for each in inherited]
            for endpoint in endpoints:
                wanted = workers if balance == "reuseport" and endpoint.scheme in _SHARED_OUT else 1
                self._queues.append(_claimed(spare, endpoint))
                _fill_up(self._queues[-1], endpoint, wanted)
            _close(spare)
            stack.pop_all()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """What was really bound."""
        return tuple(queues[0].bound for queues in self._queues)

    def of(self, slot: int, workers: int) -> list[Held]:
        """What the worker at this place serves."""
        return [queues[number] for queues in self._queues for number in share(len(queues), workers, slot)]

    def moved(self, before: int, after: int) -> set[int]:
        """Places that serve other queues when the number of workers changes."""
        places = range(min(before, after))
        return {slot for slot in places if self._numbers(slot, before) != self._numbers(slot, after)}

    def take(self, slot: int, workers: int) -> tuple[tuple[Endpoint, ...], list[socket.socket]]:
        """In a worker: the endpoints at this place, with their sockets; all others are closed."""
        mine = self.of(slot, workers)
        sockets = [held.server.socket for held in mine]
        for held in self.all():
            if held not in mine:
                held.server.socket.close()
        return tuple(held.endpoint for held in mine), [socket.socket(fileno=each.detach()) for each in sockets]

    def all(self) -> list[Held]:
        """Every socket."""
        return [held for queues in self._queues for held in queues]

    def close(self, *, unlink: bool = True) -> None:
        """Close them; who waits in a queue is turned away, unless another process has the socket too.

        Args:
            unlink: remove Unix sockets' files, too; not when a successor goes on with them.
        """
        for held in self.all():
            if not unlink:
                vars(held.server)["_portside_file"] = None
        _close(self.all())

    def _numbers(self, slot: int, workers: int) -> list[tuple[int, ...]]:
        return [share(len(queues), workers, slot) for queues in self._queues]


def _claimed(spare: list[Held], endpoint: Endpoint) -> list[Held]:
    found = [held for held in spare if _comparable(held.endpoint) == _comparable(endpoint)]
    for held in found:
        spare.remove(held)
    return found


def _comparable(endpoint: Endpoint) -> Endpoint:
    """Without what only tells the queues of one endpoint apart."""
    return dataclasses.replace(endpoint, reuse_port=False) if endpoint.scheme in _SHARED_OUT else endpoint


def _fill_up(queues: list[Held], endpoint: Endpoint, wanted: int) -> None:
    """Bind what is missing, all at the port of the first."""
    if wanted > 1:
        endpoint = dataclasses.replace(endpoint, reuse_port=True)
    while len(queues) < wanted:
        bound = endpoint
        if queues and not endpoint.port:
            port = Endpoint.from_socket(queues[0].server.socket).port
            bound = dataclasses.replace(endpoint, port=port)
        queues.append(Held(endpoint=endpoint, server=hold(bound)))


def _close(several: list[Held]) -> None:
    for held in several:
        with contextlib.suppress(PermissionError):  # the file stays: its folder was root's, and root this is no longer
            held.server.server_close()
        held.server.socket.close()
