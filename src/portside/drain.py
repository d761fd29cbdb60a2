"""Ends what is open, kindly first: wait, wake, insist, cut.

A handler that waits for a client which has nothing to say would wait for ever; a handler that is in the middle of an
answer must not be disturbed. So, while the handlers finish by themselves, and latecomers get theirs,

1. a connection whose handler says that it is idle, or whose client has been quiet for a while (QUIET, where nobody
   says otherwise) and was accepted no later, reads the end of its stream: its handler returns as if the client had
   left, and what it still has to write arrives;
2. when INSIST of the time has passed, every connection reads the end of its stream;
3. at the deadline what is left is cut in both directions, and handlers get GRACE to notice.
"""

import asyncio
import time
from collections.abc import Callable, Iterator

from portside.connections import Connection, Connections
from portside.latecomers import Latecomers

# Seconds without a byte from the client after which its handler is taken to be waiting for a new request. Longer than
# a round trip between continents (0.25 s), so that a client in mid-message is not taken for an idle one.
QUIET = 0.25

# The share of the drain after which talkative clients are asked to end too: the rest is for their last answers.
INSIST = 0.75

# Seconds between a cut and giving a handler up: it has only to see an error and return.
GRACE = 0.5

# Seconds between two looks while a drain is under way (never otherwise): short at first, since most handlers end at
# once when they are asked to, then longer.
FIRST_TICK = 0.001
TICK = 0.02


class Drain:
    """One drain of one server.

    Args:
        connections: the open connections.
        running: how many handlers still run, the caller's own not counted.
        seconds: the time in all; 0 cuts at once.
        quiet: seconds of a client's silence after which its handler is taken to be idle.
        latecomers: clients that are to get handlers yet.

    Attributes:
        cut: how many connections were ended by force.
    """

    def __init__(
        self,
        connections: Connections,
        running: Callable[[], int],
        seconds: float,
        quiet: float = QUIET,
        latecomers: Latecomers | None = None,
    ) -> None:
        self._connections = connections
        self._running = running
        self._started = time.monotonic()
        self._seconds = seconds
        self._quiet = quiet
        self._latecomers = latecomers
        self.cut = 0

    def run(self, sleep: Callable[[float], object] | None = None) -> None:
        """The whole drain, blocking at most the time in all and the grace.

        Args:
            sleep: how to wait between two looks, given seconds; `time.sleep` where nobody says otherwise.
        """
        wait = sleep or time.sleep
        for tick in self._ticks():
            wait(tick)

    async def run_async(self) -> None:
        """The whole drain, in an event loop."""
        for tick in self._ticks():
            await asyncio.sleep(tick)

    def _ticks(self) -> Iterator[float]:
        """The drain's steps; yields the seconds to sleep between each and the next."""
        tick = FIRST_TICK
        while self.step():
            yield tick
            tick = min(2 * tick, TICK)
        self.finish()
        while self.in_grace():
            yield TICK

    def hurry(self) -> None:
        """Let the time be over now."""
        self._seconds = min(self._seconds, self._elapsed())

    @property
    def is_over(self) -> bool:
        """True when the time has passed."""
        return self._elapsed() >= self._seconds

    def let_go(self) -> None:
        """In a forked child: latecomers are the parent's."""
        if self._latecomers:
            self._latecomers.let_go()

    def step(self) -> bool:
        """One look: wake who should be woken.

        Returns:
            False when nothing runs any more or the time has passed.
        """
        elapsed = self._elapsed()
        if elapsed >= self._seconds or not self._goes_on():
            return False
        insisting = elapsed >= self._seconds * INSIST
        for connection in self._connections.all():
            connection.ending = True
            if not connection.woken and (insisting or self._rests(connection)):
                connection.end_input()
        return True

    def _goes_on(self) -> bool:
        """Have latecomers handled, as far as there is room; False when nobody is, and nobody is to be."""
        running = self._running()  # which makes room where ended children have to be collected
        if not self._latecomers:
            return running > 0
        self._latecomers.seat()
        return True

    def _rests(self, connection: Connection) -> bool:
        """Whether its handler waits for a new request, and not for the rest of one, or for the first."""
        if connection.idle:
            return True
        return time.monotonic() - connection.opened >= self._quiet and connection.is_quiet(self._quiet)

    def finish(self) -> None:
        """Cut what is left."""
        remaining = self._connections.all() if self._running() else []
        for connection in remaining:
            connection.cut()
        self.cut = len(remaining) + (self._latecomers.turn_away() if self._latecomers else 0)

    def in_grace(self) -> bool:
        """True while handlers run that may still notice the cut."""
        return self._running() > 0 and self._elapsed() < self._seconds + GRACE

    def _elapsed(self) -> float:
        return time.monotonic() - self._started
