"""Where the green engine's clients come in: three ways to take a turn of the accept loop, and to wait for the next."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from portside.acceptor import Acceptor
from portside.admission import DatagramAdmission
from portside.engines.compiled import core
from portside.lifecycle import Run
from portside.ownership import is_ours
from portside.telemetry import DatagramTruncated, emit

if TYPE_CHECKING:
    from portside.engines.green import GreenEngine


# Handlers that are ready for each client that is let in: then both get about half of the time. With a fixed number,
# two thousand clients that come at once, and ask again and again, wait a hundred turns of each other.
CROWD_FOR_EACH = 4


class Door:
    """Works for any listener: the acceptor's own descriptor says when there is something to see to.

    Args:
        engine: the engine.
        run: the run of `serve_forever`.
        acceptor: knows whether accepting is paused.
    """

    def __init__(self, engine: "GreenEngine", run: Run, acceptor: Acceptor) -> None:
        self._engine = engine
        self._run = run
        self._acceptor = acceptor
        self._watch = core().hub.Watch(self._watched())

    def _watched(self) -> int:
        return self._acceptor.fileno()

    def turn(self) -> None:
        """Take one turn of the accept loop, without waiting."""
        self._engine.dispatcher.turn(self._run, self._acceptor, 0)

    def wait(self, seconds: float | None) -> None:
        """Until there is something to see to, at most some seconds."""
        self._watch.wait_readable(seconds)

    def release(self) -> None:
        """The loop is over."""
        self._watch.release()


class GreenDoor(Door):
    """The same for a socket of ours, which is asked for clients without the detour over a selector."""

    def __init__(self, engine: "GreenEngine", run: Run, acceptor: Acceptor) -> None:
        super().__init__(engine, run, acceptor)
        self._crowded = False
        self._dispatch: Callable[[Any, Any], None] | None = None  # the dispatcher's
        self._watch.attend()

    def _watched(self) -> int:
        return self._run.waker.fileno()

    def turn(self) -> None:
        """Accept who is there, a batch at most, and see to wishes."""
        if not self._watch.attended:
            self._run.look()
            self._watch.attend()
        hesitate = self._engine.dispatcher.hesitate
        if hesitate is not None and (pause := hesitate()):
            core().hub.sleep(pause)
        self._crowded = not self._run.stopping and self._let_in()
        if self._engine.dispatcher.admission is not None:
            self._engine.dispatcher.admission.look()
        self._engine.server.service_actions()

    def _let_in(self) -> bool:
        """Accept at most a batch; True when there may be more."""
        dispatcher, listener = self._engine.dispatcher, self._listener
        for _ in range(self._batch()):
            if not (self._is_open() and listener.knock()):
                return False
            dispatcher.accept_one(self._run, self._acceptor, self._dispatch)
        return True

    def _batch(self) -> int:
        """How many may come in before the handlers have a turn; more where many handlers have one."""
        batch = self._engine.dispatcher.transport.batch
        return batch if batch == 1 else max(batch, core().hub.running_hub().crowd // CROWD_FOR_EACH)

    def _is_open(self) -> bool:
        return not self._run.stopping and not self._acceptor.paused and self._engine.dispatcher.has_room()

    @property
    def _listener(self) -> Any:
        return self._engine.server.socket

    def wait(self, seconds: float | None) -> None:
        """Until there is something to see to, at most some seconds; a crowd at the door only waits for the others."""
        listener = self._listener
        if self._crowded:
            core().hub.give_way()
        elif self._is_open() and listener.fileno() >= 0:
            listener.await_knock(seconds)
        elif self._watch.attended:
            core().hub.nap(seconds)


class StreamDoor(GreenDoor):
    """The same for connections whose way to the handler is ours: each gets its task without a call in between."""

    def __init__(self, engine: "GreenEngine", run: Run, acceptor: Acceptor) -> None:
        super().__init__(engine, run, acceptor)
        self._hub = core().hub.running_hub()
        self._dispatch = self._start

    def _start(self, request: Any, client_address: Any) -> None:
        try:
            self._engine.start_usual(self._hub, request, client_address)
        except Exception as error:
            self._engine.dispatcher.failed(request, client_address, error)
            self._engine.server.shutdown_request(request)


class DatagramDoor(GreenDoor):
    """The same for datagrams whose way to the handler is ours: one task handles many of them, one after the other.

    When a handler waits for something, its task stays with that datagram and the next task takes over from there.
    """

    def _let_in(self) -> bool:
        if self._is_open() and self._listener.knock():
            self._engine.spawn(self._handle_round)
            return True
        return False

    def _handle_round(self) -> None:
        server: Any = self._engine.server
        sock = server.socket
        arrivals = sock.each_arrival(server.max_packet_size, self._tell_cut)
        admission = self._engine.dispatcher.admission
        if isinstance(admission, DatagramAdmission):
            arrivals = admission.sifted(arrivals, sock)
        for data, client_address in arrivals:
            try:
                server.finish_request((data, sock), client_address)
            except (Exception, SystemExit) as error:
                self._engine.dispatcher.failed((data, sock), client_address, error)

    def _tell_cut(self, client_address: Any) -> None:
        server: Any = self._engine.server
        emit(DatagramTruncated(server=server, client_address=client_address, limit=server.max_packet_size))


# The hooks between a connection and its handler, which must be ours for a StreamDoor, and those for a DatagramDoor.
_TO_THE_HANDLER = ("verify_request", "process_request", "process_request_task")
_ON_THE_WAY = (*_TO_THE_HANDLER, "get_request", "shutdown_request")


def door_of(engine: "GreenEngine", run: Run, acceptor: Acceptor) -> Door:
    """The fastest door that fits the server."""
    server: Any = engine.server
    if type(server.socket) is not core().sockets.GreenSocket or server.socket.gettimeout() is not None:
        return Door(engine, run, acceptor)
    usual, short = (DatagramDoor, _ON_THE_WAY) if server.socket.is_datagram else (StreamDoor, _TO_THE_HANDLER)
    door: type[Door] = usual if all(is_ours(getattr(server, hook)) for hook in short) else GreenDoor
    return door(engine, run, acceptor)
