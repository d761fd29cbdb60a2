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
from collections import Counter
from collections.abc import Callable, Iterable

from portside.telemetry.events import CloseReason
from portside.telemetry.notes import Notes, Noting

# Methods that are counted by name; a client may send any word, and must not make a new series of each.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})

_PIPE_BYTES = 65_536  # what a pipe holds (pipe(7)): all that can be there at a look

_every: "weakref.WeakSet[Tally]" = weakref.WeakSet()


class Durations(dict[tuple[str | None, int], Noting]):
    """Durations of requests by method and status: `durations["GET", 200].note(0.1)`.

    Args:
        new: makes the notes of one method and status.
    """

    def __init__(self, new: Callable[[], Noting]) -> None:
        super().__init__()
        self._new = new

    def __missing__(self, key: tuple[str | None, int]) -> Noting:
        method, status = key
        return self.setdefault((method if method in METHODS else "other", status), self._new())


class Endings(dict[str, Noting]):
    """Connections that have ended, by the name of their `CloseReason`: a member's hash would cost as much as the rest.

    Args:
        new: makes the notes of one reason.
    """

    def __init__(self, new: Callable[[], Noting]) -> None:
        super().__init__()
        self._new = new

    def __missing__(self, reason: str) -> Noting:
        return self.setdefault(reason, self._new())


class _Teller(Notes):
    """In a forked child: what is noted here is told at once."""

    def __init__(self, tally: "Tally", key: tuple[str | None, int]) -> None:
        super().__init__()
        self._tally, self._key = tally, key

    def note(self, seconds: float = 0.0, received: int | None = None, sent: int | None = None) -> None:
        self._tally.tell("request", *self._key, seconds)


class _Tellers(Durations):
    def __init__(self, tally: "Tally") -> None:
        super().__init__(Notes)
        self._tally = tally

    def __missing__(self, key: tuple[str | None, int]) -> Noting:
        return _Teller(self._tally, key)


class Tally:
    """The counts of one server; safe for several threads.

    Args:
        notes: makes notes; the compiled core's cost a tenth of these.

    Attributes:
        openings: connections that were accepted.
        endings: those that have ended, by reason: seconds from accept to close, and bytes as far as they are known.
        done: those of them whose handler has returned, as nearly all do.
        durations: HTTP requests that were answered, by method and status: from first line to the end of the answer.
        events: everything else, by name and, where there is one, reason.

    Resource handling: a pipe, from construction to `close()`.
    """

    def __init__(self, notes: Callable[[], Noting] = Notes) -> None:
        self.openings = notes()
        self.endings = Endings(notes)
        self.done = self.endings[CloseReason.DONE.name]
        self.durations = Durations(notes)
        self.events: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._parent: int | None = None  # in a forked child: where to tell
        self._told, self._tell_to = os.pipe()
        os.set_blocking(self._told, False)
        os.set_blocking(self._tell_to, False)
        _every.add(self)

    @property
    def opened(self) -> int:
        """How many connections were accepted."""
        return sum(self.openings.read().counts)

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
        """Before a look: count what forked children have told."""
        for line in self._lines():
            kind, *words = json.loads(line)
            if kind == "request":
                method, status, seconds = words
                self.durations[method, status].note(seconds)
            else:
                self.count_event(*words)

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
