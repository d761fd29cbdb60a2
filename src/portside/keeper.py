"""Ends connections that stay too long: one look at each now and then, and no timer for any of them.

Every rule has a queue of the connections it watches, in the order in which they are to be looked at: since all of them
wait equally long, that is the order in which they came in, and whoever is looked at goes to its end. The loop that
accepts knows the first time of each queue and sleeps until then; without connections it sleeps for ever. What is looked
at is what the kernel knows, so that connections in threads, in greenlets and in other processes are watched alike.
"""

import contextlib
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
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._queue: dict[Connection, tuple[float, Any]] = {}  # when to look, and what was found the last time

    def enter(self, record: Connection, now: float) -> None:
        """Watch a connection that was just accepted."""
        self._queue[record] = now + self._seconds, None

    def leave(self, record: Connection) -> None:
        """Watch it no more."""
        self._queue.pop(record, None)

    def first(self) -> tuple[Connection, float] | None:
        """Who is to be looked at next, and when."""
        found = oldest(self._queue)
        return None if found is None else (found[0], found[1][0])

    def look(self, record: Connection, now: float) -> None:
        """Look at the first of the queue: it ends, or goes to the queue's end."""
        _, found = self._queue.pop(record, (now, None))
        if record.gone:
            return
        broken, found = self.breaks(record, found, now)
        if broken:
            record.blame(CloseReason.TIMED_OUT)
            record.cut()
        else:
            self._queue[record] = now + self._seconds, found

    def breaks(self, record: Connection, found: Any, now: float) -> tuple[bool, Any]:
        """Whether a connection breaks the rule, and what to remember of it until the next look."""
        raise NotImplementedError


class Lasting(Watch):
    """Connections may last so long in all: whoever is looked at has had that."""

    def breaks(self, record: Connection, found: Any, now: float) -> tuple[bool, Any]:
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

    def breaks(self, record: Connection, found: Any, now: float) -> tuple[bool, Any]:
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

    def breaks(self, record: Connection, found: Any, now: float) -> tuple[bool, Any]:
        """True for one that moved less since the last look."""
        received, sent = record.bytes_both_ways()
        if received is None or sent is None:
            return False, None
        return received + sent - (found or 0) < self._least, received + sent


class Keeper:
    """All that limits the stay of one server's connections.

    Args:
        limits: says which rules there are.
    """

    def __init__(self, limits: Limits) -> None:
        self._watches: list[Watch] = []
        self._rung: tuple[threading.Event, ...] = ()  # by who comes in
        if limits.total_seconds is not None:
            self._watches.append(Lasting(limits.total_seconds))
        if limits.idle_seconds is not None:
            self._watches.append(Resting(limits.idle_seconds))
        if limits.min_rate is not None:
            self._watches.append(Dawdling(limits.min_rate_seconds, limits.min_rate))

    def enter(self, record: Connection) -> None:
        """Watch a connection that was just accepted."""
        now = time.monotonic()
        for watch in self._watches:
            watch.enter(record, now)
        for rung in self._rung:
            rung.set()

    def leave(self, record: Connection) -> None:
        """Watch it no more."""
        for watch in self._watches:
            watch.leave(record)

    def remaining(self) -> float | None:
        """Seconds until the next look; None while there is nobody to look at."""
        found = [first[1] for watch in self._watches if (first := watch.first())]
        return max(0.0, min(found) - time.monotonic()) if found else None

    def look(self) -> None:
        """Look at those whose time has come, some of them where they are many."""
        now = time.monotonic()
        for watch in self._watches:
            for _ in range(LOOKS):
                first = watch.first()
                if first is None or first[1] > now:
                    break
                watch.look(first[0], now)

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
