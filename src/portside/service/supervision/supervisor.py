"""The supervisor: holds the listeners, forks workers, keeps up their number, and ends them.

It serves nobody itself, runs in one thread (forking is safe then), and sleeps until something happens: a signal, a
message, a deadline. What it decides stands in `roster`, which knows no processes; this file does what that says.
"""

import functools
import selectors
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from portside.endpoints import Endpoint
from portside.service.control import controlled
from portside.service.description import Service
from portside.service.encryption import reload_certificates
from portside.service.supervision.adminkeeper import AdminKeeper
from portside.service.supervision.asking import ANSWER_SECONDS, Reply
from portside.service.supervision.channel import Message
from portside.service.supervision.crew import Crew, Worker, ending
from portside.service.supervision.desk import Desk
from portside.service.supervision.errands import Errand, Errands
from portside.service.supervision.evenness import Evenness
from portside.service.supervision.handover import HandOver, Predecessor
from portside.service.supervision.listeners import Listeners
from portside.service.supervision.roster import Action, Kill, Retire, Roster, Start
from portside.service.supervision.worker import CannotStart, Controlled, Job, no_control
from portside.service.systemd import Notifier
from portside.service.workers import Workers
from portside.telemetry import (
    ProcessRole,
    ReloadFailed,
    ReloadFinished,
    ReloadStarted,
    WorkerExited,
    WorkerFailed,
    WorkerReady,
    WorkerRestarted,
    WorkerStarted,
    WorkerWorn,
    emit,
)

# Makes a service anew, of its description as it is now; raises what is wrong with that.
Renew = Callable[[Service], Service]

# How long a new version of the program may take, in terms of what one worker may: it has to start itself, too.
_START_TIMES = 2


class Supervisor:
    """A service whose workers are processes.

    Args:
        service: what is served.
        control: in a worker, makes what answers commands, of its servers; None is what the admin endpoint needs, where
            there is one.
        ready: called here, once, when every endpoint accepts in every worker.
        renew: called at a reload: new workers serve what it returns. When it raises, all stays as it is.

    Attributes:
        endpoints: what was bound, port 0 replaced by the port that the system chose.
        admin: the admin endpoint, likewise; None where there is none.

    Raises:
        OSError: an endpoint cannot be bound; the message says what to do about it.
        PermissionError: the process cannot become the user that the service names.

    Resource handling: the listeners, from construction to the end of `run()`. This process has the rights of the
    service's user from construction on.
    """

    def __init__(
        self,
        service: Service,
        *,
        control: Controlled | None = None,
        ready: Callable[["Supervisor"], object] = lambda _: None,
        renew: Renew | None = None,
    ) -> None:
        wanted = Workers.of(service.workers) or Workers(count=1)
        self._service = self._before_reload = service
        self._renew = renew
        self._limits = wanted
        self._control: Controlled = control or (no_control if service.admin is None else controlled)
        self._on_ready = ready
        self._predecessor = Predecessor()
        self._listeners = Listeners(
            service.endpoints, balance=wanted.balance, workers=wanted.count, inherited=self._predecessor.listeners
        )
        self.endpoints: tuple[Endpoint, ...] = self._listeners.endpoints
        self._open_admin()
        self._give_up_rights()
        self._errands = Errands()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._errands, selectors.EVENT_READ, self._errands.run)
        self._roster = Roster(count=wanted.count, start_timeout=wanted.start_timeout, drain=service.drain)
        self._crew = Crew(self._selector, self._take_in)
        self._hand_over = HandOver(self._selector, self, self._retire)
        self._evenness = Evenness()
        self._desk = Desk(self._roster, self._crew, self._drain)
        self._notifier = Notifier()
        self._next_watchdog: float | None = None
        self._thread: int | None = None
        self._was_ready = self._stopping = False

    def _open_admin(self) -> None:
        try:
            self._admin = AdminKeeper(self._service.admin, self._predecessor.admin, self)
        except BaseException:
            self._listeners.close()
            raise
        self.admin: Endpoint | None = self._admin.endpoint

    def _give_up_rights(self) -> None:
        try:
            if self._service.identity is not None:
                self._service.identity.assume()
        except BaseException:
            self._listeners.close()
            self._admin.close()
            raise

    # What others may ask for

    @property
    def is_ready(self) -> bool:
        """True while every endpoint accepts in every worker."""
        return self._roster.complete

    def describe(self) -> list[dict[str, Any]]:
        """The workers: `pid`, `slot`, `phase` ("starting", "ready", "leaving") and `seconds` in it."""
        return self._roster.described(time.monotonic())

    def ask(self, command: Mapping[str, Any], timeout: float = ANSWER_SECONDS) -> list[Reply]:
        """Have a command carried out by all workers; from any thread but the supervisor's own.

        Args:
            command: a JSON object, which the workers' `control` understands; "drain" ends the service.
            timeout: seconds that they have.

        Returns:
            One reply a process, with its `pid`; `error` is in that of one that has not answered. To some commands the
            supervisor has something to say, too.

        Raises:
            RuntimeError: the supervisor's own thread asks, which would have to wait for itself.
            TimeoutError: the service has ended meanwhile.
        """
        if threading.get_ident() == self._thread:
            raise RuntimeError("ask() waits for the supervisor: call it from another thread")
        future: Future[list[Reply]] = Future()
        self._errands.add(functools.partial(self._desk.take, dict(command), timeout, future.set_result))
        return future.result(timeout + 1)

    # The loop

    def run(self) -> None:
        """Serve until a signal ends the service, or its program has been handed over.

        Raises:
            CannotStart: a worker could not start.
            RuntimeError: the caller is not the main thread, which gets the signals.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("workers need the main thread, where signals arrive: call serve() there")
        self._thread = threading.get_ident()
        try:
            with self._errands.of_signals(self._signals()):
                if not self._predecessor.is_there:  # whose admin endpoint answers until it has retired
                    self._begin_admin()
                while not self._roster.finished:
                    self._take_turn()
        finally:
            self._close()
        if self._roster.failure is not None:
            raise CannotStart(self._roster.failure)

    def _take_turn(self) -> None:
        """Do what is due, sleep until something happens, and take it in."""
        now = time.monotonic()
        for action in self._roster.plan(now):
            self._do(action)
        if self._roster.stopping and not self._stopping:
            self._begin_to_stop()
        self._desk.questions.expire(now)
        self._admin.mind(now)
        self._mind_the_watchdog(now)
        self._tell_of_reload(now)
        for key, _ in self._selector.select(self._seconds_to_sleep()):
            key.data()
        for worker, code in self._crew.collect():
            self._bury(worker, code)
        self._hand_over.look(time.monotonic())

    def _seconds_to_sleep(self) -> float | None:
        if self._roster.finished:
            return 0.0
        now = time.monotonic()
        ours = self._next_watchdog, self._hand_over.deadline, self._admin.next_due
        dues = (self._roster.next_due(now), self._desk.questions.next_due(), *ours)
        soonest = min((each for each in dues if each is not None), default=None)
        return None if soonest is None else max(0.0, soonest - now)

    # Workers

    def _do(self, action: Action) -> None:
        match action:
            case Start(slot):
                self._start(slot)
            case Retire(pid):  # one that has a successor may take its time
                self._evenness.rise(self._crew.seat(pid))
                stopping = self._roster.stopping
                last = stopping and not self._hand_over.done
                self._crew.tell(pid, stop=self._roster.drain, patient=not stopping, last=last)
            case Kill(pid):
                self._crew.signal(pid, signal.SIGKILL)

    def _start(self, slot: int) -> None:
        seat = self._evenness.sit() if self._limits.balance == "shared" else None
        try:
            worker = self._crew.start(slot, functools.partial(self._job, slot, seat), seat)
        except OSError as error:  # no room for another process: as if it had died
            self._evenness.rise(seat)
            pause = self._roster.not_forked(slot, time.monotonic(), str(error))
            emit(WorkerFailed(server=self, pid=0, slot=slot, reason=str(error)))
            self._tell_of_pause(slot, pause)
            return
        self._roster.started(worker.pid, slot, time.monotonic())
        emit(WorkerStarted(server=self, pid=worker.pid, slot=slot))

    def _job(self, slot: int, seat: int | None) -> Job:
        """In the worker: let go of what is the supervisor's, and say what there is to do."""
        self._hand_over.become_worker()
        self._predecessor.close()
        self._errands.close()
        self._admin.become_worker()
        endpoints, listeners = self._listeners.take(slot, self._roster.count)
        return Job(
            service=self._service,
            limits=self._limits,
            endpoints=endpoints,
            listeners=listeners,
            control=self._control,
            orders=self._desk.standing.for_new(),
            hesitation=None if seat is None else functools.partial(self._evenness.hesitation, seat),
        )

    def _take_in(self, worker: Worker, message: Message) -> None:
        match message:
            case {"ready": True}:
                self._desk.greet(worker.pid, self._roster.members[worker.pid].since)
                seconds = self._roster.ready(worker.pid, time.monotonic())
                emit(WorkerReady(server=self, pid=worker.pid, slot=worker.slot, seconds=seconds))
                self._tell_of_readiness()
            case {"failed": str(reason)}:
                worker.reason = reason
            case {"leaving": True}:
                self._evenness.rise(worker.seat)
                self._roster.leaving(worker.pid, time.monotonic())
            case {"worn": str(reason)}:
                self._roster.worn(worker.pid)
                emit(WorkerWorn(server=self, pid=worker.pid, slot=worker.slot, reason=reason))
            case {"answer": number, "reply": dict(reply)}:
                self._desk.questions.answered(number, worker.pid, reply)
            case {"last": dict(reply)}:
                self._desk.note(worker.pid, reply)

    def _bury(self, worker: Worker, code: int) -> None:
        last = self._desk.bury(worker.pid)
        if last is not None:
            self._admin.tell(retired=last[0], metrics=last[1])
        self._evenness.rise(worker.seat)
        reason = worker.reason or ending(code)
        failed = self._roster.is_starting(worker.pid) and not self._stopping
        pause = self._roster.exited(worker.pid, time.monotonic(), reason)
        if failed:
            emit(WorkerFailed(server=self, pid=worker.pid, slot=worker.slot, reason=reason))
        elif code:
            emit(WorkerExited(server=self, pid=worker.pid, exit_code=code, role=ProcessRole.WORKER))
        self._tell_of_pause(worker.slot, pause)

    def _tell_of_pause(self, slot: int, pause: float | None) -> None:
        if pause is not None:
            self._desk.restarts += 1
            emit(WorkerRestarted(server=self, slot=slot, seconds=pause))

    # The admin endpoint, and the watchdog

    def _begin_admin(self) -> None:
        self._admin.begin(self._selector, self._hear_admin, self._become_admin, self._desk.ledger)

    def _hear_admin(self, message: Message) -> None:
        match message:
            case {"ask": number, "command": dict(command)}:
                self._desk.take(command, ANSWER_SECONDS, functools.partial(self._answer_admin, number))

    def _answer_admin(self, number: object, replies: list[Reply]) -> None:
        self._admin.tell(answer=number, replies=replies)

    def _become_admin(self) -> None:
        """In the admin endpoint's process: let go of what is the supervisor's."""
        self._hand_over.become_worker()
        self._predecessor.close()
        self._errands.close()
        self._crew.leave()
        for held in self._listeners.all():
            held.server.socket.close()

    def _mind_the_watchdog(self, now: float) -> None:
        """Systemd hears from us while every worker answers, twice as often as it wants to (sd_watchdog_enabled(3))."""
        seconds = self._notifier.watchdog
        if seconds is None or (self._next_watchdog or 0.0) > now:
            return
        self._next_watchdog = now + seconds / 2
        self._desk.take({"do": "ping"}, seconds / 2, self._tell_watchdog)

    def _tell_watchdog(self, replies: list[Reply]) -> None:
        if not any("error" in reply for reply in replies):
            self._notifier.alive()

    # The world outside

    def _tell_of_readiness(self) -> None:
        ready, wanted = len(self._roster.ready_pids()), self._roster.count
        self._notifier.status(f"{ready} of {wanted} workers accept")
        if self._roster.complete and not self._was_ready:
            self._was_ready = True
            self._notifier.ready()
            if self._predecessor.is_there:
                self._predecessor.retire()
                self._begin_admin()
            self._on_ready(self)

    def _tell_of_reload(self, now: float) -> None:
        error, self._roster.reload_error = self._roster.reload_error, None
        seconds = self._roster.reloaded(now)
        if error is not None:
            self._service = self._before_reload  # workers that are restarted must be able to start
            self._tell_of_failure(error)
        if seconds is not None:
            emit(ReloadFinished(server=self, seconds=seconds))
        if error is not None or seconds is not None:
            self._notifier.ready()

    # Signals

    def _signals(self) -> dict[int, Errand]:
        """What each signal means: docs/reference/signals.md."""
        return {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop,
            signal.SIGHUP: self._reload,
            signal.SIGTTIN: functools.partial(self._resize, +1),
            signal.SIGTTOU: functools.partial(self._resize, -1),
            signal.SIGUSR1: functools.partial(self._crew.signal_all, signal.SIGUSR1),
            signal.SIGUSR2: self._begin_to_hand_over,
            signal.SIGCHLD: _nothing,
        }

    def _stop(self) -> None:
        """Drain; a second time, end what is left."""
        if not self._roster.stopping:
            self._drain()
        else:
            self._roster.force(time.monotonic())
            self._crew.tell_all(force=True)

    def _drain(self, seconds: float | None = None) -> None:
        if not self._roster.stopping:
            self._roster.stop(seconds)

    def _begin_to_stop(self) -> None:
        self._stopping = True
        self._hand_over.cancel()
        if not self._hand_over.done:
            self._notifier.stopping()
        self._listeners.close(unlink=not self._hand_over.done)

    def _reload(self) -> None:
        if self._roster.stopping:
            return
        emit(ReloadStarted(server=self, workers=self._roster.count))
        self._notifier.reloading()
        if self._renewed():
            reload_certificates(self._service.encryption, self)
            self._roster.reload(time.monotonic())

    def _renewed(self) -> bool:
        """Take what is to be served from now on; False when that cannot be."""
        if self._renew is None:
            return True
        try:
            renewed = self._renew(self._service)
        except Exception as error:
            self._tell_of_failure(str(error))
            self._notifier.ready()
            return False
        if not self._roster.reloading:
            self._before_reload = self._service
        self._service = renewed
        return True

    def _tell_of_failure(self, error: str) -> None:
        emit(ReloadFailed(server=self, error=error))
        self._notifier.status(f"the last reload failed: {error}".replace("\n", "; "))

    def _resize(self, change: int) -> None:
        wanted = max(1, self._roster.count + change)
        self._roster.resize(wanted, self._listeners.moved(self._roster.count, wanted))

    def _begin_to_hand_over(self) -> None:
        if not self._roster.stopping:
            deadline = time.monotonic() + _START_TIMES * self._limits.start_timeout
            self._hand_over.begin({"listeners": self._listeners.all(), "admin": self._admin.held()}, deadline)

    def _retire(self, successor: int) -> None:
        """Another process is the service now."""
        self._notifier.succeeded_by(successor)
        self._admin.stop()  # who asks there asks the new one
        self._roster.stop()

    def _close(self) -> None:
        """Give everything back."""
        self._crew.close()
        self._admin.close(unlink=not self._hand_over.done)
        self._hand_over.close()
        self._predecessor.close()
        self._listeners.close(unlink=not self._hand_over.done)
        self._selector.close()
        self._errands.close()
        self._evenness.close()


def _nothing() -> None:  # a child has ended: the loop looks at all of them anyway
    pass
