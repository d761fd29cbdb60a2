"""The two roles that a dispatcher leaves to others: where handlers run, and what a request is made of."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from portside.acceptor import Acceptor
from portside.connections import Connection, Connections
from portside.gates import Gate
from portside.lifecycle import Run
from portside.telemetry.notes import Noting
from portside.telemetry.tally import Tally

if TYPE_CHECKING:
    from portside.dispatcher import Dispatcher
    from portside.telemetry.notes import Notes
else:
    try:
        from portside.core.counting import Notes
    except ImportError:
        from portside.telemetry.notes import Notes


class Engine:
    """Where handlers run, as the dispatcher sees it. This one is the serial engine: in the loop's own thread.

    Args:
        server: the server object; engines call its hooks.
        dispatcher: the server's dispatcher.

    Attributes:
        name: what the modern face calls it.
        holds_up_loop: whether the loop waits while a handler runs.
    """

    name: ClassVar[str] = "serial"
    holds_up_loop: bool = True

    def __init__(self, server: Any, dispatcher: "Dispatcher") -> None:
        self.server = server
        self.dispatcher = dispatcher

    def prepare(self) -> None:
        """Before a loop: see to what the engine needs of the server's socket."""

    def loop(self, run: Run, acceptor: Acceptor, timeout: float | None) -> None:
        """Take turns until the run should end, and end it."""
        while not run.stopping:
            self.dispatcher.turn(run, acceptor, timeout)
        latecomers = self.dispatcher.leave(run, acceptor)
        if run.drain is not None:
            self.dispatcher.drain(run.drain, latecomers)

    def has_room(self) -> bool:
        """True when another request may be accepted; one that says no wakes the dispatcher's lifecycle later."""
        return True

    def running(self) -> int:
        """How many handlers run beside the loop, the calling one not counted."""
        return 0

    def at_work(self) -> int:
        """How many handlers run, to the knowledge of whoever looks from outside: for telemetry, not for a drain."""
        return self.running()

    def is_handler(self) -> bool:
        """True when the caller is a handler that runs beside the loop."""
        return False

    def kill(self) -> None:
        """End by force what can be ended by force; waits for nothing."""

    def reap(self) -> None:
        """Wait for what was killed."""

    def extras(self) -> tuple[Any, ...]:
        """Further descriptors that should end a wait of the loop."""
        return ()

    def tend(self) -> None:
        """Called in every turn of the loop, whether or not the program's `service_actions` does what ours does."""

    def post(self, call: Callable[[], object]) -> bool:
        """Have the loop that all handlers share make a call; False, and no call, where they do not share one."""
        return False

    def interval(self) -> float | None:
        """Seconds after which the loop must look again by itself; None when everything wakes it."""
        return None


class Transport:
    """What a request is made of, as the dispatcher sees it. This one knows nothing of it.

    Attributes:
        queues: whether clients wait in a queue that ends with the server's socket.
        batch: how many requests may be taken in a row; 1 where `get_request` may wait when nobody is there.
        tally: counts what happens, where somebody wants to know.
        notes: makes what it takes its notes in.
    """

    queues: ClassVar[bool] = False
    tally: Tally | None = None
    notes: Callable[[], Noting] = Notes

    def __init__(self, server: Any, connections: Connections) -> None:
        self.server = server
        self.connections = connections
        self.batch = 1

    def prepare(self) -> None:
        """Before a loop: make sure that `get_request` does not wait when another loop was faster, and set `batch`."""

    def gates(self) -> tuple[Gate, ...]:
        """What requests pass before their handler."""
        return ()

    def opened(self, request: Any, client_address: Any) -> Connection | None:
        """A request was accepted; returns its record, where there is one."""
        return None

    def closed(self, request: Any) -> None:
        """A request is about to be closed; called any number of times."""

    def stop_listening(self) -> None:
        """Before a drain: let no further client wait."""

    def become_child(self) -> None:
        """In a forked child: let go of what is the parent's."""
