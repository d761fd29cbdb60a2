"""What one server has done, counted where it happens: connections, bytes, seconds, requests.

An event object costs two microseconds, a tally a tenth of that: what happens with every client or request is counted
here, and rarer things by a subscriber (see `metrics`). A server without a tally pays one look at an attribute.

A forked child cannot count in its parent's memory, so what it counts it tells through a pipe, a line each, which the
parent reads when it wants to know. A line is shorter than PIPE_BUF, so lines of several children stay whole (pipe(7)).
"""

import contextlib
import json
import os
import threading
import weakref
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from typing import Any

# Upper bounds in seconds: the Prometheus clients' own (from 5 ms to 10 s) with three on each side, for answers within a
# millisecond and for conversations of hours.
BOUNDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    *(60.0, 600.0, 3600.0),
)

# Methods that are counted by name; a client may send any word, and must not make a new series of each.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})

# Durations that are noted before they are counted, for each method and status, and connections that have ended: enough
# to make counting them cheap, few enough that it takes less than a tenth of a millisecond.
NOTED = 512

_PIPE_BYTES = 65_536  # what a pipe holds (pipe(7)): all that can be there at a look

_every: "weakref.WeakSet[Tally]" = weakref.WeakSet()


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

    def snapshot(self) -> dict[str, Any]:
        """The counts of each bucket (not of all below it, too), as JSON has them."""
        return {"buckets": list(self.counts), "sum": self.sum}


class Durations(dict[tuple[str | None, int], list[float]]):
    """Durations of requests by method and status, noted and not yet counted: `durations["GET", 200].append(0.1)`.

    No lock and no call of ours: `append` is one step for every thread, and this is done for each request.
    """

    def __missing__(self, key: tuple[str | None, int]) -> list[float]:
        method, status = key
        known = (method if method in METHODS else "other", status)
        return self.setdefault(known, [])


class _Telling(list[float]):
    """In a forked child: what is noted here is told at once."""

    def __init__(self, tally: "Tally", key: tuple[str | None, int]) -> None:
        super().__init__()
        self._tally, self._key = tally, key

    def append(self, seconds: float) -> None:
        self._tally.tell("request", *self._key, seconds)


class _Tellers(Durations):
    def __init__(self, tally: "Tally") -> None:
        super().__init__()
        self._tally = tally

    def __missing__(self, key: tuple[str | None, int]) -> list[float]:
        return _Telling(self._tally, key)


class Tally:
    """The counts of one server; safe for several threads.

    What happens often is noted without a lock, which `append` needs none of, and counted now and then: `fold()`.

    Attributes:
        opened: connections that were accepted.
        closed: connections that have ended, by reason.
        received, sent: bytes of the connections that have ended, as far as the kernel told.
        handler_seconds: from accept to close.
        durations: of HTTP requests that were answered, by method and status; call `fold()` when there are `NOTED`.
        requests: how many of them were counted.
        request_seconds: from a request's first line to the end of its answer.
        events: everything else, by name and, where there is one, reason.

    Resource handling: a pipe, from construction to `close()`.
    """

    def __init__(self) -> None:
        self.opened = 0
        self.received = 0
        self.sent = 0
        self.closed: dict[str, int] = {}
        self.handler_seconds = Histogram()
        self.durations = Durations()
        self.requests: Counter[tuple[str | None, int]] = Counter()
        self.request_seconds = Histogram()
        self.events: Counter[tuple[str, str]] = Counter()
        self._opens: list[None] = []
        self._closings: list[tuple[str, float, int | None, int | None]] = []
        self._lock = threading.Lock()
        self._parent: int | None = None  # in a forked child: where to tell
        self._told, self._tell_to = os.pipe()
        os.set_blocking(self._told, False)
        os.set_blocking(self._tell_to, False)
        _every.add(self)

    def count_opened(self) -> None:
        """A connection was accepted."""
        self._opens.append(None)

    def count_closed(self, reason: str, seconds: float, received: int | None, sent: int | None) -> None:
        """A connection has ended.

        Args:
            reason: the name of the `CloseReason`; a member's hash would cost as much as all the rest.
            seconds: from accept to close.
            received: bytes; None where nobody knows.
            sent: likewise.
        """
        self._closings.append((reason, seconds, received, sent))
        if len(self._closings) >= NOTED:
            with self._lock:
                self._fold_connections()

    def _fold_connections(self) -> None:
        """Count what was noted of connections; the caller sees to it that nobody else does."""
        opened, taken = len(self._opens), self._closings[:]
        del self._opens[:opened], self._closings[: len(taken)]  # more may have come in between
        self.opened += opened
        for reason, _, received, sent in taken:
            self.closed[reason] = self.closed.get(reason, 0) + 1
            if received is not None and sent is not None:
                self.received += received
                self.sent += sent
        self.handler_seconds.add_all([each[1] for each in taken])

    def fold(self) -> None:
        """Count what was noted."""
        with self._lock:
            self._fold_connections()
            for key, noted in list(self.durations.items()):
                taken = noted[:]
                del noted[: len(taken)]  # one more may have come in between
                self.requests[key] += len(taken)
                self.request_seconds.add_all(taken)

    def count_event(self, name: str, reason: str = "") -> None:
        """Something else happened."""
        if self._parent is not None:
            self.tell("event", name, reason)
            return
        with self._lock:
            self.events[name, reason] += 1

    def tell(self, *words: object) -> None:
        """In a forked child: have the parent count something."""
        # Where nobody reads, the pipe is full at last: counts are lost then, and nobody waits.
        with contextlib.suppress(OSError):
            os.write(self._parent or -1, (json.dumps(words) + "\n").encode())

    def settle(self) -> None:
        """Before a look: count what forked children have told, and what was noted."""
        for line in self._lines():
            kind, *words = json.loads(line)
            if kind == "request":
                method, status, seconds = words
                self.durations[method, status].append(seconds)
            else:
                self.count_event(*words)
        self.fold()

    def _lines(self) -> Iterable[bytes]:
        if self._parent is not None or self._told < 0:
            return ()
        try:
            return os.read(self._told, _PIPE_BYTES).splitlines()
        except BlockingIOError:
            return ()

    def become_child(self) -> None:
        """In a forked process: from now on, tell the one that it was forked from."""
        self._lock = threading.Lock()  # another thread of the parent's may have held the old one
        if self._parent is None and self._tell_to >= 0:
            self._parent = self._tell_to
            self.durations = _Tellers(self)

    def close(self) -> None:
        """Give the pipe back; what is counted stays."""
        for number in (self._told, self._tell_to):
            if number >= 0:
                os.close(number)
        self._told = self._tell_to = -1


def _become_children() -> None:
    for tally in list(_every):
        tally.become_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_become_children)
