"""A stream's types, for the sockets."""

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from portside.core.hub cimport Channel, Hub


cdef enum:
    # Bytes that count as one against a task's credit. They count in full where they may be short lines, each of which takes
    # a handler its time; others only take their copy, which is thirty times as fast.
    BULK = 32
    # What one send offers at most, which is what a turn's credit is good for (`CREDIT` in hub.pyx): of who writes much to
    # a client that does not read, the kernel would take megabytes at once, and all others wait for the copy of them.
    SLICE = 131072
    # Who sends so much at once stands back behind those who have little to do. Short answers that have gathered are less.
    MUCH = 32768


cdef class Layer:
    cdef Py_ssize_t receive(self, Stream stream, char *buffer, Py_ssize_t size, int flags) except -1
    cdef int send(self, Stream stream, const char *data, Py_ssize_t size, double by) except -1
    cdef bint is_idle(self) noexcept


cdef class Stream(Channel):
    cdef Layer layer  # or None
    cdef uint64_t received  # bytes that were taken from the kernel
    cdef uint64_t sent  # bytes that were given to it
    cdef PyObject *input  # bytes that were received, owned; or NULL
    cdef Py_ssize_t start  # the first that was not read
    cdef Py_ssize_t end  # behind the last that was received
    cdef Py_ssize_t seen  # up to here there is no newline
    cdef Py_ssize_t longest  # bytes of a line that is given out whole; 0 for any number
    cdef Py_ssize_t expected  # bytes of the last line or read: how much to make room for
    cdef char *output  # what was written and not sent, or NULL
    cdef Py_ssize_t gathered
    cdef double gathered_at
    cdef bint carries  # descriptors may come along with the bytes: a Unix socket
    cdef object broken  # why sending what was gathered failed
    cdef bint uncounted  # bytes went by other ways, too
    cdef bint detached  # the descriptor is somebody else's now

    cdef Py_ssize_t receive(self, char *buffer, Py_ssize_t size, int flags) except -1
    cdef Py_ssize_t receive_raw(self, char *buffer, Py_ssize_t size, int flags, double *by) except -1
    cdef Py_ssize_t receive_carried(self, char *buffer, Py_ssize_t size, int flags) noexcept
    cdef Py_ssize_t fill(self) except -1
    cdef bytes take(self, Py_ssize_t count)
    cdef bytes read_line(self, Py_ssize_t limit)
    cdef bytes read_all(self)
    cdef bytes read_exactly(self, Py_ssize_t count)
    cdef Py_ssize_t read_into(self, char *buffer, Py_ssize_t size, bint whole) except -1
    cdef int send_all(self, const char *data, Py_ssize_t size, double by) except -1
    cdef int send_raw(self, const char *data, Py_ssize_t size, double by) except -1
    cdef int write(self, const char *data, Py_ssize_t size) except -1
    cdef int write_fleeting(self, const char *data, Py_ssize_t size) except -1
    cdef int gather(self, const char *data, Py_ssize_t size) except -1
    cdef int check(self) except -1
    cdef int fill_unless(self, bytes known) except -1
    cdef int await_input(self) except -1
    cdef int keep(self, const char *data, Py_ssize_t count) except -1
    cdef void drop(self) noexcept
    cdef int make_room(self) except -1
    cdef bytes read_long_line(self, Py_ssize_t limit)
    cdef Py_ssize_t most(self, Py_ssize_t limit) noexcept
    cdef int check_line(self, Py_ssize_t length, Py_ssize_t limit) except -1
    cdef int send_gathered(self) except -1


cdef Hub payer(Stream stream)


cdef class StreamFile:
    cdef object sock
    cdef Stream stream
    cdef readonly bint closed
    cdef object __weakref__

    cdef int _check(self) except -1


cdef class StreamWriter(StreamFile):
    cdef Py_ssize_t size
    cdef bytearray held

    cdef int _hold(self, Py_buffer *view) except -1
    cdef int _let_go(self) except -1
