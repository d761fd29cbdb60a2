# cython: binding=False
"""A connected stream: what was received and not read, what was written and not sent, and the two files over it.

Input is received into one buffer that all streams share, and kept in one of the stream's own only while it is unread:
an idle connection has no buffer. After a read that gave less than was asked for the kernel is not asked again before it
has told of more.

Output goes out at once when the handler has read all that its client sent. While there is unread input, writes gather,
so that a client that sends many requests in a row gets their answers in one segment; they leave when the input is used
up, when the handler waits for anything or returns, when 64 KiB are there, or at the first write after a millisecond.

Between a stream and its descriptor there may be a layer, which is TLS (records.pyx).
"""

import io
import os
import socket

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from cpython.object cimport PyObject
from cpython.pyport cimport PY_SSIZE_T_MAX
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.errno cimport EAGAIN, EBADF, EINTR, errno
from libc.math cimport INFINITY
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy, memmove

from portside.core.hub cimport Channel, Hub, give_way, hub_here, stand_back
from portside.core.linux cimport monotonic


cdef extern from *:
    """
    #include <sys/socket.h>

    /* recv(2) that notices whether something came along. On its own, or every wait would keep its message on the stack. */
    static __attribute__((noinline)) ssize_t
    portside_receive(int fd, void *buffer, size_t size, int flags, int *carried)
    {
        struct iovec part = {buffer, size};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
        ssize_t count = recvmsg(fd, &message, flags);
        *carried = count >= 0 && (message.msg_flags & MSG_CTRUNC);
        return count;
    }
    """
    ssize_t portside_receive(int fd, void *buffer, size_t size, int flags, int *carried)


cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_recv "recv"(int fd, void *buffer, size_t size, int flags)
    ssize_t c_send "send"(int fd, const void *data, size_t size, int flags)

    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL
        MSG_PEEK
        MSG_WAITALL


cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **bytes, Py_ssize_t size) except -1
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) except NULL
    char *bytes_data "PyBytes_AS_STRING"(PyObject *)
    Py_ssize_t bytes_size "PyBytes_GET_SIZE"(PyObject *)


# What one receive takes at most.
cdef enum:
    SCRATCH = 65536
    PIECE = 4096  # ... of short lines, which take a handler far longer than the copy

# A stream whose last line was longer receives straight into the bytes that the next one will be.
cdef Py_ssize_t DIRECT = 8192

# Gathered output leaves when there is this much of it.
cdef Py_ssize_t GATHER = 65536

# Gathered output leaves at the first write after so many seconds.
cdef double GATHER_SECONDS = 0.001

# What a system call counts against a task's credit beside the bytes that it moved.
cdef enum:
    CALL = 1024

cdef char scratch[SCRATCH]
cdef char *spare_output = NULL

_CLOSED = "I/O operation on closed file."


cdef char *borrow_output() except NULL:
    global spare_output
    cdef char *buffer = spare_output
    spare_output = NULL
    if buffer == NULL:
        buffer = <char *>malloc(GATHER)
        if buffer == NULL:
            raise MemoryError()
    return buffer


cdef void return_output(char *buffer) noexcept:
    global spare_output
    if spare_output == NULL:
        spare_output = buffer
    else:
        free(buffer)


cdef Hub payer(Stream stream):
    """The hub whose task pays for what it moves. A stream that has never waited knows none, as its client has made haste."""
    cdef Hub hub = stream.hub
    return hub_here() if hub is None else hub


cdef int pay(Stream stream, Py_ssize_t count) except -1:
    """Count what was sent against the task's credit; who has used it up lets the others have their turns."""
    cdef Hub hub = payer(stream)
    if hub is None:
        return 0
    hub.credit -= CALL + count // BULK
    if hub.credit > 0:
        return 0
    return stand_back() if count >= MUCH else give_way()


cdef class Layer:
    """What lies between a stream and its descriptor, such as TLS: the files over a stream are the same with and without."""

    cdef Py_ssize_t receive(self, Stream stream, char *buffer, Py_ssize_t size, int flags) except -1:
        """As `Stream.receive`."""
        raise NotImplementedError

    cdef int send(self, Stream stream, const char *data, Py_ssize_t size, double by) except -1:
        """As `Stream.send_all`."""
        raise NotImplementedError

    cdef bint is_idle(self) noexcept:
        """Whether nothing is to be read or said before something comes on the descriptor."""
        return False


@cython.final
@cython.no_gc_clear
cdef class Stream(Channel):
    """A descriptor of a connected stream socket, with its unread input and unsent output.

    Args:
        fd: the descriptor, non-blocking; it stays the caller's.
    """

    def __dealloc__(self):
        Py_XDECREF(self.input)
        if self.output != NULL:
            free(self.output)

    # -- input --

    cdef Py_ssize_t receive(self, char *buffer, Py_ssize_t size, int flags) except -1:
        """Receive at most `size` bytes, waiting for the first; 0 at the end of the stream.

        Without a buffer they go behind the unread input: where that is, is found out between the wait and the receive,
        as another task may read the same stream meanwhile.
        """
        cdef double by = -1
        if self.layer is not None:
            return self.layer.receive(self, buffer, size, flags)
        return self.receive_raw(buffer, size, flags, &by)

    cdef Py_ssize_t receive_raw(self, char *buffer, Py_ssize_t size, int flags, double *by) except -1:
        """The same from the descriptor; `by` is when it must be over, or negative until that is needed."""
        cdef Py_ssize_t count
        cdef bint inside = buffer == NULL
        cdef Hub hub = payer(self)
        if self.broken is not None:
            self.check()
        if hub is not None and hub.credit <= 0:
            give_way()
        while True:
            if not self.drained or self.patience == 0 or flags & MSG_DONTWAIT:
                if inside:
                    self.make_room()
                    buffer = bytes_data(self.input) + self.end
                    size = bytes_size(self.input) - self.end
                if self.carries:
                    count = self.receive_carried(buffer, size, flags)
                else:
                    count = c_recv(self.fd, buffer, size, flags)
                if count >= 0:
                    self.drained = count < size and not self.ended and not flags & MSG_PEEK
                    if not flags & MSG_PEEK:
                        self.received += count
                    if inside:
                        self.end += count
                    if hub is not None:
                        hub.credit -= CALL + (count if buffer == scratch else count // BULK)
                    return count
                if errno == EINTR:
                    PyErr_CheckSignals()
                    continue
                if errno != EAGAIN or self.patience == 0 or flags & MSG_DONTWAIT:
                    PyErr_SetFromErrno(OSError)
                    return -1
                self.drained = True
                if inside and self.start == self.end:
                    self.drop()
            if by[0] < 0:
                by[0] = self.deadline(False)
            if not self.wait(False, by[0]):
                raise TimeoutError("timed out")
            self.drained = False
            hub = self.hub

    cdef Py_ssize_t receive_carried(self, char *buffer, Py_ssize_t size, int flags) noexcept:
        """What recv(2) returns, and errno, of a stream that may carry descriptors."""
        cdef int carried = 0
        cdef Py_ssize_t count = portside_receive(self.fd, buffer, size, flags, &carried)
        if carried:
            self.ended = True  # descriptors came along, which end a receive: less than was asked for means nothing now
        return count

    cdef int fill_unless(self, bytes known) except -1:
        """The same where nothing is unread, unless `known` comes, and nothing else: then that is read already.

        Returns:
            0 at the end of the stream, 1 when it was `known`, else 2.
        """
        cdef Py_ssize_t count
        if self.expected >= DIRECT:
            return 2 if self.fill() else 0
        count = self.receive(scratch, PIECE, 0)
        if count == 0:
            return 0
        if known is not None and count == PyBytes_GET_SIZE(known) and self.start == self.end:
            if memcmp(scratch, PyBytes_AS_STRING(known), count) == 0:
                return 1
        self.keep(scratch, count)
        return 2

    cdef int await_input(self) except -1:
        """Wait while the kernel is known to have nothing, so that an idle stream holds no buffer."""
        if self.drained and self.patience != 0:
            if not self.wait(False, self.deadline(False)):
                raise TimeoutError("timed out")
            self.drained = False
        return 0

    cdef Py_ssize_t fill(self) except -1:
        """Receive more input behind what is unread; 0 at the end of the stream."""
        cdef Py_ssize_t count
        if self.expected < DIRECT:
            count = self.receive(scratch, PIECE, 0)
            if count:
                self.keep(scratch, count)
            return count
        count = self.receive(NULL, 0, 0)
        if self.start == self.end:
            self.drop()
        return count

    cdef int keep(self, const char *data, Py_ssize_t count) except -1:
        """Put `data` behind the unread input: the beginning of a short line, or what another task has read meanwhile."""
        cdef Py_ssize_t unread = self.end - self.start
        cdef Py_ssize_t seen = max(0, self.seen - self.start)
        cdef PyObject *joined = new_bytes(NULL, unread + count)
        if unread:
            memcpy(bytes_data(joined), bytes_data(self.input) + self.start, unread)
        memcpy(bytes_data(joined) + unread, data, count)
        self.drop()
        self.input = joined
        self.end = unread + count
        self.seen = seen
        return 0

    cdef void drop(self) noexcept:
        """Let go of the buffer: all of it was read."""
        Py_XDECREF(self.input)
        self.input = NULL
        self.start = self.end = self.seen = 0

    cdef int make_room(self) except -1:
        """Have at least half a receive's room behind the unread input, and as much as it may be going to need."""
        cdef Py_ssize_t unread = self.end - self.start
        cdef Py_ssize_t room = max(self.expected + 4096 - unread, max(unread, SCRATCH // 2))
        cdef PyObject *grown
        if self.input != NULL and bytes_size(self.input) - self.end >= SCRATCH // 2:
            return 0
        if self.input != NULL and self.start == 0:
            try:
                _PyBytes_Resize(&self.input, self.end + room)
            except MemoryError:  # the bytes are gone
                self.drop()
                raise
            return 0
        grown = new_bytes(NULL, unread + room)
        if unread:
            memcpy(bytes_data(grown), bytes_data(self.input) + self.start, unread)
        Py_XDECREF(self.input)
        self.input = grown
        self.seen = max(0, self.seen - self.start)
        self.start = 0
        self.end = unread
        return 0

    cdef bytes take(self, Py_ssize_t count):
        """The first `count` bytes of the unread input."""
        cdef PyObject *whole
        cdef bytes taken
        if count == self.end - self.start:
            if self.start == 0 and count:
                whole, self.input = self.input, NULL
                if bytes_size(whole) != count:
                    _PyBytes_Resize(&whole, count)
                taken = <bytes>whole
                Py_DECREF(taken)
            else:
                taken = PyBytes_FromStringAndSize(bytes_data(self.input) + self.start if count else NULL, count)
            self.drop()
        else:
            taken = PyBytes_FromStringAndSize(bytes_data(self.input) + self.start, count)
            self.start += count
            if self.seen < self.start:
                self.seen = self.start
        return taken

    cdef bytes read_line(self, Py_ssize_t limit):
        """A line with its newline, or `limit` bytes (negative: no limit), or what is left; b"" at the end."""
        cdef Py_ssize_t count, length
        cdef const char *newline
        cdef bytes line
        if self.start == self.end and self.expected < DIRECT and limit != 0:
            count = self.receive(scratch, PIECE, 0)
            if count == 0:
                return b""
            newline = <const char *>memchr(scratch, 10, count)
            length = newline - scratch + 1
            if newline != NULL and length <= self.most(limit) and self.start == self.end:
                line = PyBytes_FromStringAndSize(scratch, length)
                if length < count:
                    self.keep(scratch + length, count - length)
                return line
            self.keep(scratch, count)
        return self.read_long_line(limit)

    cdef Py_ssize_t most(self, Py_ssize_t limit) noexcept:
        """Bytes of the longest line that a read with that limit gives out."""
        if limit >= 0:
            return limit
        return self.longest if self.longest else PY_SSIZE_T_MAX

    cdef int check_line(self, Py_ssize_t length, Py_ssize_t limit) except -1:
        """Raise where a line is already longer than what is given out whole, and nobody asked for a piece of it."""
        if limit < 0 and 0 < self.longest < length:
            from portside.framing import FrameTooLong

            raise FrameTooLong(self.longest)
        return 0

    cdef bytes read_long_line(self, Py_ssize_t limit):
        """The same, for a line that is in the buffer already, or in pieces."""
        cdef const char *data
        cdef const char *newline
        cdef Py_ssize_t length
        while True:
            if self.seen < self.end:
                data = bytes_data(self.input)
                newline = <const char *>memchr(data + self.seen, 10, self.end - self.seen)
                if newline != NULL:
                    length = newline - data + 1 - self.start
                    self.check_line(length, limit)
                    if limit < 0 or length <= limit:
                        self.expected = length
                        return self.take(length)
                    self.seen = newline - data  # where the next one who looks finds it
                else:
                    self.seen = self.end
            length = self.end - self.start
            if 0 <= limit <= length:
                return self.take(limit)
            self.check_line(length, limit)
            if length > self.expected:
                self.expected = length
            if self.fill() == 0:
                return self.take(self.end - self.start)

    cdef bytes read_all(self):
        """Everything until the end of the stream."""
        while self.fill():
            self.expected = self.end - self.start
        return self.take(self.end - self.start)

    cdef bytes read_exactly(self, Py_ssize_t count):
        """`count` bytes, fewer only at the end of the stream."""
        while self.end - self.start < count:
            self.expected = min(count, 4 * (self.end - self.start) + SCRATCH)
            if self.fill() == 0:
                return self.take(self.end - self.start)
        return self.take(count)

    cdef Py_ssize_t read_into(self, char *buffer, Py_ssize_t size, bint whole) except -1:
        """Fill `buffer` with what is unread, and with `whole` wait for the rest; returns how many bytes there are."""
        cdef Py_ssize_t done = min(size, self.end - self.start)
        cdef Py_ssize_t count
        if done:
            memcpy(buffer, bytes_data(self.input) + self.start, done)
            self.start += done
            self.seen = max(self.seen, self.start)
            if self.start == self.end:
                self.drop()
        try:
            while done < size and (whole or done == 0):
                count = self.receive(buffer + done, size - done, 0)
                if count == 0:
                    break
                done += count
        except BaseException:
            if done:
                self.keep(buffer, done)  # nobody learns how much there is: it is for the next read
            raise
        return done

    # -- output --

    cdef int check(self) except -1:
        """Raise what went wrong when gathered output was sent behind the handler's back."""
        if self.broken is not None:
            error, self.broken = self.broken, None
            raise error
        return 0

    cdef int send_all(self, const char *data, Py_ssize_t size, double by) except -1:
        """Send all of `data`; `by` is when it must be done, or negative to find out when it is needed."""
        if self.layer is not None:
            return self.layer.send(self, data, size, by)
        return self.send_raw(data, size, by)

    cdef int send_raw(self, const char *data, Py_ssize_t size, double by) except -1:
        """The same to the descriptor."""
        cdef Py_ssize_t count, piece
        while True:
            piece = min(size, SLICE)
            count = c_send(self.fd, data, piece, MSG_NOSIGNAL)
            if count > 0:
                self.sent += count
            if count == piece:
                if count < size and by < 0:
                    by = self.deadline(True)  # the others' turns count, too
                pay(self, count)
                if count == size:
                    return 0
                data += count
                size -= count
                continue
            if count < 0:
                if errno == EINTR:
                    PyErr_CheckSignals()
                    continue
                if errno != EAGAIN or self.patience == 0:
                    PyErr_SetFromErrno(OSError)
                    return -1
                count = 0
            data += count
            size -= count
            if count and self.patience == 0:
                continue  # it is the kernel that says that there is no room
            self.stuffed = True
            if by < 0:
                by = self.deadline(True)
            if not self.wait(True, by):
                raise TimeoutError("timed out")

    cdef int write(self, const char *data, Py_ssize_t size) except -1:
        """Send `data`, or gather it: see the rule at the top."""
        if self.gathered == 0 and self.start == self.end:
            if self.broken is not None:
                self.check()
            return self.send_all(data, size, -1) if size else 0
        return self.gather(data, size)

    cdef int write_fleeting(self, const char *data, Py_ssize_t size) except -1:
        """The same for data that lasts only until another task has a turn."""
        cdef Py_ssize_t count = 0
        cdef bytes rest
        if self.layer is None and self.gathered == 0 and self.start == self.end and self.broken is None:
            count = c_send(self.fd, data, size, MSG_NOSIGNAL)
            if count > 0:
                self.sent += count
            if count == size:
                pay(self, count)
                return 0
            count = max(count, 0)  # what went wrong, the next try tells
        rest = PyBytes_FromStringAndSize(data + count, size - count)
        return self.write(PyBytes_AS_STRING(rest), PyBytes_GET_SIZE(rest))

    cdef int gather(self, const char *data, Py_ssize_t size) except -1:
        cdef Hub hub = hub_here()
        self.check()
        if hub is None or not hub.is_green() or self.gathered + size > GATHER:
            self.send_gathered()
            return self.send_all(data, size, -1)
        if self.gathered == 0:
            self.output = borrow_output()
            self.gathered_at = monotonic()
            if not self.dirty:
                self.dirty = True
                self.dirtier = hub.dirty
                hub.dirty = self
        memcpy(self.output + self.gathered, data, size)
        self.gathered += size
        if self.start == self.end or monotonic() - self.gathered_at >= GATHER_SECONDS:
            self.send_gathered()
        return 0

    cdef int send_gathered(self) except -1:
        """Send what was gathered."""
        cdef char *output = self.output
        cdef Py_ssize_t size = self.gathered
        if size == 0:
            return 0
        self.output = NULL
        self.gathered = 0
        try:
            self.send_all(output, size, -1)
        finally:
            return_output(output)
        return 0

    cdef int flush(self) except -1:
        """Send what was gathered, because something is going to wait; what goes wrong is told at the next read or write."""
        if self.gathered:
            try:
                self.send_gathered()
            except OSError as error:
                self.broken = error
        return 0


include "files.pxi"
