"""What `portside.telemetry.notes` counts, in a few machine instructions: nothing is kept to be counted later.

No call of Python's is between reading a number and writing it, so no other thread is either: there is no lock.
"""

cimport cython
from libc.string cimport memcpy

from portside.telemetry.notes import BOUNDS, Noted


cdef double bounds[BUCKETS]
cdef int last = len(BOUNDS)
if last >= BUCKETS:
    raise ImportError(f"there are {last} bounds in portside.telemetry.notes, and room for {BUCKETS - 1} here")
for place, bound in enumerate(BOUNDS):
    bounds[place] = bound


@cython.final
cdef class Notes:
    """See `portside.telemetry.notes.Noting`."""

    cdef void add(self, double seconds) noexcept:
        """Note one duration."""
        cdef int place = 0
        while place < last and bounds[place] < seconds:
            place += 1
        self.counts[place] += 1
        self.seconds += seconds

    def note(self, double seconds=0.0, received=None, sent=None):
        """See `portside.telemetry.notes.Noting`."""
        cdef int64_t more_in, more_out
        if received is not None and sent is not None:
            more_in, more_out = received, sent
            self.received += more_in
            self.sent += more_out
        self.add(seconds)

    def once(self):
        """See `portside.telemetry.notes.Noting`."""
        self.counts[0] += 1

    def read(self):
        """See `portside.telemetry.notes.Noting`."""
        cdef int64_t counts[BUCKETS]
        cdef double seconds = self.seconds
        cdef int64_t received = self.received, sent = self.sent
        memcpy(counts, self.counts, sizeof(counts))
        return Noted([counts[place] for place in range(last + 1)], seconds, received, sent)
