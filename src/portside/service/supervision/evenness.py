"""An even share for every worker: who has more open connections than the others leaves the next client to them.

Workers that share a listener are all woken by a client, and the fastest takes it. That is right for short
conversations, since a worker at work is not the fastest; but of clients that stay, one worker could gather most
(gunicorn #792, #2938). So each worker notes how many it has, in memory that all share, and one that has clearly more
than its share hesitates for a moment before it accepts. Nobody is lost by that: it does accept when no other has.
"""

import mmap

# Workers that can take part; a worker and its successor both do for a while.
_SEATS = 64

# Connections beyond the mean, and the share of the mean, below which nobody hesitates: short conversations come and go.
_MARGIN = 4
_SHARE = 1 / 8

# Seconds: what a woken process takes to be there, a few times over, and nothing that a client would notice.
HESITATION = 0.0005


class Evenness:
    """How many connections each worker has.

    Resource handling: a page of shared memory, until `close()` in each process.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SEATS * 4)
        self._counts = memoryview(self._memory).cast("i")  # 0 for a free seat, else one more than the connections

    def sit(self) -> int | None:
        """A free seat, for a worker that is about to be forked; None where there is none."""
        for seat, count in enumerate(self._counts):
            if not count:
                self._counts[seat] = 1
                return seat
        return None

    def rise(self, seat: int | None) -> None:
        """A worker accepts no more: its connections are not compared with any longer."""
        if seat is not None:
            self._counts[seat] = 0

    def hesitation(self, seat: int, connections: int) -> float:
        """Note how many a worker has.

        Returns:
            Seconds that it should leave the next client to the others; 0 where it has not more than they have.
        """
        if not self._counts[seat]:  # it has risen
            return 0.0
        self._counts[seat] = connections + 1
        counts = [count for count in self._counts.tolist() if count]
        mean = sum(counts) / len(counts) - 1
        return HESITATION if connections > mean * (1 + _SHARE) + _MARGIN else 0.0

    def close(self) -> None:
        """Give the memory back; the others keep it."""
        self._counts.release()
        self._memory.close()
