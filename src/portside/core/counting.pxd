"""The notes' type, for the other parts of the core."""

from libc.stdint cimport int64_t


cdef enum:
    BUCKETS = 32


cdef class Notes:
    cdef int64_t counts[BUCKETS]
    cdef double seconds
    cdef int64_t received
    cdef int64_t sent

    cdef void add(self, double seconds) noexcept
