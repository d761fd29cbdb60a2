"""The supervisor: holds the listeners, forks workers, keeps up their number, and ends them.

It serves nobody itself, runs in one thread (forking is safe then), and sleeps until something happens: a signal, a
message, a deadline. What it decides stands in `roster`, which knows no processes; this file does what that says.
"""

import contextlib
import functools
import os
import selectors
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from types import FrameType
from typing import Any

from portside.endpoints import Endpoint
from portside.service.asking import ANSWER_SECONDS, Questions, Reply
from portside.service.bound import Bound
from portside.service.channel import Channel, Message
from portside.service.description import Service
from portside.service.handover import Predecessor, Successor
from portside.service.listeners import Listeners
from portside.service.roster import Action, Kill, Retire, Roster, Start
from portside.service.systemd import Notifier
from portside.service.worker import CANNOT_START, Control, Job, forked, no_control
from portside.service.workers import Workers
from portside.telemetry import (
    HandOverFailed,
    HandOverFinished,
    HandOverStarted,
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
from portside.waker import Waker


class CannotStart(SystemExit):
    """A worker could not start, and so the service has ended: exit code 3, which tells a start that failed from others.

    Attributes:
        reason: why, in one sentence.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(CANNOT_START)
        self.reason = reason


@dataclass(kw_only=True)
class _Worker:
    """What the supervisor has of a worker."""

    pid: int
    slot: int
    channel: Channel
    reason: str = ""  # why it could not start, in its own words


class Supervisor:
    """A service whose workers are processes.

    Args:
        service: what is served.
        control: in a worker, makes what answers commands, of its servers.
        ready: called here, once, when every endpoint accepts in every worker.

    Attributes:
        endpoints: what was bound, port 0 replaced by the port that the system chose.

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
        control: Callable[[Bound], Control] = no_control,
        ready: Callable[["Supervisor"], object] = lambda _: None,
    ) -> None:
        self._service = service
        self._workers_wanted = wanted = Workers.of(service.workers) or Workers(count=1)
        self._control = control
        self._on_ready = ready
        self._folder = os.getcwd()
        self._owner = os.getpid()
        self._predecessor = Predecessor()
        self._listeners = Listeners(
            service.endpoints,
            balance=wanted.balance,
            workers=wanted.count,
            inherited=self._predecessor.listeners,
        )
        self.endpoints: tuple[Endpoint, ...] = self._listeners.endpoints
        if service.identity is not None:
            service.identity.assume()
        self._roster = Roster(count=wanted.count, start_timeout=wanted.start_timeout, drain=service.drain)
        self._workers: dict[int, _Worker] = {}
        self._questions = Questions()
        self._notifier = Notifier()
        self._next_watchdog: float | None = None
        self._successor: Successor | None = None
        self._successor_by = 0.0
        self._was_ready = self._handed_over = self._stopping = False
        self._errands: deque[Callable[[], object]] = deque()
        self._waker = Waker()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._waker, selectors.EVENT_READ)

    # What others may ask for

    @property
    def is_ready(self) -> bool:
        """True while every endpoint accepts in every worker."""
        return self._roster.complete

    def describe(self) -> list[dict[str, Any]]:
        """The workers: `pid`, `slot`, `phase` ("starting", "ready", "leaving") and `seconds` in it."""
        now = time.monotonic()
        return [
            {"pid": each.pid, "slot": each.slot, "phase": each.phase.name.lower(), "seconds": now - each.since}
            for each in list(self._roster.members.values())
        ]

    def ask(self, command: Mapping[str, Any], timeout: float = ANSWER_SECONDS) -> list[Reply]:
        """Have every worker that accepts answer a command; from any thread but the supervisor's own.

        Args:
            command: a JSON object, which the workers' `control` understands.
            timeout: seconds that they have.

        Returns:
            One reply a worker, with its `pid`; `error` is in that of one that has not answered.

        Raises:
            RuntimeError: the supervisor's own thread asks, which would have to wait for itself.
        """
        if threading.get_ident() == self._thread:
            raise RuntimeError("ask() waits for the supervisor: call it from another thread")
        future: Future[list[Reply]] = Future()
        self._errands.append(functools.partial(self._ask, dict(command), timeout, future.set_result))
        self._waker.wake()
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
            with self._signals(), self._waker.rung_by_signals():
                while not self._roster.finished:
                    self._do_what_is_due()
                    self._wait()
        finally:
            self._close()
        if self._roster.failure is not None:
            raise CannotStart(self._roster.failure)

    def _do_what_is_due(self) -> None:
        for action in self._roster.plan(time.monotonic()):
            self._do(action)
        now = time.monotonic()
        self._questions.expire(now)
        self._tell_of_reload(now)
        self._mind_the_watchdog(now)
        if self._successor is not None and now >= self._successor_by:
            self._successor.kill()
        if self._roster.stopping and not self._stopping:
            self._begin_to_stop()

    def _wait(self) -> None:
        ready = self._selector.select(self._seconds_to_wait())
        for key, _ in ready:
            if key.fileobj is self._waker:
                self._waker.collect()
            elif key.data is not None:
                key.data()
        while self._errands:
            self._errands.popleft()()
        self._collect_workers()
        self._look_after_successor()

    def _seconds_to_wait(self) -> float | None:
        if self._errands or self._roster.finished:
            return 0.0
        now = time.monotonic()
        dues = [self._roster.next_due(now), self._questions.next_due(), self._next_watchdog]
        dues.append(self._successor_by if self._successor is not None and not self._handed_over else None)
        soonest = min((each for each in dues if each is not None), default=None)
        return None if soonest is None else max(0.0, soonest - now)

    # Workers

    def _do(self, action: Action) -> None:
        match action:
            case Start(slot):
                self._start(slot)
            case Retire(pid):
                replaced = not self._roster.stopping
                self._tell(pid, stop=self._service.drain, patient=replaced)
            case Kill(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _start(self, slot: int) -> None:
        ours, theirs = Channel.pair()
        pid = forked(functools.partial(self._job, slot, ours), theirs)
        self._workers[pid] = _Worker(pid=pid, slot=slot, channel=ours)
        self._selector.register(ours, selectors.EVENT_READ, functools.partial(self._hear, pid))
        self._roster.started(pid, slot, time.monotonic())
        emit(WorkerStarted(server=self, pid=pid, slot=slot))

    def _job(self, slot: int, ours: Channel) -> Job:
        """In the worker: let go of what is the supervisor's, and say what there is to do."""
        ours.close()
        for worker in self._workers.values():
            worker.channel.close()
        if self._successor is not None:
            self._successor.close()
        self._predecessor.close()
        self._selector.close()
        self._waker.close()
        endpoints, listeners = self._listeners.take(slot, self._roster.count)
        return Job(
            service=self._service,
            workers=self._workers_wanted,
            endpoints=endpoints,
            listeners=listeners,
            control=self._control,
        )

    def _tell(self, pid: int, **message: Any) -> None:
        if pid in self._workers:
            self._workers[pid].channel.offer(message)

    def _hear(self, pid: int) -> None:
        """Take in what a worker says."""
        worker = self._workers[pid]
        messages, more = worker.channel.arrived()
        if not more:
            self._selector.unregister(worker.channel)
        for message in messages:
            self._take_in(worker, message)

    def _take_in(self, worker: _Worker, message: Message) -> None:
        match message:
            case {"ready": True}:
                seconds = self._roster.ready(worker.pid, time.monotonic())
                emit(WorkerReady(server=self, pid=worker.pid, slot=worker.slot, seconds=seconds))
                self._tell_of_readiness()
            case {"failed": str(reason)}:
                worker.reason = reason
            case {"leaving": True}:
                self._roster.leaving(worker.pid, time.monotonic())
            case {"worn": str(reason)}:
                self._roster.worn(worker.pid)
                emit(WorkerWorn(server=self, pid=worker.pid, slot=worker.slot, reason=reason))
            case {"answer": number, "reply": dict(reply)}:
                self._questions.answered(number, worker.pid, reply)

    def _collect_workers(self) -> None:
        for pid in list(self._workers):
            ended, status = _waited(pid)
            if ended:
                self._bury(self._workers[pid], os.waitstatus_to_exitcode(status))

    def _bury(self, worker: _Worker, code: int) -> None:
        if worker.channel in self._watched():
            self._hear(worker.pid)  # its last words
        if worker.channel in self._watched():
            self._selector.unregister(worker.channel)
        del self._workers[worker.pid]
        worker.channel.close()
        self._questions.gone(worker.pid)
        self._tell_of_end(worker, code)

    def _tell_of_end(self, worker: _Worker, code: int) -> None:
        reason = worker.reason or _ending(code)
        could_not_start = bool(worker.reason) or self._roster.is_starting(worker.pid)
        pause = self._roster.exited(worker.pid, time.monotonic(), reason)
        if could_not_start and not self._stopping:
            emit(WorkerFailed(server=self, pid=worker.pid, slot=worker.slot, reason=reason))
        elif code:
            emit(WorkerExited(server=self, pid=worker.pid, exit_code=code, role=ProcessRole.WORKER))
        if pause is not None:
            emit(WorkerRestarted(server=self, slot=worker.slot, seconds=pause))
        if self._roster.reload_error is not None:
            self._tell_of_failed_reload()

    def _watched(self) -> set[object]:
        return {key.fileobj for key in self._selector.get_map().values()}

    # Questions, and the watchdog

    def _ask(self, command: Message, timeout: float, done: Callable[[list[Reply]], object]) -> None:
        pids = self._roster.ready_pids()
        number = self._questions.ask(pids, time.monotonic() + timeout, done)
        for pid in pids:
            self._tell(pid, ask=number, command=command)

    def _mind_the_watchdog(self, now: float) -> None:
        """Systemd hears from us while every worker answers, twice as often as it wants to (sd_watchdog_enabled(3))."""
        seconds = self._notifier.watchdog
        if seconds is None or (self._next_watchdog or 0.0) > now:
            return
        self._next_watchdog = now + seconds / 2
        self._ask({"do": "ping"}, seconds / 2, self._tell_watchdog)

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
            self._predecessor.retire()
            self._on_ready(self)

    def _tell_of_reload(self, now: float) -> None:
        seconds = self._roster.reloaded(now)
        if seconds is not None:
            emit(ReloadFinished(server=self, seconds=seconds))
            self._notifier.ready()

    def _tell_of_failed_reload(self) -> None:
        error, self._roster.reload_error = self._roster.reload_error, None
        emit(ReloadFailed(server=self, error=str(error)))
        self._notifier.status(f"the last reload failed: {error}")
        self._notifier.ready()

    # Signals

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Signals become errands, within the block; the program's own handlers are put back after it."""
        table: dict[int, Callable[[], object]] = {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop,
            signal.SIGHUP: self._reload,
            signal.SIGTTIN: functools.partial(self._resize, +1),
            signal.SIGTTOU: functools.partial(self._resize, -1),
            signal.SIGUSR1: self._pass_on,
            signal.SIGUSR2: self._hand_over,
            signal.SIGCHLD: _nothing,
        }

        def note(number: int, _: FrameType | None) -> None:
            if os.getpid() == self._owner:
                self._errands.append(table[number])

        before = {number: signal.signal(number, note) for number in table}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self) -> None:
        """Drain; a second time, end what is left."""
        if not self._roster.stopping:
            self._roster.stop()
            return
        self._roster.force(time.monotonic())
        for pid in self._workers:
            self._tell(pid, force=True)

    def _begin_to_stop(self) -> None:
        self._stopping = True
        if not self._handed_over:
            self._notifier.stopping()
        if self._successor is not None and not self._handed_over:
            self._successor.kill()
        self._listeners.close(unlink=not self._handed_over)

    def _reload(self) -> None:
        if not self._roster.stopping:
            emit(ReloadStarted(server=self, workers=self._roster.count))
            self._notifier.reloading()
            self._roster.reload(time.monotonic())

    def _resize(self, change: int) -> None:
        before, after = self._roster.count, max(1, self._roster.count + change)
        self._roster.resize(after, self._listeners.moved(before, after))

    def _pass_on(self) -> None:
        """SIGUSR1 is for the workers: green ones print where their handlers stand."""
        for pid in self._workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)

    # A new version of the program

    def _hand_over(self) -> None:
        if self._successor is not None or self._roster.stopping:
            return
        try:
            self._successor = Successor(self._listeners.all(), self._folder)
        except OSError as error:
            emit(HandOverFailed(server=self, pid=0, error=str(error)))
            return
        self._successor_by = time.monotonic() + 2 * self._workers_wanted.start_timeout
        self._selector.register(self._successor.channel, selectors.EVENT_READ, self._hear_successor)
        emit(HandOverStarted(server=self, pid=self._successor.pid))

    def _hear_successor(self) -> None:
        successor = self._successor
        assert successor is not None
        messages, more = successor.channel.arrived()
        if {"ready": True} in messages:
            self._handed_over = True
            self._notifier.succeeded_by(successor.pid)
            emit(HandOverFinished(server=self, pid=successor.pid))
            self._roster.stop()
            self._successor_by = float("inf")
        if not more:
            self._selector.unregister(successor.channel)

    def _look_after_successor(self) -> None:
        successor = self._successor
        if successor is None or self._handed_over or (code := successor.exit_code()) is None:
            return
        emit(HandOverFailed(server=self, pid=successor.pid, error=_ending(code)))
        if successor.channel in self._watched():
            self._selector.unregister(successor.channel)
        successor.close()
        self._successor = None

    # The end

    def _close(self) -> None:
        """Give everything back; who still lives, because the loop was broken, is killed."""
        for worker in self._workers.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)
            _waited(worker.pid, blocking=True)
            worker.channel.close()
        if self._successor is not None:
            self._successor.let_go()
            self._successor.close()
        self._predecessor.close()
        self._listeners.close(unlink=not self._handed_over)
        self._selector.close()
        self._waker.close()


def _nothing() -> None:
    """A child has ended: the loop looks at all of them anyway."""


def _waited(pid: int, *, blocking: bool = False) -> tuple[bool, int]:
    """Whether a child has ended, and its status; one that somebody else has waited for has ended well."""
    try:
        waited, status = os.waitpid(pid, 0 if blocking else os.WNOHANG)
    except ChildProcessError:
        return True, 0
    return bool(waited), status


def _ending(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"it ended with {code}"
    try:
        return f"it was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was ended by signal {-code}"
