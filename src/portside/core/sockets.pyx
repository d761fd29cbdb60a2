"""Sockets that wait in the hub: `socket.socket` with the same results and the same exceptions.

The descriptor is non-blocking for good. What a program says with `settimeout()` and `setblocking()` is kept beside it,
and honoured by waiting: in the hub when a task asks, in poll(2) when a plain thread does.
"""

import _socket
import operator
import os
import socket
import sys

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from cpython.object cimport PyObject
from libc.errno cimport EAGAIN, EALREADY, EBADF, EINPROGRESS, EINTR, EINVAL, EISCONN, errno
from libc.math cimport INFINITY

from portside.core.counting cimport Notes
from portside.core.datagrams cimport Datagrams, address_of, sockaddr, sockaddr_storage, socklen_t
from portside.core.hub cimport Channel, Hub, hub_here, in_green
from portside.core.linux cimport monotonic
from portside.core.stream cimport BULK, MUCH, SLICE, Stream
from portside.core.hub import sleep
from portside.core.stream import StreamReader, StreamWriter


cdef extern from "<sys/socket.h>" nogil:
    int accept4(int fd, sockaddr *address, socklen_t *length, int flags)
    ssize_t c_recv "recv"(int fd, void *buffer, size_t size, int flags)
    ssize_t c_send "send"(int fd, const void *data, size_t size, int flags)

    enum:
        SOCK_NONBLOCK
        SOCK_CLOEXEC
        SOCK_STREAM
        SOCK_DGRAM
        AF_INET
        AF_INET6
        AF_UNIX
        MSG_DONTWAIT
        MSG_ERRQUEUE
        MSG_NOSIGNAL
        MSG_PEEK
        MSG_WAITALL


cdef object _base = _socket.socket
cdef object _init = _socket.socket.__init__
cdef object _family_of = _socket.socket.family.__get__
cdef object _type_of = _socket.socket.type.__get__
cdef object _proto_of = _socket.socket.proto.__get__
cdef object _default_timeout = _socket.getdefaulttimeout
cdef object _shutdown = _socket.socket.shutdown
cdef object _close = _socket.socket.close
cdef object _send = _socket.socket.send

# The protocols whose streams are nothing but bytes; the second is younger than some systems' headers.
cdef enum:
    TCP = 6
    MPTCP = 262

# What settimeout() takes at most: the seconds that fit into 64 bits of nanoseconds.
cdef double LONGEST = 9223372036.0

# What `_connect` returns when its time is over.
cdef enum:
    TIMED_OUT = -1

# A Unix listener whose queue is full is asked again after so many seconds at first, and at last: nothing tells of room.
cdef double KNOCK_SECONDS = 0.001
cdef double LONGEST_KNOCK_SECONDS = 0.05

# What a call through `socket.socket` counts against a task's credit.
cdef Py_ssize_t CALL = 2048

# True once `ssl` makes green sockets of green ones: see `portside.core.tls`.
cdef bint _tls_is_green = False

# Bytes that one sendfile(2) may move before the others get a turn.
_SENDFILE_PIECE = 1 << 20


cdef object _NO_ADDRESS = object()
cdef object _UNKNOWN = (None, None)


class GreenSocket(socket.socket):
    """A socket that waits in the hub; see `socket.socket` for everything.

    In a task, waiting gives the other tasks a turn; in any other thread it blocks, as ever.

    Attributes:
        accepts_at_once: `accept` raises BlockingIOError where nobody is at the door, whatever the timeout says.
        writes_whole: files from `makefile("wb", 0)` send all of what they are given.
    """

    writes_whole = True

    __slots__ = ("_channel", "accepts_at_once", "_visitor")

    def __init__(self, family=-1, type=-1, proto=-1, fileno=None):
        if not _tls_is_green:
            _make_tls_green()
        super().__init__(family, type, proto, fileno)
        timeout = _base.gettimeout(self)  # the default one, or 0 with SOCK_NONBLOCK
        _base.setblocking(self, False)
        self._channel = _channel_of(self)
        if fileno is not None and isinstance(self._channel, Stream):
            (<Stream>self._channel).uncounted = True  # what went before, others know
        self.accepts_at_once = False
        self._visitor = None
        if timeout is not None:
            self.settimeout(timeout)

    # -- time --

    def settimeout(self, value):
        """Seconds that an operation may take: None for ever, 0 not at all."""
        cdef Channel channel = self._channel
        if value is not None:
            value = value if isinstance(value, float) else float(operator.index(value))
            if value != value:
                raise ValueError("Invalid value NaN (not a number)")
            if value < 0.0:
                raise ValueError("Timeout value out of range")
            if value > LONGEST:
                raise OverflowError("timestamp too large to convert to C PyTime_t")
        channel.patience = -1 if value is None else value

    def gettimeout(self):
        """What `settimeout` said."""
        cdef Channel channel = self._channel
        return None if channel.patience < 0 else channel.patience

    timeout = property(gettimeout)

    def setblocking(self, flag):
        """True is `settimeout(None)`, False is `settimeout(0)`."""
        self.settimeout(None if flag else 0.0)

    def getblocking(self):
        """False when no operation waits."""
        return (<Channel>self._channel).patience != 0

    def set_deadlines(self, *, idle=None, write=None, total=None):
        """Deadlines beside `settimeout`'s, for the rest of the connection's life.

        Args:
            idle: seconds that a read may wait for the peer; None for ever.
            write: seconds for which the peer may take nothing; None for ever.
            total: seconds from now after which every operation that would have to wait raises TimeoutError.
        """
        cdef Channel channel = self._channel
        channel.idle = -1 if idle is None else idle
        channel.stall = -1 if write is None else write
        channel.limit = INFINITY if total is None else monotonic() + total

    def bound_waits(self, double idle, double write):
        """`set_deadlines(idle=idle, write=write)` at the least cost, with a negative number for ever."""
        cdef Channel channel = self._channel
        channel.idle = idle
        channel.stall = write
        channel.limit = INFINITY

    def _follow(self, other):
        """Take over the deadlines of a socket whose connection this one goes on with."""
        cdef Channel channel = self._channel
        cdef Channel followed = other._channel
        channel.idle = followed.idle
        channel.stall = followed.stall
        channel.limit = followed.limit
        if isinstance(channel, Stream) and isinstance(followed, Stream):
            (<Stream>channel).received += (<Stream>followed).received
            (<Stream>channel).sent += (<Stream>followed).sent
            (<Stream>channel).uncounted = (<Stream>followed).uncounted

    @property
    def moved(self):
        """Bytes received and sent by this object's methods, closed or not; None where there are others' ways, too.

        Those of a Unix connection are unknown, as the kernel does not tell of them to anybody else either.
        """
        cdef Stream stream
        if not isinstance(self._channel, Stream):
            return None
        stream = self._channel
        if stream.uncounted or stream.detached:
            return None
        return _UNKNOWN if stream.carries else (stream.received, stream.sent)

    def tell_moved(self, notes, double since):
        """Note the bytes that `moved` tells, and the seconds since then; False, and nothing, where there are none."""
        cdef Stream stream
        if type(notes) is not Notes or not isinstance(self._channel, Stream):
            return False
        stream = self._channel
        if stream.uncounted or stream.detached or stream.carries:
            return False
        (<Notes>notes).received += stream.received
        (<Notes>notes).sent += stream.sent
        (<Notes>notes).add(monotonic() - since)
        return True

    @property
    def has_deadline(self):
        """True when some operation may time out; where only writes may, when the peer has taken nothing of one."""
        cdef Channel channel = self._channel
        if channel.patience >= 0 or channel.idle >= 0 or channel.limit != INFINITY:
            return True
        return channel.stall >= 0 and bool(channel.stuffed)

    @property
    def stalled(self):
        """True when what has timed out is a wait for the peer to take something, and the server's limit, not a timeout."""
        cdef Channel channel = self._channel
        return channel.stall >= 0 and channel.patience < 0 and bool(channel.stuffed)

    # -- connections --

    def accept(self):
        """Wait for a client; returns its socket and its address."""
        cdef Channel channel = self._channel
        cdef double by = -1
        while True:
            visitor, self._visitor = self._visitor or _visitor_of(channel), None
            if type(visitor) is tuple:
                return _accepted(self, visitor[0]), visitor[1]
            if visitor != EAGAIN or channel.patience == 0 or self.accepts_at_once:
                raise OSError(visitor, os.strerror(visitor))
            if by < 0:
                by = channel.deadline(False)
            if not channel.wait(False, by):
                raise TimeoutError("timed out")

    def knock(self):
        """Look whether `accept` or `recvfrom` has something to give, or to raise, without waiting; they give that."""
        channel = self._channel
        if isinstance(channel, Datagrams):
            return (<Datagrams>channel).collect() > 0
        if self._visitor is None:
            visitor = _visitor_of(channel)
            if visitor == EAGAIN:
                return False
            self._visitor = visitor
        return True

    def each_arrival(self, limit, tell_cut):
        """The datagrams at hand, see `portside.core.datagrams.Datagrams.each`."""
        return self._channel.each(limit, tell_cut)

    def tell_unsent(self, tell):
        """Have `tell(address, error)` called for each gathered datagram that could not be sent."""
        channel = self._channel
        if isinstance(channel, Datagrams):
            (<Datagrams>channel).on_unsent = tell

    @property
    def is_datagram(self):
        """True for a socket that receives in batches."""
        return isinstance(self._channel, Datagrams)

    def await_knock(self, timeout=None):
        """Wait until `knock` may say yes, at most `timeout` seconds, or until somebody wakes the task."""
        cdef Channel channel = self._channel
        if self._visitor is None:
            channel.wait(False, INFINITY if timeout is None else monotonic() + timeout)

    def connect(self, address):
        """Connect to `address`; a host name is looked up in a thread."""
        error = _connect(self, address)
        if error == TIMED_OUT:
            raise TimeoutError("timed out")
        if error:
            raise OSError(error, os.strerror(error))

    def connect_ex(self, address):
        """The same, returning an errno instead of raising an OSError from the connection."""
        error = _connect(self, address)
        return EAGAIN if error == TIMED_OUT else error

    def shutdown(self, how):
        """Shut one or both halves of the connection, after what was written has left."""
        _flush(self)
        _shutdown(self, how)

    # These two are `socket.socket`'s, compiled: each connection calls them three times.

    def close(self):
        """Close the socket, once its last file is closed."""
        self._closed = True
        if self._io_refs <= 0:
            self._real_close()

    def _decref_socketios(self):
        if self._io_refs > 0:
            self._io_refs -= 1
        if self._closed:
            self.close()

    def _real_close(self, _ss=_socket.socket):
        cdef Channel channel = self._channel
        try:
            if not channel.closed:
                _flush(self)
        except OSError:
            pass
        finally:
            channel.close()
            if type(self._visitor) is tuple:
                os.close(self._visitor[0])
                self._visitor = None
            _close(self)

    def detach(self):
        """Let go of the descriptor, which blocks again unless it was not to; returns it."""
        cdef Channel channel = self._channel
        _flush(self)
        if isinstance(channel, Stream):
            (<Stream>channel).detached = True
        channel.close()
        self._closed = True
        fd = _base.detach(self)
        if fd >= 0 and channel.patience != 0:
            os.set_blocking(fd, True)
        return fd

    # -- receiving --

    def recv(self, Py_ssize_t bufsize, int flags=0):
        """At most `bufsize` bytes; b"" at the end of the stream."""
        cdef Py_ssize_t count
        cdef bytes data
        if not isinstance(self._channel, Stream) or flags & ~(MSG_PEEK | MSG_DONTWAIT):
            return self._recv(bufsize, flags)
        if bufsize < 0:
            raise ValueError("negative buffersize in recv")
        if bufsize == 0:
            return b""
        cdef Stream stream = self._channel
        if not flags & MSG_DONTWAIT:
            stream.await_input()
        data = PyBytes_FromStringAndSize(NULL, bufsize)
        count = stream.receive(PyBytes_AS_STRING(data), bufsize, flags)
        return data if count == bufsize else _shrunk(data, count)

    def _recv(self, Py_ssize_t bufsize, int flags):
        if _batched(self, bufsize):
            return _from_batch(self, bufsize, flags)[0]
        if flags & MSG_WAITALL and bufsize > 0 and isinstance(self._channel, Stream):
            data = bytearray(bufsize)
            count = _received_whole(self, data, flags)
            return bytes(memoryview(data)[:count])
        return _retried(self, False, flags, _base.recv, bufsize, flags)

    def recv_into(self, buffer, Py_ssize_t nbytes=0, int flags=0):
        """Receive into a buffer; returns the number of bytes."""
        cdef Py_buffer view
        if not isinstance(self._channel, Stream) or flags & ~(MSG_PEEK | MSG_DONTWAIT):
            return self._recv_into(buffer, nbytes, flags)
        cdef Stream stream = self._channel
        try:
            PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE | PyBUF_SIMPLE)
        except (BufferError, TypeError):
            return _base.recv_into(self, buffer, nbytes, flags)  # it says so in its own words
        try:
            if nbytes < 0:
                raise ValueError("negative buffersize in recv_into")
            if nbytes > view.len:
                raise ValueError("buffer too small for requested bytes")
            return stream.receive(<char *>view.buf, nbytes or view.len, flags) if view.len else 0
        finally:
            PyBuffer_Release(&view)

    def _recv_into(self, buffer, Py_ssize_t nbytes, int flags):
        if _batched(self, nbytes):
            return _into(buffer, nbytes, _from_batch(self, nbytes or memoryview(buffer).nbytes, flags)[0])
        if flags & MSG_WAITALL and isinstance(self._channel, Stream) and 0 <= nbytes <= memoryview(buffer).nbytes:
            return _received_whole(self, memoryview(buffer).cast("B")[: nbytes or None], flags)
        return _retried(self, False, flags, _base.recv_into, buffer, nbytes, flags)

    def recvfrom(self, bufsize, flags=0):
        """Data and the sender's address."""
        if _batched(self, bufsize):
            return _from_batch(self, bufsize, flags)
        if flags & MSG_WAITALL and isinstance(self._channel, Stream):
            return self.recv(bufsize, flags), None
        return _retried(self, False, flags, _base.recvfrom, bufsize, flags)

    def recvfrom_into(self, buffer, nbytes=0, flags=0):
        """The number of bytes and the sender's address."""
        if _batched(self, nbytes):
            data, address = _from_batch(self, nbytes or memoryview(buffer).nbytes, flags)
            return _into(buffer, nbytes, data), address
        if flags & MSG_WAITALL and isinstance(self._channel, Stream):
            return self.recv_into(buffer, nbytes, flags), None
        return _retried(self, False, flags, _base.recvfrom_into, buffer, nbytes, flags)

    def recvmsg(self, bufsize, ancbufsize=0, flags=0):
        """Data, ancillary data, flags and address."""
        return _retried(self, False, flags, _base.recvmsg, bufsize, ancbufsize, flags)

    def recvmsg_into(self, buffers, ancbufsize=0, flags=0):
        """The same, into buffers."""
        return _retried(self, False, flags, _base.recvmsg_into, _again(buffers), ancbufsize, flags)

    # -- sending --

    def send(self, data, flags=0):
        """Send some of `data`; returns how many bytes."""
        _flush(self)
        if not isinstance(self._channel, Stream):
            return _retried(self, True, flags, _send, data, flags)
        count = _retried(self, True, flags, _send_slice, data, flags)
        (<Stream>self._channel).sent += <Py_ssize_t>count
        _spend(count // BULK, count)
        return count

    def sendall(self, data, int flags=0):
        """Send all of `data`; a timeout is for all of it."""
        cdef Py_buffer view
        cdef Stream stream
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            _flush(self)
            if isinstance(self._channel, Stream) and flags == 0:
                stream = self._channel
                stream.send_all(<char *>view.buf, view.len, -1)
            else:
                _send_pieces(self._channel, <char *>view.buf, view.len, flags)
        finally:
            PyBuffer_Release(&view)

    def sendto(self, data, flags_or_address, address=_NO_ADDRESS, /):
        """Send to an address: `sendto(data, address)` or `sendto(data, flags, address)`.

        Between two looks of a server at its socket, answers to the senders of one batch gather and leave together.
        """
        cdef int place
        channel = self._channel
        if address is _NO_ADDRESS:
            if type(channel) is Datagrams and type(data) is bytes:
                place = (<Datagrams>channel).sender_place(flags_or_address)
                if place >= 0 and (<Datagrams>channel).gather(data, place):
                    return PyBytes_GET_SIZE(data)
            _flush(self)
            return _retried(self, True, 0, _base.sendto, data, flags_or_address)
        _flush(self)
        return _retried(self, True, flags_or_address, _base.sendto, data, flags_or_address, address)

    def sendmsg(self, buffers, ancdata=(), flags=0, address=None):
        """Send several buffers and ancillary data; returns how many bytes."""
        _flush(self)
        return _retried(self, True, flags, _base.sendmsg, _again(buffers), _again(ancdata), flags, address)

    def sendfile(self, file, offset=0, count=None, *, span=INFINITY):
        """Send a file until its end, or `count` bytes of it, by sendfile(2) where it can; returns how many bytes.

        A timeout is for each `span` bytes.
        """
        self._check_sendfile_params(file, offset, count)
        try:
            fileno = file.fileno()
            size = os.fstat(fileno).st_size
        except (AttributeError, OSError):  # no regular file
            return self._sendfile_use_send(file, offset, count)
        if self.gettimeout() == 0:
            raise ValueError("non-blocking sockets are not supported")
        _flush(self)
        return _send_file(self, file, fileno, offset, count, span)

    # -- files --

    def makefile(self, mode="r", buffering=None, *, encoding=None, errors=None, newline=None):
        """A file over the connection. Binary ones for one direction are compiled, see `portside.core.stream`."""
        if isinstance(self._channel, Stream) and mode in ("rb", "wb") and (buffering != 0 or mode == "wb"):
            self._io_refs += 1
            if mode == "rb":
                return StreamReader(self, self._channel)
            return StreamWriter(self, self._channel, 8192 if buffering is None or buffering < 0 else buffering)
        return super().makefile(mode, buffering, encoding=encoding, errors=errors, newline=newline)


cdef int _make_tls_green() except -1:
    """Once somebody has imported `ssl`, which costs 5 MB, have it wait in the hub for green sockets."""
    global _tls_is_green
    if "ssl" in sys.modules:
        from portside.core import tls

        _tls_is_green = True
        tls.install()
    return 0


cdef object _channel_of(sock):
    return _new_channel(_family_of(sock), _type_of(sock), _proto_of(sock), _base.fileno(sock))


cdef object _new_channel(int family, int kind, int proto, int fd):
    cdef Stream stream
    if kind != SOCK_STREAM:
        return (Datagrams if kind == SOCK_DGRAM else Channel)(fd)
    stream = Stream(fd)
    stream.carries = family == AF_UNIX
    if family in (AF_INET, AF_INET6):
        stream.ended = proto not in (0, TCP, MPTCP)  # others keep the bounds of messages, as SCTP does
    else:
        stream.ended = family != AF_UNIX
    return stream


cdef object _visitor_of(Channel channel):
    """A new client's descriptor and address; or the errno why there is none."""
    cdef sockaddr_storage address
    cdef socklen_t length
    cdef int fd
    while True:
        length = sizeof(address)
        fd = accept4(channel.fd, <sockaddr *>&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd >= 0:
            return fd, _peer(&address, length, fd)
        if errno == EINTR:
            PyErr_CheckSignals()
            continue
        channel.drained = errno == EAGAIN
        return errno


cdef object _accepted(listener, int fd):
    cdef int family = _family_of(listener)
    cdef int kind = _type_of(listener)
    cdef int proto = _proto_of(listener)
    sock = GreenSocket.__new__(GreenSocket)
    _init(sock, family, kind | SOCK_NONBLOCK, proto, fd)
    sock._io_refs = 0
    sock._closed = False
    sock._channel = _new_channel(family, kind, proto, fd)
    sock.accepts_at_once = False
    sock._visitor = None
    default = _default_timeout()
    if default is not None:
        sock.settimeout(default)
    return sock


cdef object _peer(const sockaddr_storage *address, socklen_t length, int fd):
    found = address_of(address, length)
    if found is None:
        with socket.socket(fileno=os.dup(fd)) as other:
            found = other.getpeername()
    return found


cdef object _shrunk(bytes data, Py_ssize_t count):
    return data[:count]


cdef int _flush(sock) except -1:
    cdef Stream stream
    channel = sock._channel
    if isinstance(channel, Stream):
        stream = channel
        stream.check()
        if stream.gathered:
            stream.send_gathered()
    return 0


def _retried(sock, bint write, int flags, operation, *arguments):
    """Do what `socket.socket` does, as often as it says that it would have to wait."""
    cdef Channel channel = sock._channel
    cdef double by = -1
    if operation is not _send and isinstance(channel, Stream):
        (<Stream>channel).uncounted = True
    _spend(CALL)
    while True:
        try:
            return operation(sock, *arguments)
        except BlockingIOError:
            if channel.patience == 0 or flags & (MSG_DONTWAIT | MSG_ERRQUEUE):
                raise
        if write:
            channel.stuffed = True
        else:
            channel.drained = True
        if by < 0:
            by = channel.deadline(write)
        if not channel.wait(write, by):
            raise TimeoutError("timed out")


def _send_slice(sock, data, flags):
    """Send some of `data`, as much as one turn's worth."""
    if PyBytes_CheckExact(data) and PyBytes_GET_SIZE(data) <= SLICE or not PyObject_CheckBuffer(data):
        return _send(sock, data, flags)
    with memoryview(data) as whole:
        if whole.nbytes <= SLICE:
            return _send(sock, whole, flags)
        with whole.cast("B") as view, view[:SLICE] as piece:
            return _send(sock, piece, flags)


cdef object _again(items):
    """What can be iterated more than once, as it is after a wait."""
    return list(items) if hasattr(items, "__next__") else items


cdef bint _batched(sock, size):
    """True when a batch of datagrams has something left, and `size` is one that it can be asked for."""
    channel = sock._channel
    if not isinstance(channel, Datagrams) or (<Datagrams>channel).taken >= (<Datagrams>channel).arrived:
        return False
    return isinstance(size, int) and size >= 0


cdef object _from_batch(sock, size, int flags):
    cdef Datagrams channel = sock._channel
    found = channel.take(size)
    if flags & MSG_PEEK:
        channel.taken -= 1
    return found


cdef object _into(buffer, Py_ssize_t size, bytes data):
    with memoryview(buffer).cast("B") as view:
        if size > len(view):
            raise ValueError("buffer too small for requested bytes")
        view[: len(data)] = data
    return len(data)


def _received_whole(sock, buffer, int flags):
    """MSG_WAITALL: fill `buffer`, but for the end of the stream. With a timeout the kernel does not wait either."""
    cdef Channel channel = sock._channel
    done = 0
    with memoryview(buffer) as view:
        while done < len(view):
            try:
                count = _retried(sock, False, flags, _base.recv_into, view[done:], 0, flags)
            except OSError:
                if done:
                    return done
                raise
            done += count
            if count == 0 or channel.patience >= 0 or flags & (MSG_PEEK | MSG_DONTWAIT):
                break
    return done


cdef int _send_pieces(Channel channel, const char *data, Py_ssize_t size, int flags) except -1:
    cdef Py_ssize_t count
    cdef double by = -1
    cdef Py_ssize_t most = SLICE if isinstance(channel, Stream) else size  # others keep the bounds of messages
    while True:
        count = c_send(channel.fd, data, min(size, most), flags | MSG_NOSIGNAL)
        if count >= 0:
            if isinstance(channel, Stream):
                (<Stream>channel).sent += count
            if count < size and by < 0:
                by = channel.deadline(True)
            _spend(CALL + count // BULK, count)
            data += count
            size -= count
            if size == 0:
                return 0
            continue
        if errno == EINTR:
            PyErr_CheckSignals()
            continue
        if errno != EAGAIN or channel.patience == 0 or flags & MSG_DONTWAIT:
            PyErr_SetFromErrno(OSError)
            return -1
        channel.stuffed = True
        if by < 0:
            by = channel.deadline(True)
        if not channel.wait(True, by):
            raise TimeoutError("timed out")


def _send_file(sock, file, int fileno, offset, count, double span):
    cdef Channel channel = sock._channel
    cdef double by = channel.deadline(True), due = span
    done = 0
    try:
        while count is None or done < count:
            if done >= due:
                by, due = channel.deadline(True), done + span
            piece = _SENDFILE_PIECE if count is None else min(_SENDFILE_PIECE, count - done)
            try:
                sent = os.sendfile(channel.fd, fileno, offset + done, piece)
            except BlockingIOError:
                channel.stuffed = True
                if not channel.wait(True, by):
                    raise TimeoutError("timed out") from None
                continue
            except OSError:
                if done:
                    raise
                return sock._sendfile_use_send(file, offset, count)
            if sent == 0:
                break
            done += sent
            if isinstance(channel, Stream):
                (<Stream>channel).sent += <Py_ssize_t>sent
            _spend(sent, sent)
    finally:
        if done and hasattr(file, "seek"):
            file.seek(offset + done)
    return done


cdef int _spend(Py_ssize_t amount, Py_ssize_t count=0) except -1:
    """Count `amount` against the task's credit: for a call, and for `count` bytes that it has sent."""
    cdef Hub hub = hub_here()
    if hub is None:
        return 0
    hub.credit -= amount
    if hub.credit > 0:
        return 0
    return hub.stand_back() if count >= MUCH else hub.take_turns()


def _connect(sock, address):
    """Connect, waiting where the socket does; returns an errno, 0, or TIMED_OUT."""
    cdef Channel channel = sock._channel
    cdef double by = channel.deadline(True)
    if in_green():
        address = _looked_up(sock, address)
    error = _base.connect_ex(sock, address)
    if channel.patience == 0:
        return error
    if error == EAGAIN and _family_of(sock) == AF_UNIX:
        return _knock(sock, address, by)
    if error not in (EINPROGRESS, EINTR):
        return error
    while error in (EINPROGRESS, EALREADY, EINTR):
        channel.stuffed = True
        if not channel.wait(True, by):
            return TIMED_OUT
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or _base.connect_ex(sock, address)
    return 0 if error == EISCONN else error


cdef object _knock(sock, address, double by):
    """Ask a listener whose queue is full until it has room."""
    cdef double pause = KNOCK_SECONDS
    error = EAGAIN
    while error == EAGAIN:
        if monotonic() >= by:
            return TIMED_OUT
        sleep(min(pause, by - monotonic()))
        pause = min(2 * pause, LONGEST_KNOCK_SECONDS)
        error = _base.connect_ex(sock, address)
    return error


def _looked_up(sock, address):
    """An address whose host is a number: looking a name up blocks, so a thread does it."""
    if _family_of(sock) not in (socket.AF_INET, socket.AF_INET6) or not isinstance(address, tuple) or len(address) < 2:
        return address
    host = address[0]
    try:
        socket.inet_pton(_family_of(sock), host)
        return address
    except (OSError, TypeError, ValueError):
        from portside.core.offloading import offload

        found = offload(socket.getaddrinfo, host, address[1], _family_of(sock), _type_of(sock), _proto_of(sock))
        return found[0][4]
