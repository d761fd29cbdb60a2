# cython: binding=False
"""TLS as a layer of a stream: the stream receives and sends records, `ssl`'s OpenSSL makes and understands them.

OpenSSL works on memory (`ssl.MemoryBIO`) and never sees the descriptor. So a request and its answer take two system
calls, as without TLS: one receive takes whatever has come, one send brings away whatever was made. OpenSSL is asked to
read only when there is something to read, so that it seldom has to raise that there is not.

An idle connection holds its two memories, each as large as what was once in it: a record, 16 KiB, at most. While
OpenSSL works it lets other threads have the interpreter; one that wants the same connection waits for that moment.
"""

import ssl
from collections import deque

from cpython.buffer cimport PyBUF_READ, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBUF_WRITE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport EAGAIN, EINTR, errno
from libc.string cimport memcpy

from portside.core.hub cimport Hub, give_way, in_green, stand_back
from portside.core.stream cimport MUCH, Layer, Stream, payer
from portside.core.waiting import new_waiter


cdef extern from "<sched.h>" nogil:
    int sched_yield()


cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_send "send"(int fd, const void *data, size_t size, int flags)

    enum:
        MSG_NOSIGNAL
        MSG_PEEK


cdef extern from "Python.h":
    char *bytes_data "PyBytes_AS_STRING"(void *)
    object call_with "PyObject_Call"(object function, tuple arguments, void *options)


cdef enum:
    RECORD = 16384  # bytes that a record holds at most (RFC 8446, 5.1)
    HEADER = 5  # ... and of its header, whose last two are the length of what follows
    WIRE = 16896  # what one receive takes: a record, with all that may be around it
    CALL = 1024  # what a system call counts against a task's credit
    BULK = 8  # bytes that count as one where they are no short lines
    LINES = 4096  # who asks for no more than this at once reads lines
    FEW = 1024  # bytes whose copy costs less than a view of them
    UNREADY = -2  # what `decipher` returns where no whole record is there

cdef char wire[WIRE]

# Where records are deciphered to: one for all connections, borrowed for as long as nobody waits.
cdef bytearray _spare = bytearray(RECORD)

# The arguments with which OpenSSL was last asked to read into that: mostly they are the same.
cdef bytearray _first = _spare
cdef Py_ssize_t _asked = 0
cdef tuple _asking = ()

_WantRead = ssl.SSLWantReadError
_WantWrite = ssl.SSLWantWriteError


cdef bytearray borrow_room():
    global _spare
    cdef bytearray room = _spare
    _spare = None
    return bytearray(RECORD) if room is None else room


cdef int return_room(bytearray room) except -1:
    global _spare
    _spare = room
    return 0


cdef tuple asking(Py_ssize_t size, bytearray room):
    """The arguments of a read of `size` bytes into a room."""
    global _asked, _asking
    if room is not _first:
        return (size, room)
    if size != _asked:
        _asked = size
        _asking = (size, room)
    return _asking


include "sending.pxi"


cdef class Records(Sending):
    """One connection's TLS.

    Args:
        engine: `ssl`'s `_SSLSocket` over the two memories.
        incoming: a `ssl.MemoryBIO`, which OpenSSL reads from.
        outgoing: a `ssl.MemoryBIO`, which OpenSSL writes to.
        suppress: whether an end of the stream without a goodbye is an end like any other.

    Attributes:
        owes_handshake: the next read or write begins with the handshake.
        failure: what OpenSSL has complained of in what the peer sent, or None.
    """

    cdef object engine
    cdef object incoming
    cdef object feed, decipherer  # the methods of these that each message takes
    cdef bint suppress
    cdef public bint owes_handshake
    cdef readonly object failure
    cdef bint loaded  # OpenSSL may have something to give before more is received
    cdef bint alone  # ... which is what is left of one record
    cdef bint unsaid  # OpenSSL may have something to say that nobody has asked it to
    cdef bytes peeked  # what was deciphered for `pending`, or None
    cdef bint exact  # nothing is to be received beyond the record that OpenSSL waits for
    cdef unsigned char header[HEADER]  # of the record that is being received
    cdef Py_ssize_t headed  # bytes of it that have come
    cdef Py_ssize_t rest  # bytes of that record which have not

    def __cinit__(self, engine, incoming, outgoing, bint suppress):
        self.engine = engine
        self.incoming = incoming
        self.feed = incoming.write
        self.decipherer = engine.read
        self.suppress = suppress

    # -- a stream's layer --

    cdef Py_ssize_t receive(self, Stream stream, char *buffer, Py_ssize_t size, int flags) except -1:
        """As `Stream.receive`: what is in the records that have come."""
        cdef Py_ssize_t count
        cdef bytearray room
        if buffer == NULL or size > RECORD:
            size = RECORD
        room = self.next(stream, size, &count)
        if room is None:
            return 0
        if self.loaded and count < size:
            count = self.go_on(stream, room, count, size)
        if buffer == NULL:
            stream.make_room()
            buffer = bytes_data(stream.input) + stream.end
            stream.end += count
        memcpy(buffer, PyByteArray_AS_STRING(room), count)  # it may be every thread's: nobody else runs from here on
        return_room(room)
        return count

    cdef int send(self, Stream stream, const char *data, Py_ssize_t size, double by) except -1:
        """As `Stream.send_all`."""
        cdef Py_ssize_t left = size
        cdef Py_ssize_t piece
        if self.owes_handshake:
            self.shake(stream)
        self.begin_writing(stream)
        try:
            while left:
                piece = self.put(stream, data, left, &by)
                data += piece
                left -= piece
                if self.spend(stream, CALL + piece // BULK):
                    if size >= MUCH:
                        stand_back()
                    else:
                        give_way()
        finally:
            self.end_writing()
        return 0

    cdef bint is_idle(self) noexcept:
        """As `Layer.is_idle`."""
        return not (
            self.loaded
            or self.unsaid
            or self.owes_handshake
            or self.busy
            or self.writing
            or self.unsent is not None
            or self.peeked is not None
            or self.failure is not None
        )

    # -- reading --

    def read(self, Stream stream not None, Py_ssize_t size, buffer=None):
        """As `ssl.SSLSocket.read`."""
        cdef Py_ssize_t count
        cdef bytearray room
        if buffer is not None:
            return self.read_into(stream, size, buffer)
        if size < 0:
            raise ValueError("size should not be negative")
        room = self.next(stream, min(size, RECORD), &count) if size else None
        if room is None:
            return b""
        data = PyBytes_FromStringAndSize(PyByteArray_AS_STRING(room), count)
        return_room(room)
        return data

    cdef Py_ssize_t read_into(self, Stream stream, Py_ssize_t size, buffer) except -1:
        cdef Py_buffer view
        cdef Py_ssize_t count
        cdef bytearray room
        try:
            PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE | PyBUF_SIMPLE)
        except BufferError as error:
            raise TypeError(f"read() argument 2 must be read-write bytes-like object, not {type(buffer).__name__}") from error
        try:
            if size <= 0 or size > view.len:
                size = view.len
            room = self.next(stream, min(size, RECORD), &count) if size else None
            if room is None:
                return 0
            memcpy(view.buf, PyByteArray_AS_STRING(room), count)
            return_room(room)
            return count
        finally:
            PyBuffer_Release(&view)

    def pending(self, Stream stream not None):
        """As `ssl.SSLSocket.pending`; of what was received ahead, a record at least is counted."""
        cdef bytearray room
        cdef Py_ssize_t count
        if self.peeked is None and self.loaded and self.engine.pending() == 0:
            room = borrow_room()
            try:
                count = self.decipher(stream, room, 0, RECORD)
                if count > 0:
                    self.peeked = PyBytes_FromStringAndSize(PyByteArray_AS_STRING(room), count)
                    self.loaded = True
            except OSError as error:
                stream.broken = error
            return_room(room)
        return self.engine.pending() + (0 if self.peeked is None else PyBytes_GET_SIZE(self.peeked))

    cdef bytearray next(self, Stream stream, Py_ssize_t size, Py_ssize_t *count):
        """What comes next, at most `size` bytes of one record, in a borrowed room; None at the end of the stream."""
        cdef double by = -1
        cdef bytearray room
        if stream.broken is not None:
            stream.check()
        if stream.hub is not None and stream.hub.credit <= 0:
            give_way()
        if self.owes_handshake:
            self.shake(stream)
        while True:
            if self.loaded or self.more(stream, &by):
                room = borrow_room()
                count[0] = self.decipher(stream, room, 0, size)
                if count[0] > 0:
                    self.spend(stream, count[0] if size <= LINES else count[0] // BULK)
                    return room
                return_room(room)
                if count[0] == 0:
                    return None
            elif self.suppress:
                return None  # OpenSSL is not told: for it that is a failure, after which it would not write either
            else:
                self.incoming.write_eof()
                self.loaded = True

    cdef Py_ssize_t go_on(self, Stream stream, bytearray room, Py_ssize_t done, Py_ssize_t size) except -1:
        """Decipher what else has come, behind `done` bytes; returns how many there are.

        What goes wrong is told at the next read or write.
        """
        cdef Py_ssize_t count
        try:
            while self.loaded and done < size:
                count = self.decipher(stream, room, done, size)
                if count <= 0:
                    break
                done += count
        except OSError as error:
            stream.broken = error
        return done

    cdef Py_ssize_t decipher(self, Stream stream, bytearray room, Py_ssize_t start, Py_ssize_t end) except -1:
        """Have OpenSSL read into `room`; returns how many bytes, 0 at the end, UNREADY where no whole record is there."""
        cdef Py_ssize_t count, size = end - start
        cdef char *place = PyByteArray_AS_STRING(room) + start
        if self.peeked is not None:
            return self.take_peeked(place, size)
        self.enter()
        try:
            if start == 0:
                count = call_with(self.decipherer, asking(size, room), NULL)
            else:
                count = self.decipherer(size, PyMemoryView_FromMemory(place, size, PyBUF_WRITE))
        except _WantRead:
            self.loaded = False
            self.unsaid = True
            return UNREADY
        except OSError as error:
            self.busy = False
            self.failure = error
            self.part(stream)
            raise
        finally:
            self.busy = False
        if not self.alone:
            self.unsaid = True  # some of what came may have been no data
        if 0 < count < size and (self.alone or self.incoming.pending == 0):
            self.loaded = False
        return count

    cdef Py_ssize_t take_peeked(self, char *place, Py_ssize_t size):
        cdef bytes peeked = self.peeked
        cdef Py_ssize_t count = min(size, PyBytes_GET_SIZE(peeked))
        memcpy(place, PyBytes_AS_STRING(peeked), count)
        self.peeked = peeked[count:] if count < PyBytes_GET_SIZE(peeked) else None
        return count

    cdef int more(self, Stream stream, double *by) except -1:
        """Receive records, waiting for the first byte; 0 at the end of the stream."""
        cdef Py_ssize_t count, size = WIRE
        if not self.writing and (self.unsent is not None or self.unsaid):
            self.answer(stream, by)
        if self.exact or stream.patience == 0:  # a program that asks the kernel itself must find there what it has not read
            size = self.rest if self.rest else HEADER - self.headed
        try:
            count = stream.receive_raw(wire, size, 0, by)
        except TimeoutError:
            raise TimeoutError("The read operation timed out") from None
        except BlockingIOError:
            raise _WantRead(ssl.SSL_ERROR_WANT_READ, "The operation did not complete (read)") from None
        if count:
            self.feed(PyBytes_FromStringAndSize(wire, count))  # a copy, since `wire` is every thread's
            self.alone = self.follow(wire, count)
            self.loaded = True
        return count > 0

    cdef bint follow(self, const char *data, Py_ssize_t count) noexcept:
        """Keep account of where the record ends that is being received; True where it ends with `data`."""
        cdef Py_ssize_t step
        cdef int records = 0
        while count:
            if self.rest:
                step = min(count, self.rest)
                self.rest -= step
                records += self.rest == 0
            else:
                step = min(count, HEADER - self.headed)
                memcpy(self.header + self.headed, data, step)
                self.headed += step
                if self.headed == HEADER:
                    self.headed = 0
                    self.rest = (self.header[3] << 8) | self.header[4]
            data += step
            count -= step
        return records == 1 and self.rest == 0 and self.headed == 0

    # -- writing --

    def write(self, Stream stream not None, data):
        """As `ssl.SSLSocket.write`: all of `data`, or with a timeout of 0 a record of it; returns how many bytes."""
        cdef Py_buffer view
        cdef double by = -1
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            stream.check()
            stream.send_gathered()
            if stream.patience != 0:
                self.send(stream, <char *>view.buf, view.len, by)
                return view.len
            if self.owes_handshake:
                self.shake(stream)
            self.begin_writing(stream)
            try:
                return self.put(stream, <char *>view.buf, view.len, &by) if view.len else 0
            finally:
                self.end_writing()
        finally:
            PyBuffer_Release(&view)

    cdef int answer(self, Stream stream, double *by) except -1:
        """Send what OpenSSL has to say while it reads, such as that it has changed its keys too."""
        self.begin_writing(stream)
        self.unsaid = False
        try:
            self.push(stream, by)
        except ConnectionError:
            self.unsent = None  # nobody listens any more; there may still be something to be read
        finally:
            self.end_writing()
        return 0

    cdef int part(self, Stream stream) except -1:
        """Send why the connection failed, where that is possible at once."""
        if not self.writing:
            try:
                self.push(stream, NULL)
            except OSError:
                pass
        return 0

    # -- what takes both directions --

    def shake_hands(self, Stream stream not None):
        """As `ssl.SSLSocket.do_handshake`."""
        self.owes_handshake = True
        self.shake(stream)

    def unwrap(self, Stream stream not None):
        """Say goodbye, wait for the peer's, and leave the stream to what comes after TLS."""
        cdef bytes rest
        self.begin_writing(stream)
        self.exact = True
        try:
            self.carry_out(stream, "shutdown", self.engine.shutdown, False)
        finally:
            self.exact = False
            self.end_writing()
        rest = self.incoming.read()
        self.leave(stream)
        if rest:
            stream.layer = Remains(rest)
            stream.drained = False

    def say_goodbye(self, Stream stream not None):
        """Tell the peer that nothing more comes, where that is possible at once; its own goodbye is not waited for."""
        if self.writing or self.owes_handshake:
            return
        self.enter()
        try:
            self.engine.shutdown()
        except OSError:
            pass  # it has not heard the peer's, or nothing can be said any more
        finally:
            self.busy = False
        self.part(stream)

    def join(self, Stream stream not None):
        """Lie between the stream and its descriptor from now on."""
        stream.layer = self

    def leave(self, Stream stream not None):
        """Do that no more."""
        if stream.layer is self:
            stream.layer = None

    cdef int shake(self, Stream stream) except -1:
        """The handshake, unless another task has seen to it."""
        self.begin_writing(stream)
        try:
            if self.owes_handshake:
                self.carry_out(stream, "handshake", self.engine.do_handshake, True)
                self.owes_handshake = False
        finally:
            self.end_writing()
        return 0

    cdef object carry_out(self, Stream stream, str what, operation, bint may_wait):
        """Have OpenSSL do something; send and receive what it takes.

        What it says last `may_wait` where no peer waits for it: a server's tickets in TLS 1.3 (RFC 8446, 4.6.1) leave
        with what is written first. On their own they would cost a system call, and a client that says something and leaves
        without having read them would end the connection with a reset.
        """
        cdef double by = -1
        try:
            while not self.attempt(stream, operation):
                self.push(stream, &by)
                self.hear(stream, &by)
            self.loaded = self.incoming.pending > 0
            if may_wait and self.engine.server_side and self.engine.version() == "TLSv1.3":
                return
            try:
                self.push(stream, &by)
            except BrokenPipeError:
                self.unsent = None  # it is done, and the next read tells: a client may leave right after its handshake
        except TimeoutError:
            raise TimeoutError(f"The {what} operation timed out") from None

    cdef bint attempt(self, Stream stream, operation) except -1:
        """Have OpenSSL do it; False where it has to hear more from the peer."""
        self.enter()
        try:
            operation()
        except _WantRead:
            return False
        except OSError as error:
            self.busy = False
            self.failure = error
            try:
                self.push(stream, NULL)
            except OSError:
                pass
            raise
        finally:
            self.busy = False
        return True

    cdef int hear(self, Stream stream, double *by) except -1:
        """Receive what OpenSSL waits for, or tell it that there will be none."""
        if not self.more(stream, by):
            self.incoming.write_eof()
        return 0


include "remains.pxi"
