"""A worker's life, from the fork to its last breath: load the handler, serve at the supervisor's sockets, drain, leave.

The first thread serves, as it does without workers; the second hears what the supervisor says, and a third, made when
it is first needed, answers questions. When the supervisor is gone the channel ends, and so does the worker: nobody
would restart it, or end it.
"""

import atexit
import contextlib
import functools
import os
import queue
import selectors
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from portside.drain import GRACE
from portside.endpoints import Endpoint
from portside.engines.forks import flush_standard_streams
from portside.framing import FrameError
from portside.service.bound import Bound
from portside.service.control import Answer, Command
from portside.service.description import Service
from portside.service.loading import LoadError
from portside.service.running import Running, end_child
from portside.service.supervision.channel import Channel, Message
from portside.service.supervision.forking import expect_threads
from portside.service.supervision.wear import Wear
from portside.service.workers import Workers
from portside.telemetry import ServerStarted, subscribe
from portside.waker import Waker

# Makes what answers a supervisor's commands, in a thread of the worker, until the block's end.
Controlled = Callable[[Bound], contextlib.AbstractContextManager[Answer]]

# How a worker ends that could not start; so does the service then, see portside.service.supervision.supervisor.
CANNOT_START = 3


class CannotStart(SystemExit):
    """A worker could not start, and so the service has ended: exit code 3, which tells a start that failed from others.

    Attributes:
        reason: why, in one sentence.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(CANNOT_START)
        self.reason = reason


# Seconds without a byte from a client after which a worker that has a successor takes it for idle. Nobody waits for the
# end of that worker, so a client that has connected and not found its first words yet is not robbed of its connection.
PATIENT_QUIET = 5.0

# What the supervisor does with these is its own business. A handler that does nothing is forgotten by programs that the
# worker starts, as SIG_IGN would not be (POSIX, exec).
_SUPERVISORS = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker is forked for.

    Attributes:
        service: what is served; its handler may not be made yet.
        limits: when a worker is worn.
        endpoints: where this worker serves.
        listeners: its sockets there.
        control: makes what answers commands, of the servers.
        orders: commands to carry out before anybody is accepted.
        hesitation: says how many seconds to leave the next client to others, given the connections that there are.
    """

    service: Service
    limits: Workers
    endpoints: Sequence[Endpoint]
    listeners: Sequence[socket.socket]
    control: Controlled
    orders: Sequence[Command] = ()
    hesitation: Callable[[int], float] | None = None


@contextlib.contextmanager
def no_control(_: Bound) -> Iterator[Answer]:
    """Answers that there is nobody who would answer."""
    yield lambda command: {"error": f"nobody here knows {command.get('do')!r}"}


def work(job: Job, channel: Channel) -> NoReturn:
    """Be a worker, in a process that was just forked; never returns into the supervisor's code."""
    code = 1
    try:
        atexit._clear()  # what was registered before the fork is the supervisor's to do
        code = _Worker(job, channel).run()
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
        flush_standard_streams()
        os._exit(code)


class _Worker:
    def __init__(self, job: Job, channel: Channel) -> None:
        self._job = job
        self._channel = channel
        self._owner = os.getpid()
        self._running: Running | None = None
        self._control: Answer | None = None
        self._questions: queue.SimpleQueue[tuple[Any, Message]] | None = None
        self._answering = threading.RLock()
        self._terminated = Waker()

    def run(self) -> int:
        """The whole life; returns the exit code."""
        self._listen_to_signals()
        expect_threads()
        threading.Thread(target=self._listen_to_supervisor, name="portside-control", daemon=True).start()
        self._fork_between_answers()
        with contextlib.ExitStack() as stack:
            try:
                service = stack.enter_context(self._job.service.at(self._job.endpoints).loaded())
                running = Running(service, self._job.listeners)
            except Exception as error:
                return self._could_not_start(error)
            with self._job.control(running) as answer:
                self._serve(running, answer)
        return 0

    def _could_not_start(self, error: Exception) -> int:
        if not isinstance(error, LoadError):  # that one sentence says all
            traceback.print_exc()
        reason = str(error) if isinstance(error, LoadError | OSError) else f"{type(error).__name__}: {error}"
        self._tell(failed=reason)
        return CANNOT_START

    def _serve(self, running: Running, answer: Answer) -> None:
        """Serve until somebody asks for the end; what ends a server before that is raised."""
        self._control = answer
        running.share_listeners(True)
        self._running = running
        for command in self._job.orders:
            answer(command)
        if self._job.hesitation is not None:
            running.hesitate(self._job.hesitation)
        ready = _Ready(running, functools.partial(self._tell, ready=True))
        wear = Wear(self._job.limits, lambda reason: self._tell(worn=reason))
        try:
            with running, subscribe(ready, ServerStarted), wear:
                running.run()
        finally:
            with self._answering:
                last = self._answer({"do": "metrics"})
                self._tell(last=last)
                self._control = lambda _: last  # its servers and their counts are gone before it is

    # The supervisor

    def _listen_to_supervisor(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            selector.register(self._terminated, selectors.EVENT_READ)
            alive = True
            while alive:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._terminated in ready:
                    self._terminated.collect()
                    self._tell(leaving=True)
                    self._leave(self._job.service.drain)
                alive = self._channel not in ready or self._take_messages()
        self._leave(self._job.service.drain, last=True)  # the supervisor has died

    def _take_messages(self) -> bool:
        """Do what the supervisor says; False when it says no more."""
        messages, more = self._channel.arrived()
        for message in messages:
            self._hear(message)
        return more

    def _hear(self, message: Message) -> None:
        match message:
            case {"ask": number, "command": {"do": "ping"}}:
                self._tell(answer=number, reply={"pid": self._owner, "ready": self._control is not None})
            case {"ask": number, "command": dict(command)}:
                self._put(number, command)
            case {"stop": drain}:
                self._leave(drain, patient=bool(message.get("patient")), last=bool(message.get("last")))
            case {"force": True} if self._running is not None:
                self._running.force()

    def _put(self, number: Any, command: Message) -> None:
        """Have a command answered in a thread of its own: one that takes long must not hold up an order to stop."""
        if self._questions is None:
            self._questions = queue.SimpleQueue()
            threading.Thread(target=self._answer_all, name="portside-answers", daemon=True).start()
        self._questions.put((number, command))

    def _answer_all(self) -> None:
        assert self._questions is not None
        while True:
            number, command = self._questions.get()
            with self._answering:
                reply = self._answer(command)
            try:
                self._tell(answer=number, reply={"pid": self._owner, **reply})
            except FrameError as error:
                self._tell(answer=number, reply={"pid": self._owner, "error": str(error)})

    def _answer(self, command: Message) -> dict[str, Any]:
        if self._control is None:
            return {"error": "it is not ready"}
        try:
            return self._control(command)
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def _leave(self, drain: float, *, patient: bool = False, last: bool = False) -> None:
        """Drain and end.

        Args:
            drain: seconds for handlers.
            patient: there is a successor, and nobody waits for this worker's end.
            last: the whole service ends: nobody else will accept whoever waits at the listeners.
        """
        if self._running is None:  # there is nobody to lose
            os._exit(0)
        if last:
            self._running.share_listeners(False)
        if patient:
            self._running.be_patient(PATIENT_QUIET)
        self._running.request_stop(drain)
        timer = threading.Timer(drain + 4 * GRACE, os._exit, [1])
        timer.daemon = True
        timer.start()

    def _tell(self, **message: Any) -> None:
        with contextlib.suppress(OSError):  # it has died: the other thread sees to that
            self._channel.send(message)

    def _fork_between_answers(self) -> None:
        """A handler's process must not be forked while an answer is made, which may hold locks."""
        os.register_at_fork(
            before=lambda: self._answering.acquire(timeout=1),
            after_in_parent=lambda: _release(self._answering),
            after_in_child=lambda: _release(self._answering),
        )

    # Signals

    def _listen_to_signals(self) -> None:
        signal.signal(signal.SIGTERM, self._on_terminate)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in _SUPERVISORS:
            signal.signal(number, _nothing)
        if self._job.service.engine == "green":
            from portside.core import dump_on_signal

            dump_on_signal()

    def _on_terminate(self, number: int, _: FrameType | None) -> None:
        """Somebody wants this worker to go: an operator, or a service manager that tells every process.

        What there is to do takes locks, which the interrupted thread may hold: the other thread does it.
        """
        if os.getpid() == self._owner:
            self._terminated.wake()
        else:
            end_child(number)


class _Ready:
    """A subscriber that tells, once, when every server has begun to accept."""

    def __init__(self, running: Running, tell: Callable[[], None]) -> None:
        self._missing = {id(server) for server in running.servers}
        self._tell = tell

    def __call__(self, event: ServerStarted) -> None:
        if self._missing:
            self._missing.discard(id(event.server))
            if not self._missing:
                self._tell()


def _release(lock: Any) -> None:
    with contextlib.suppress(RuntimeError):  # the time was up
        lock.release()


def _nothing(*_: Any) -> None:
    """In the place of a signal's default, which would end the worker."""


def live(make_job: Callable[[], Job], channel: Channel) -> NoReturn:
    """A worker's life, from the fork to its end.

    Args:
        make_job: says what to do, and closes what is the supervisor's.
        channel: its end of the channel to the supervisor.
    """
    try:
        signal.set_wakeup_fd(-1)
        job = make_job()
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        os._exit(1)
    work(job, channel)
