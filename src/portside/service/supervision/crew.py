"""The workers as processes: forked, talked to, signalled, and collected when they have ended."""

import contextlib
import functools
import os
import selectors
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from portside.service.supervision.channel import Channel, Message
from portside.service.supervision.forking import forked
from portside.service.supervision.worker import Job, live


@dataclass(kw_only=True)
class Worker:
    """A worker, as its supervisor has it.

    Attributes:
        pid: its process id.
        slot: its place among the workers.
        channel: the supervisor's end.
        reason: why it could not start, in its own words.
        seat: where it notes its connections.
    """

    pid: int
    slot: int
    channel: Channel
    reason: str = ""
    seat: int | None = None


class Crew:
    """All workers of one supervisor.

    Args:
        selector: where their messages are waited for; the data of each key is what to call then.
        hear: called with each message and who sent it.

    Resource handling: processes and channels, until they have ended or `close()`.
    """

    def __init__(self, selector: selectors.BaseSelector, hear: Callable[[Worker, Message], object]) -> None:
        self._selector = selector
        self._hear = hear
        self._workers: dict[int, Worker] = {}

    def start(self, slot: int, job: Callable[[], Job], seat: int | None = None) -> Worker:
        """Fork a worker.

        Args:
            slot: its place.
            seat: where it notes its connections.
            job: called in the worker, after the channels of others were closed there; says what there is to do.

        Raises:
            OSError: the system has no room for another process.
        """
        ours, theirs = Channel.pair()
        try:
            pid = forked(functools.partial(live, functools.partial(self._begin, ours, job), theirs), theirs)
        except BaseException:
            ours.close()
            raise
        worker = self._workers[pid] = Worker(pid=pid, slot=slot, channel=ours, seat=seat)
        self._selector.register(ours, selectors.EVENT_READ, functools.partial(self._listen, worker))
        return worker

    def _begin(self, ours: Channel, job: Callable[[], Job]) -> Job:
        """In the worker."""
        ours.close()
        self.leave()
        return job()

    def leave(self) -> None:
        """In a forked process: let go of what is the supervisor's."""
        for worker in self._workers.values():
            worker.channel.close()
        self._selector.close()

    def seat(self, pid: int) -> int | None:
        """Where a worker notes its connections, unless it does not."""
        return self._workers[pid].seat if pid in self._workers else None

    def tell(self, pid: int, **message: Any) -> None:
        """Send a message; to one that has ended nothing is sent."""
        if pid in self._workers:
            self._workers[pid].channel.offer(message)

    def tell_all(self, **message: Any) -> None:
        """Send a message to everybody."""
        for worker in self._workers.values():
            worker.channel.offer(message)

    def signal(self, pid: int, number: int) -> None:
        """Send a signal."""
        if pid in self._workers:  # not collected, so the number is nobody else's
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def signal_all(self, number: int) -> None:
        """Send a signal to everybody."""
        for pid in self._workers:
            self.signal(pid, number)

    def collect(self) -> Iterator[tuple[Worker, int]]:
        """Those who have ended, once, after their last words were heard; each with its exit code."""
        for pid, worker in list(self._workers.items()):
            code = exit_code(pid)
            if code is not None:
                self._listen(worker)
                self._dismiss(worker)
                yield worker, code

    def close(self) -> None:
        """End who is left, at once."""
        self.signal_all(signal.SIGKILL)
        for worker in list(self._workers.values()):
            exit_code(worker.pid, blocking=True)
            self._dismiss(worker)

    def _listen(self, worker: Worker) -> None:
        messages, more = worker.channel.arrived()
        if not more:
            unwatch(self._selector, worker.channel)
        for message in messages:
            self._hear(worker, message)

    def _dismiss(self, worker: Worker) -> None:
        unwatch(self._selector, worker.channel)
        worker.channel.close()
        del self._workers[worker.pid]


def unwatch(selector: selectors.BaseSelector, channel: Channel) -> None:
    """Wait for a channel's messages no longer, if somebody did."""
    with contextlib.suppress(KeyError, ValueError):
        selector.unregister(channel)


def exit_code(pid: int, *, blocking: bool = False) -> int | None:
    """How a child process has ended; None while it runs; 0 for one that somebody else has waited for."""
    try:
        waited, status = os.waitpid(pid, 0 if blocking else os.WNOHANG)
    except ChildProcessError:
        return 0
    return os.waitstatus_to_exitcode(status) if waited else None


def ending(code: int) -> str:
    """How a process has ended, in words."""
    if code >= 0:
        return f"it ended with {code}"
    try:
        return f"it was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was ended by signal {-code}"
