# cython: binding=False
"""Deadlines, all in one heap.

The hot path stores a time. A deadline that is put off again and again, as a connection's is with every byte, moves in
the heap only when its old time comes.
"""

cimport cython
from cpython.object cimport PyObject
from libc.math cimport INFINITY
from libc.stdlib cimport free, realloc

from portside.core.linux cimport monotonic


@cython.no_gc_clear
cdef class Deadline:
    """Something that falls due. Whoever derives from it takes it out of its timetable before it goes."""

    def __cinit__(self):
        self.at = INFINITY
        self.place = -1

    cdef int due(self) except -1:
        """Its time has come."""
        return 0


@cython.final
cdef class Timetable:
    """A heap of deadlines, the next one first."""

    def __dealloc__(self):
        free(self.heap)

    cdef int schedule(self, Deadline deadline, double at) except -1:
        """Have `deadline.due` called at a time; a later time than the present one is only noted."""
        deadline.at = at
        if deadline.place >= 0:
            if at < deadline.armed:
                deadline.armed = at
                self._rise(deadline.place)
            return 0
        if self.length == self.capacity:
            self._grow()
        deadline.armed = at
        self.heap[self.length] = <PyObject *>deadline
        deadline.place = self.length
        self.length += 1
        self._rise(deadline.place)
        return 0

    cdef int _grow(self) except -1:
        cdef Py_ssize_t capacity = max(64, 2 * self.capacity)
        cdef PyObject **grown = <PyObject **>realloc(self.heap, capacity * sizeof(PyObject *))
        if grown == NULL:
            raise MemoryError()
        self.heap = grown
        self.capacity = capacity
        return 0

    cdef void remove(self, Deadline deadline) noexcept:
        """Forget a deadline that is in here."""
        cdef Py_ssize_t place = deadline.place
        cdef Deadline last
        self.length -= 1
        deadline.place = -1
        deadline.at = INFINITY
        if place == self.length:
            return
        last = <Deadline>self.heap[self.length]
        self.heap[place] = <PyObject *>last
        last.place = place
        self._rise(place)
        self._sink(last.place)

    cdef int expire(self) except -1:
        """Call `due` of each whose time has come."""
        cdef double now = monotonic()
        cdef Deadline first
        while self.length and (<Deadline>self.heap[0]).armed <= now:
            first = <Deadline>self.heap[0]
            if first.at > now:  # put off since
                first.armed = first.at
                self._sink(0)
            else:
                self.remove(first)
                first.due()
        return 0

    cdef double first(self) noexcept:
        """When to look again; INFINITY without deadlines."""
        return (<Deadline>self.heap[0]).armed if self.length else INFINITY

    cdef void clear(self) noexcept:
        """Forget all."""
        while self.length:
            self.remove(<Deadline>self.heap[0])

    cdef void _rise(self, Py_ssize_t place) noexcept:
        cdef PyObject *moved = self.heap[place]
        cdef double at = (<Deadline>moved).armed
        cdef Py_ssize_t above
        while place > 0:
            above = (place - 1) >> 1
            if (<Deadline>self.heap[above]).armed <= at:
                break
            self.heap[place] = self.heap[above]
            (<Deadline>self.heap[place]).place = place
            place = above
        self.heap[place] = moved
        (<Deadline>moved).place = place

    cdef void _sink(self, Py_ssize_t place) noexcept:
        cdef PyObject *moved = self.heap[place]
        cdef double at = (<Deadline>moved).armed
        cdef Py_ssize_t below
        while True:
            below = 2 * place + 1
            if below >= self.length:
                break
            if below + 1 < self.length and (<Deadline>self.heap[below + 1]).armed < (<Deadline>self.heap[below]).armed:
                below += 1
            if at <= (<Deadline>self.heap[below]).armed:
                break
            self.heap[place] = self.heap[below]
            (<Deadline>self.heap[place]).place = place
            place = below
        self.heap[place] = moved
        (<Deadline>moved).place = place
