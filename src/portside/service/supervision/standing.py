"""Orders that hold for workers to come, too: a pause, and bans until they are over. No sockets here."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Command = Mapping[str, Any]

# Bans that later workers are told of; of more, those that end first are forgotten.
MOST_BANS = 10_000


class StandingOrders:
    """What all workers were told and a new one has to know.

    Args:
        clock: tells the time, in seconds; for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._paused = False
        self._changed = 0.0  # when the pause began or ended
        self._bans: dict[str, tuple[float, float]] = {}  # host: since when, until when

    def pause(self, wanted: bool) -> None:
        """Nobody is accepted until further notice, or everybody again."""
        self._paused, self._changed = wanted, self._clock()

    def ban(self, host: str, seconds: float) -> None:
        """A host is kept out for so many seconds."""
        now = self._clock()
        self._bans[host] = (now, now + seconds)
        if len(self._bans) > MOST_BANS:  # those that are over are the first to go
            del self._bans[min(self._bans, key=lambda each: self._bans[each][1])]

    def for_new(self) -> list[Command]:
        """What a worker is to do before it accepts."""
        return [*([{"do": "pause"}] if self._paused else []), *self._bans_since(0.0)]

    def since(self, then: float) -> list[Command]:
        """What has changed after `then`, for a worker that was made at that time."""
        word = "pause" if self._paused else "resume"
        return [*([{"do": word}] if self._changed >= then else []), *self._bans_since(then)]

    def _bans_since(self, then: float) -> Iterator[Command]:
        now = self._clock()
        for host, (began, until) in self._bans.items():
            if began >= then and until > now:
                yield {"do": "ban", "host": host, "seconds": until - now}
