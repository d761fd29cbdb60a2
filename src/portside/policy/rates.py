"""How often a host may come: token buckets, in constant time and bounded memory.

A bucket is one number: when it will be full again (the "generic cell rate algorithm" of ITU-T I.371). It is full where
that time has passed, and a full bucket need not be remembered: so what is known of hosts is kept in two generations,
and the older one is dropped when everything in it has been filled up. Nobody has to look for what is no longer needed.
"""

import time
from collections.abc import Callable, Hashable

# Hosts in a generation at most. Who sends from more addresses than that in the time of one burst makes the older ones
# start afresh; some 100 bytes each, so 13 MB for both generations.
HOSTS = 65_536


class Rates:
    """A bucket for each host; not locked: the accept path has it to itself.

    Args:
        rate: tokens a second that flow into a bucket.
        burst: tokens that a bucket holds.
        clock: tells the time, in seconds; for tests.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1 / rate
        self._slack = (burst - 1) * self._interval
        self._clock = clock
        self._lifetime = burst * self._interval  # after so long every bucket is full again
        self._young: dict[Hashable, float] = {}
        self._old: dict[Hashable, float] = {}
        self._renewal = clock() + self._lifetime

    def takes(self, host: Hashable) -> bool:
        """Take a token out of the host's bucket; False, and nothing is taken, where there is none."""
        now = self._clock()
        if now >= self._renewal or len(self._young) >= HOSTS:
            self._renew(now)
        full_at = self._young.get(host)
        if full_at is None:
            full_at = self._old.get(host, now)
        full_at = max(full_at, now)
        if full_at - now > self._slack:
            return False
        self._young[host] = full_at + self._interval
        return True

    def __len__(self) -> int:
        """Hosts that are remembered."""
        return len(self._young) + len(self._old)

    def _renew(self, now: float) -> None:
        """Drop the old generation, and after a long silence both: every bucket that it knew is full."""
        self._old = self._young if now < self._renewal + self._lifetime else {}
        self._young = {}
        self._renewal = now + self._lifetime
