"""What has happened often: how many times, how long it took, how many bytes it moved.

`Notes` is what Python has for it; the compiled core has the same (`portside.core.counting`), at a tenth of the cost.
"""

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

# Upper bounds in seconds: the Prometheus clients' own (from 5 ms to 10 s) with three on each side, for answers within a
# millisecond and for conversations of hours.
BOUNDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    *(60.0, 600.0, 3600.0),
)

# Durations that are noted before they are counted: enough to make counting them cheap, few enough that it takes less
# than a tenth of a millisecond.
NOTED = 512


class Noted(NamedTuple):
    """What was noted until now.

    Attributes:
        counts: how many durations fell below each of `BOUNDS` and not below the one before, and above all of them.
        seconds: their sum.
        received, sent: bytes.
    """

    counts: list[int]
    seconds: float
    received: int
    sent: int


class Noting(Protocol):
    """Takes notes; safe for several threads."""

    def note(self, seconds: float = 0.0, received: int | None = None, sent: int | None = None) -> None:
        """It has happened once more.

        Args:
            seconds: how long it took.
            received: bytes that came; None where nobody knows.
            sent: bytes that left, likewise.
        """

    def once(self) -> None:
        """`note()` of what takes no time."""

    def read(self) -> Noted:
        """What was noted until now."""


class Histogram:
    """How many durations fell below each of `BOUNDS`, and their sum in seconds."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration; the caller sees to it that nobody else does."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def add_all(self, durations: list[float]) -> None:
        """Count many durations, which are sorted for that: much less work than one by one."""
        durations.sort()
        below = 0
        for place, bound in enumerate(BOUNDS):
            upto = bisect_right(durations, bound)
            self.counts[place] += upto - below
            below = upto
        self.counts[-1] += len(durations) - below
        self.sum += sum(durations)

    def add_noted(self, noted: Noted) -> None:
        """Count what was noted elsewhere."""
        self.counts = [mine + more for mine, more in zip(self.counts, noted.counts, strict=True)]
        self.sum += noted.seconds

    def snapshot(self) -> dict[str, Any]:
        """The counts of each bucket (not of all below it, too), as JSON has them."""
        return {"buckets": list(self.counts), "sum": self.sum}


def together(all_noted: Iterable[Noted]) -> Histogram:
    """The durations of several notes."""
    histogram = Histogram()
    for noted in all_noted:
        histogram.add_noted(noted)
    return histogram


class Notes:
    """See `Noting`. Notes are taken without a lock, which `append` needs none of, and counted now and then."""

    __slots__ = ("_durations", "_histogram", "_lock", "_moved", "_received", "_sent")

    def __init__(self) -> None:
        self._durations: list[float] = []
        self._moved: list[tuple[int, int]] = []
        self._histogram = Histogram()
        self._received = self._sent = 0
        self._lock = threading.Lock()

    def note(self, seconds: float = 0.0, received: int | None = None, sent: int | None = None) -> None:
        """See `Noting`."""
        if received is not None and sent is not None:
            self._moved.append((received, sent))
        self._durations.append(seconds)
        if len(self._durations) >= NOTED:
            self._count()

    def once(self) -> None:
        """See `Noting`."""
        self.note()

    def read(self) -> Noted:
        """See `Noting`."""
        self._count()
        return Noted(list(self._histogram.counts), self._histogram.sum, self._received, self._sent)

    def _count(self) -> None:
        with self._lock:
            durations, moved = self._durations[:], self._moved[:]
            del self._durations[: len(durations)], self._moved[: len(moved)]  # more may have come in between
            self._histogram.add_all(durations)
            self._received += sum(each[0] for each in moved)
            self._sent += sum(each[1] for each in moved)
