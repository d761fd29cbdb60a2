"""Ends connections that stay too long: one look at each now and then, and no timer for any of them.

Every rule has a queue of the connections it watches, in the order in which they are to be looked at: since all of them
wait equally long, that is the order in which they came in, and whoever is looked at goes to its end. The loop that
accepts knows the first time of each queue and sleeps until then; without connections it sleeps for ever. What is looked
at is what the kernel knows, so that connections in threads, in greenlets and in other processes are watched alike.
"""

import contextlib
import math
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from portside.connections import Connection
from portside.policy.limits import Limits
from portside.telemetry import CloseReason

# An idle connection is looked at so often within its time: it is ended at most a quarter later than it may be.
IDLE_LOOKS = 4

# Connections that are looked at in a row, at some 5 us each, before clients at the door get their turn.
LOOKS = 200

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def oldest(queue: Mapping[_Key, _Value]) -> tuple[_Key, _Value] | None:
    """What was put first into a mapping that other threads change; None where there is nothing."""
    while True:
        try:
            return next(iter(queue.items()), None)
        except RuntimeError:  # another thread was in between
            continue


class Watch:
    """A rule and those whom it concerns.

    Args:
        seconds: until a connection is looked at, and between two looks.

    Attributes:
        seconds: the same.
        queue: the connections, each with the time of its next look, and what was found at the last one.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.queue: dict[Connection, tuple[float, Any]] = {}

    def first(self) -> float:
        """When somebody is to be looked at; infinity while there is nobody."""
        found = oldest(self.queue)
        return math.inf if found is None else found[1][0]

    def look(self, now: float) -> None:
        """Look at those whose time has come, `LOOKS` at most: each ends, or goes to the end of the queue."""
        for _ in range(LOOKS):
            found = oldest(self.queue)
            if found is None or found[1][0] > now:
                return
            record, (_, before) = found
            self.queue.pop(record, None)
            if not record.gone:
                self._judge(record, before, now)

    def _judge(self, record: Connection, before: Any, now: float) -> None:
        broken, found = self.breaks(record, before)
        if broken:
            record.blame(CloseReason.TIMED_OUT)
            record.cut()
        else:
            self.queue[record] = now + self.seconds, found

    def breaks(self, record: Connection, before: Any) -> tuple[bool, Any]:
        """Whether a connection breaks the rule, and what to remember of it until the next look."""
        raise NotImplementedError


class Lasting(Watch):
    """Connections may last so long in all: whoever is looked at has had that."""

    def breaks(self, record: Connection, before: Any) -> tuple[bool, Any]:
        """True."""
        return True, None


class Resting(Watch):
    """Connections may rest so long: not a byte either way.

    Args:
        seconds: how long.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds / IDLE_LOOKS)
        self._longest = seconds

    def breaks(self, record: Connection, before: Any) -> tuple[bool, Any]:
        """True for one that has rested longer; where the kernel does not tell, nobody has."""
        quiet = record.quiet_for()
        return quiet is not None and quiet >= self._longest, None


class Dawdling(Watch):
    """Connections must move so many bytes between two looks.

    Args:
        seconds: between two looks.
        rate: bytes a second.
    """

    def __init__(self, seconds: float, rate: float) -> None:
        super().__init__(seconds)
        self._least = rate * seconds

    def breaks(self, record: Connection, before: Any) -> tuple[bool, Any]:
        """True for one that moved less since the last look; where the kernel does not tell, nobody has."""
        received, sent = record.bytes_at_kernel()
        if received is None or sent is None:
            return False, None
        return received + sent - (before or 0) < self._least, received + sent


class Keeper:
    """All that limits the stay of one server's connections.

    Args:
        limits: says which rules there are.

    Attributes:
        queues: whom each rule concerns, and the seconds until the first look at somebody.
    """

    def __init__(self, limits: Limits) -> None:
        self._watches: list[Watch] = []
        if limits.total_seconds is not None:
            self._watches.append(Lasting(limits.total_seconds))
        if limits.idle_seconds is not None:
            self._watches.append(Resting(limits.idle_seconds))
        if limits.min_rate is not None:
            self._watches.append(Dawdling(limits.min_rate_seconds, limits.min_rate))
        self.queues = [(watch.queue, watch.seconds) for watch in self._watches]
        self._next = math.inf  # nobody has to be looked at before; who was to be may have left since
        self._rung: tuple[threading.Event, ...] = ()  # by who comes in

    def enter(self, record: Connection) -> None:
        """Watch a connection that was just accepted."""
        for queue, seconds in self.queues:
            at = record.opened + seconds
            if not queue:  # else somebody is to be looked at before
                self._next = min(self._next, at)
            queue[record] = at, None
        if self._rung:
            for rung in self._rung:
                rung.set()

    def leave(self, record: Connection) -> None:
        """Watch it no more. May be called in any thread, at any moment."""
        for queue, _ in self.queues:
            queue.pop(record, None)

    def remaining(self) -> float | None:
        """Seconds until the next look; None while there is nobody to look at."""
        for queue, _ in self.queues:
            if queue:
                break
        else:
            return None
        if self._next == math.inf:  # two loops were at it
            self._next = min(watch.first() for watch in self._watches)
        return max(0.0, self._next - time.monotonic())

    def look(self) -> None:
        """Look at those whose time has come."""
        if self._next == math.inf:  # nobody is watched, or nobody has asked when
            return
        now = time.monotonic()
        if now < self._next:
            return
        self._next = math.inf
        for watch in self._watches:
            watch.look(now)
        self._next = min([self._next, *(watch.first() for watch in self._watches)])

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """Look in a thread of its own within the block: for a loop that is held up by its handlers."""
        if not self._watches:
            yield
            return
        rung, over = threading.Event(), threading.Event()
        thread = threading.Thread(target=self._look_on, args=(rung, over), name="portside-keeper", daemon=True)
        self._rung = (*self._rung, rung)
        thread.start()
        try:
            yield
        finally:
            over.set()
            rung.set()
            thread.join()
            self._rung = tuple(each for each in self._rung if each is not rung)

    def _look_on(self, rung: threading.Event, over: threading.Event) -> None:
        while not over.is_set():
            rung.wait(self.remaining())
            rung.clear()
            self.look()
