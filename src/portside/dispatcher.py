"""The machine behind a server: its loop, its records, its end.

A server object is its hooks, which programs override and extend with names of their own; everything else is in here,
behind one attribute (`server._portside`), where no subclass can collide with it. The dispatcher calls the hooks in the
order that the standard library's `socketserver` laid down; where handlers run is the engine's business, and what a
request is made of the transport's: both are in `portside.roles`.
"""

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from portside.acceptor import Acceptor
from portside.addresses import address_text
from portside.admission import admission_for
from portside.drain import GRACE, QUIET, TICK, Drain
from portside.finishing import Finisher
from portside.latecomers import Latecomers
from portside.lifecycle import Lifecycle, Run, awaitable
from portside.ownership import is_ours
from portside.roles import Engine, Transport
from portside.shortage import Shortage
from portside.telemetry import (
    AcceptResumed,
    ConnectionClosed,
    ConnectionRefused,
    DrainFinished,
    DrainStarted,
    RefusalReason,
    ServerStarted,
    ServerStopped,
    emit,
)

# Clients accepted in a row before the loop looks at anything else (a stop, ended children, service_actions): enough to
# spread the cost of a wait over a burst, few enough that the batch stays below a millisecond.
ACCEPT_BATCH = 16

# Seconds that a drain lasts where nobody says otherwise: gunicorn's graceful_timeout and Kubernetes'
# terminationGracePeriodSeconds.
DRAIN_SECONDS = 30.0


class Dispatcher(Finisher):
    """Accepts requests for one server and, as a finisher, sees each to its end.

    Args:
        server: the server object, whose hooks are called.
        engine: makes the engine.
        transport: makes the transport.
    """

    def __init__(self, server: Any, engine: type[Engine], transport: type[Transport]) -> None:
        super().__init__(server)
        self._drains: weakref.WeakSet[Drain] = weakref.WeakSet()
        self._parked: list[tuple[Run, Acceptor]] = []
        self.accepting = True  # False while somebody has asked for a pause
        self._forced = False  # since the runs were asked to stop: a drain that is about to begin must know
        self.hesitate: Callable[[], float] | None = None  # seconds to leave a client to other processes
        self.shares_listener = False  # with others who go on: those at the door when a drain begins are for them
        self.quiet = QUIET  # seconds of a client's silence that a drain takes for idleness
        self.lifecycle = Lifecycle()
        self.engine = engine(server, self)
        self.transport = transport(server, self.connections)
        self._shortage = Shortage(server, self.transport)

    # -- the loop --

    def serve(self, poll_interval: float) -> None:
        """One run, from the first turn to the end of its drain."""
        self.gates = self.transport.gates()
        run = self.lifecycle.begin()
        self._forced = self.connections.ending = False
        try:
            emit(ServerStarted(server=self._server, address=self._server.server_address))
            if run.stopping and (run.drain is None or self._server.fileno() < 0):  # it was asked before it began
                self.leave(run)
            else:
                self._loop(run, self._timeout(poll_interval))
        finally:
            self.lifecycle.end(run)
            emit(ServerStopped(server=self._server, address=self._server.server_address))

    def _loop(self, run: Run, timeout: float | None) -> None:
        if self._server.fileno() < 0:
            raise ValueError(f"the server at {address_text(self._server.server_address)} is closed: make a new one")
        self.engine.prepare()
        self.transport.prepare()
        acceptor = Acceptor(self._server, run, self.engine.extras())
        with acceptor, self._open_door(), run.waker.rung_by_signals():
            self.engine.loop(run, acceptor, timeout)

    def leave(self, run: Run, acceptor: Acceptor | None = None) -> Latecomers:
        """The loop is over. Where a drain follows, whoever is at the door is let in, and new clients are refused.

        Returns:
            Those who were let in: they are to be handled.
        """
        latecomers = Latecomers(self._server, self.engine.has_room, self._receive, self._dismiss)
        if run.drain is not None:
            self.connections.ending = True
            if acceptor is not None and self.transport.queues and not self.shares_listener:
                latecomers.take_in(acceptor, run.drain)
            self.transport.stop_listening()
        run.leave()
        return latecomers

    def turn(self, run: Run, acceptor: Acceptor, timeout: float | None) -> None:
        """Sleep until something happens, and see to it."""
        at_the_door = acceptor.wait(self.sooner(timeout), accepting=self.has_room())
        if run.stopping:
            return
        if at_the_door:
            if self.hesitate is not None and (pause := self.hesitate()):
                time.sleep(pause)
            self._accept_batch(run, acceptor)
        self.engine.tend()
        if self.admission is not None:
            self.admission.look()
        self._server.service_actions()

    def handle_one(self, timeout: float | None) -> None:
        """Accept and dispatch one request, or call `handle_timeout` after `timeout` seconds without any."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._single_run() as (run, acceptor):
            while not run.stopping:
                remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
                if acceptor.wait(self.sooner(remaining), accepting=self.has_room()):
                    self.accept_one(run, acceptor)
                    return
                if deadline is not None and time.monotonic() >= deadline:
                    self._server.handle_timeout()
                    return

    def handle_one_noblock(self) -> None:
        """Accept and dispatch one request that is there."""
        with self._single_run() as (run, acceptor):
            self.accept_one(run, acceptor)

    @contextlib.contextmanager
    def _single_run(self) -> Iterator[tuple[Run, Acceptor]]:
        """A run for one request. It is kept for the next: a program may handle all of its requests one by one."""
        self.gates = self.gates or self.transport.gates()
        run, acceptor = self._unpark() or self._new_single()
        self.lifecycle.resume(run)
        self._look_at_policies()
        try:
            yield run, acceptor
        finally:
            if self.lifecycle.park(run):
                self._parked.append((run, acceptor))
            else:
                acceptor.close()

    def _new_single(self) -> tuple[Run, Acceptor]:
        run = Run()
        return run, Acceptor(self._server, run, self.engine.extras())

    def _unpark(self) -> tuple[Run, Acceptor] | None:
        while self._parked:
            run, acceptor = self._parked.pop()
            if run.process == os.getpid():
                return run, acceptor
            _close(run, acceptor)  # the parent's, which it goes on using
        return None

    def close(self) -> None:
        """Give back what is kept between single requests."""
        while self._parked:
            _close(*self._parked.pop())

    def _timeout(self, poll_interval: float) -> float | None:
        """How long the loop may sleep: without end, unless the program wants its `service_actions` called."""
        return None if is_ours(self._server.service_actions) else poll_interval

    def sooner(self, timeout: float | None) -> float | None:
        """Seconds that a loop may sleep, at most `timeout`; None where only an event wakes it."""
        for each in (self.engine.interval(), None if self.admission is None else self.admission.remaining()):
            if each is not None and (timeout is None or each < timeout):
                timeout = each
        return timeout

    # -- accepting --

    def has_room(self) -> bool:
        """True when another request may be accepted."""
        return self.accepting and self.engine.has_room()

    def accept(self, wanted: bool) -> None:
        """Accept nobody until further notice, or again; clients wait in the system's queue, handlers go on."""
        self.accepting = wanted
        self.lifecycle.wake()

    def _look_at_policies(self) -> None:
        """What the server's `limits` and `access` ask for: a program may have set them after the constructor."""
        self.admission = admission_for(self._server, self.transport.opened, self.connections, self.admission)

    @contextlib.contextmanager
    def _open_door(self) -> Iterator[None]:
        """Within the block, whoever comes is looked at as the policies ask for."""
        self._look_at_policies()
        if self.admission is None:
            yield
            return
        beside = self.admission.keeper.beside() if self.engine.holds_up_loop else contextlib.nullcontext()
        with contextlib.closing(self.admission), beside:
            yield

    def _accept_batch(self, run: Run, acceptor: Acceptor) -> None:
        for _ in range(self.transport.batch):
            if not self.accept_one(run, acceptor) or run.stopping or not self.has_room():
                return

    def accept_one(self, run: Run, acceptor: Acceptor, dispatch: Callable[[Any, Any], None] | None = None) -> bool:
        """Accept and dispatch one request; False when there is no point in trying another now."""
        try:
            request, client_address = self._server.get_request()
        except OSError as error:
            return self._shortage.met(run, acceptor, error)
        if acceptor.failing:
            acceptor.succeeded()
            emit(AcceptResumed(server=self._server))
        self._receive(request, client_address, dispatch)
        return True

    def _receive(self, request: Any, client_address: Any, dispatch: Callable[[Any, Any], None] | None = None) -> None:
        """Dispatch a request that was accepted, if it may come in."""
        if self.admission is None:
            self.transport.opened(request, client_address)
        elif not self.admission.let_in(request, client_address):
            return
        (dispatch or self._dispatch)(request, client_address)

    def _dismiss(self, request: Any, client_address: Any) -> None:
        """A request was accepted, and there is no time for it."""
        record = self.transport.opened(request, client_address)
        if record is not None:
            record.cut()
        self._server.shutdown_request(request)

    def _dispatch(self, request: Any, client_address: Any) -> None:
        server = self._server
        try:
            if self.gates or server.verify_request(request, client_address):  # behind the gates it is called there
                server.process_request(request, client_address)
                return
        except Exception as error:
            self.failed(request, client_address, error)
        except BaseException as error:
            self._let_go(request, error)
            raise
        else:
            emit(ConnectionRefused(server=server, client_address=client_address, reason=RefusalReason.VERIFY_REQUEST))
        server.shutdown_request(request)

    def _let_go(self, request: Any, error: BaseException) -> None:
        """The loop is interrupted (Ctrl-C) in the middle of a dispatch: a handler may have the request already."""
        self._blame(request, error)
        record = self.connections.get(request)
        if record is not None:
            record.cut()
        self._server.shutdown_request(request)

    def become_child(self) -> None:
        """In a forked child: keep what concerns its one request, and let go of what is the parent's."""
        self.lifecycle.after_fork()
        self.transport.become_child()
        for drain in list(self._drains):
            drain.let_go()
        ConnectionClosed.subscribers = ConnectionRefused.subscribers = ()  # the parent tells, once the child has ended

    def handlers(self) -> int:
        """How many handlers run, now."""
        return self._inline + self.engine.at_work()

    # -- the end --

    def stop(self, drain: float | None, *, seconds: float, own: bool = False) -> None:
        """Ask every loop to end and wait for it, at most `seconds` and a little longer than the grace of a drain.

        Args:
            drain: seconds for handlers, which are then waited for too; None leaves them alone.
            seconds: how long to wait.
            own: leave the loops of the process that forked this one alone.
        """
        runs = awaitable(self.lifecycle.stop(drain, own=own))
        self._await(runs, drained=drain is not None and not self.engine.is_handler(), seconds=seconds)

    def await_drained(self, seconds: float) -> None:
        """Wait until every loop has ended, its drain included."""
        self._await(awaitable(self.lifecycle.running()), drained=True, seconds=seconds)

    @property
    def owns_loop(self) -> bool:
        """False for a server whose loop is the standard library's: it accepts whether there is room or not."""
        return hasattr(self._server, "_portside_transport")

    @property
    def patience(self) -> float:
        """Seconds that handlers get where nobody says otherwise: the server's `drain_timeout`."""
        return float(getattr(self._server, "drain_timeout", DRAIN_SECONDS))

    def drain(self, seconds: float, latecomers: Latecomers | None = None) -> None:
        """Let the handlers that run beside the loop finish; cut what is left after `seconds`.

        Args:
            seconds: the time in all.
            latecomers: clients that are to get handlers yet.
        """
        running = self.engine.running() + len(latecomers or ())
        if not running:
            return
        emit(DrainStarted(server=self._server, running=running, seconds=seconds))
        if latecomers and self.engine.holds_up_loop:
            drain = self._drain_inline(seconds, latecomers)
        else:
            drain = self.new_drain(self.engine.running, seconds, latecomers)
            drain.run()
        self.engine.kill()
        self.engine.reap()
        emit(DrainFinished(server=self._server, cut=drain.cut, abandoned=self.engine.running()))

    def _drain_inline(self, seconds: float, latecomers: Latecomers) -> Drain:
        """The same where handlers run in this thread, one after the other: another thread looks after each."""
        over = threading.Event()
        drain = self.new_drain(lambda: not over.is_set(), seconds)
        looking = threading.Thread(target=drain.run, name="portside-drain", daemon=True)
        looking.start()
        try:
            while latecomers and not drain.is_over:
                latecomers.seat_one()
        finally:
            over.set()
            looking.join()
            drain.cut += latecomers.turn_away()
        return drain

    def new_drain(self, running: Callable[[], int], seconds: float, latecomers: Latecomers | None = None) -> Drain:
        """A drain of this server's connections, which `force` can cut short."""
        drain = Drain(self.connections, running, seconds, self.quiet, latecomers)
        self._drains.add(drain)
        if self._forced:
            drain.hurry()
        return drain

    def force(self) -> None:
        """Cut every connection, kill what can be killed, and let no drain wait any longer; waits for nothing."""
        self._forced = any(run.stopping for run in self.lifecycle.running())
        for drain in list(self._drains):
            drain.hurry()
        for connection in self.connections.all():
            connection.cut()
        self.engine.kill()

    def _await(self, runs: list[Run], *, drained: bool, seconds: float) -> None:
        if all(run.wait(TICK, drained=drained) for run in runs):
            return
        deadline = time.monotonic() + seconds + 2 * GRACE  # a drain takes one, and has its end to tell
        if self._inline:  # a loop is held up by a handler of its own: drain it from here
            self.new_drain(lambda: sum(not run.wait(0, drained=False) for run in runs), seconds).run()
        for run in runs:
            run.wait(max(0.0, deadline - time.monotonic()), drained=drained)


def _close(run: Run, acceptor: Acceptor) -> None:
    acceptor.close()
    run.end()


def machine(server: Any) -> Dispatcher:
    """The dispatcher of a server.

    It is made here for a server whose base is not ours: a mix-in of ours before the standard library's `HTTPServer`
    bounds and reuses its threads, although the loop is that library's.
    """
    found: Dispatcher | None = vars(server).get("_portside")
    if found is None:
        found = server._portside = Dispatcher(server, server._portside_engine, Transport)
    return found
