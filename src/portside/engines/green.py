"""The green engine: a handler runs in a greenlet on the compiled hub, and waits for its client there.

`serve_forever` runs the hub. Accepting is one of its tasks, so a hook that waits (a `get_request` which shakes hands)
holds up no handler. Handlers live in that thread, as the async engine's do, and end with it.
"""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from portside.acceptor import Acceptor
from portside.dispatcher import Dispatcher, machine
from portside.engines.compiled import core
from portside.engines.doors import door_of
from portside.latecomers import Latecomers
from portside.lifecycle import Run
from portside.roles import Engine
from portside.telemetry import DatagramUnsent, DrainFinished, DrainStarted, emit

if TYPE_CHECKING:
    from portside.core.hub import Hub, Task
    from portside.servers import TCPServer as _Server
else:
    _Server = object


class GreenEngine(Engine):
    """The tasks of one server."""

    name = "green"
    holds_up_loop = False

    def __init__(self, server: Any, dispatcher: Dispatcher) -> None:
        core()  # where it is missing, say so before anything is opened
        super().__init__(server, dispatcher)
        self._tasks: set[Task] = set()
        self._hub: Hub | None = None  # while it serves
        self._is_full = False  # since somebody asked for room, and nobody has finished

    def start(self, request: Any, client_address: Any) -> None:
        """Handle a request in a task of the running hub, or without one to its end in a hub of its own."""
        hub = core().hub.running_hub()
        if hub is None:
            core().hub.run(self.server.process_request_task, request, client_address)
        else:  # a plain function, called with positions only, takes the least of the stack
            self._tasks.add(hub.spawn(GreenEngine._handle, self, request, client_address))

    def start_usual(self, hub: "Hub", request: Any, client_address: Any) -> None:
        """The same where `process_request_task` is ours, too: without a call of it."""
        self._tasks.add(hub.spawn(GreenEngine._handle_usual, self, request, client_address))

    def spawn(self, work: Callable[[], None]) -> None:
        """Run `work()` in a task that counts as a handler."""
        self._tasks.add(core().hub.running_hub().spawn(GreenEngine._do, self, work))

    def prepare(self) -> None:
        """Before a loop: a listener that a program has put in the place of ours must not block the hub either."""
        self.server.socket = listener = self.server._portside_own_socket(self.server.socket)
        if isinstance(listener, core().sockets.GreenSocket):
            listener.accepts_at_once = listener.gettimeout() is None
            listener.tell_unsent(self._unsent)

    def _unsent(self, client_address: Any, error: OSError) -> None:
        if not isinstance(error, (ConnectionRefusedError, FileNotFoundError)):  # a Unix client that is gone
            emit(DatagramUnsent(server=self.server, client_address=client_address, error=error))

    def loop(self, run: Run, acceptor: Acceptor, timeout: float | None) -> None:
        """The accept loop, in a task of this thread's hub, which is run for its sake where it does not run yet."""
        if core().hub.running_hub() is None:
            core().hub.run(self._serve_watched, run, acceptor, timeout)
        else:
            self._serve_watched(run, acceptor, timeout)

    def has_room(self) -> bool:
        """True while there are fewer tasks than `max_greenlets`."""
        most = int(self.server.max_greenlets)
        if len(self._tasks) < most:
            return True
        self._is_full = True
        return len(self._tasks) < most  # another loop's handler may have ended, and not have seen that

    def is_handler(self) -> bool:
        """True in a task of this server's."""
        return core().hub.current_task() in self._tasks

    def at_work(self) -> int:
        """Tasks."""
        return len(self._tasks)

    def post(self, call: Callable[[], object]) -> bool:
        """Have the hub make a call."""
        hub = self._hub
        if hub is not None:
            hub.call_from_thread(call)
        return hub is not None

    def _handle(self, request: Any, client_address: Any) -> None:
        try:
            self.server.process_request_task(request, client_address)
        finally:
            self._finished()

    def _handle_usual(self, request: Any, client_address: Any) -> None:
        try:
            self.dispatcher.conclude(request, client_address)
        except SystemExit as error:
            self.dispatcher.failed(request, client_address, error)
        finally:
            self._finished()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            self._finished()

    def _finished(self) -> None:
        self._tasks.discard(core().hub.current_task())
        if self._is_full:
            self._is_full = False
            self.dispatcher.lifecycle.wake()

    def _serve_watched(self, run: Run, acceptor: Acceptor, timeout: float | None) -> None:
        self._hub = hub = core().hub.running_hub()
        try:
            with core().watchdog.watched(hub, self.server, self.server.hub_patience):
                self._serve(run, acceptor, timeout)
        finally:
            self._hub = None

    def _serve(self, run: Run, acceptor: Acceptor, timeout: float | None) -> None:
        door = door_of(self, run, acceptor)
        try:
            while not run.stopping:
                door.turn()
                if not run.stopping:
                    door.wait(self.dispatcher.sooner(_earlier(timeout, acceptor.remaining())))
        finally:
            door.release()
        latecomers = self.dispatcher.leave(run, acceptor)
        self._end_tasks(self.server.drain_timeout if run.drain is None else run.drain, latecomers)

    def _end_tasks(self, seconds: float, latecomers: Latecomers) -> None:
        """A drain in the handlers' own thread, which ends after it."""
        running = len(self._tasks) + len(latecomers)
        if running:
            emit(DrainStarted(server=self.server, running=running, seconds=seconds))
            drain = self.dispatcher.new_drain(lambda: len(self._tasks), seconds, latecomers)
            drain.run(core().hub.sleep)
            emit(DrainFinished(server=self.server, cut=drain.cut, abandoned=len(self._tasks)))
        for task in self._tasks:
            task.kill()


def _earlier(*limits: float | None) -> float | None:
    return min((each for each in limits if each is not None), default=None)


class GreenMixIn(_Server):
    """Mix-in: each request is handled in a greenlet, in the thread that runs `serve_forever`.

    A handler that waits for its client, or for anything else through Portside, gives the others a turn; one that blocks
    the thread (`time.sleep`, a database) holds up everybody, and is reported: `portside.offload` runs such a call in a
    thread, `ThreadingMixIn` the whole handler.

    When the accept loop has ended, `serve_forever` goes on until the handlers have: they live in its thread. It waits
    for them as a drain does, `drain_timeout` seconds where `shutdown()` names no other time.

    Attributes:
        max_greenlets: handlers that run at once; further clients wait in the system's queue. 10,000 is what the project
            promises.
        hub_patience: seconds that a handler may keep the thread before it is reported (`HubBlocked`, a warning in the
            log); None reports nothing. 0.25 is what a person notices.

    Raises:
        RuntimeError: the compiled core is missing.
    """

    max_greenlets: int = 10_000
    hub_patience: float | None = 0.25
    _portside_engine: ClassVar[type[Engine]] = GreenEngine

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if hasattr(cls, "serve_forever") and not hasattr(cls, "_portside_transport"):
            raise TypeError(
                f"{cls.__name__}: GreenMixIn needs a server whose loop is Portside's, such as portside.socketserver."
                "TCPServer; the standard library's runs with ThreadingMixIn"
            )

    def _portside_own_socket(self, plain: socket.socket) -> socket.socket:
        green: socket.socket = core().network.adopted(plain)
        return green

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle the request in a task of the running hub, or without one to its end in a hub of its own."""
        engine = machine(self).engine
        assert isinstance(engine, GreenEngine)
        engine.start(request, client_address)

    def process_request_task(self, request: Any, client_address: Any) -> None:
        """What a handler's task does: finish the request, report what it raises, close it."""
        try:
            machine(self).conclude(request, client_address)
        except SystemExit as error:
            machine(self).failed(request, client_address, error)

    def server_close(self) -> None:
        """Close the listener, and wait until `serve_forever` has ended its handlers."""
        super().server_close()
        machine(self).await_drained(self.drain_timeout)
