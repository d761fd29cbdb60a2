"""Deadlines' types."""

from cpython.object cimport PyObject


cdef class Deadline:
    cdef double at  # when it falls due, on the monotonic clock; INFINITY for never
    cdef double armed  # when the timetable will look at it
    cdef Py_ssize_t place  # its index in the timetable, -1 outside

    cdef int due(self) except -1


cdef class Timetable:
    cdef PyObject **heap  # Deadlines, borrowed: each takes itself out before it goes
    cdef readonly Py_ssize_t length
    cdef Py_ssize_t capacity

    cdef int schedule(self, Deadline deadline, double at) except -1
    cdef void remove(self, Deadline deadline) noexcept
    cdef int expire(self) except -1
    cdef double first(self) noexcept
    cdef void clear(self) noexcept
    cdef int _grow(self) except -1
    cdef void _rise(self, Py_ssize_t place) noexcept
    cdef void _sink(self, Py_ssize_t place) noexcept
