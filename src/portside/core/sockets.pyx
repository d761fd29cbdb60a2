"""Sockets that wait in the hub: `socket.socket` with the same results and the same exceptions.

The descriptor is non-blocking for good. What a program says with `settimeout()` and `setblocking()` is kept beside it,
and honoured by waiting: in the hub when a task asks, in poll(2) when a plain thread does.
"""

import _socket
import os
import socket

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from cpython.object cimport PyObject
from libc.errno cimport EAGAIN, EALREADY, EBADF, EINPROGRESS, EINTR, EINVAL, EISCONN, errno
from libc.math cimport INFINITY

from portside.core.datagrams cimport Datagrams, address_of, sockaddr, sockaddr_storage, socklen_t
from portside.core.hub cimport Channel, Hub, hub_here, in_green
from portside.core.linux cimport monotonic
from portside.core.stream cimport Stream
from portside.core.stream import StreamReader, StreamWriter


cdef extern from "<sys/socket.h>" nogil:
    int accept4(int fd, sockaddr *address, socklen_t *length, int flags)
    ssize_t c_send "send"(int fd, const void *data, size_t size, int flags)

    enum:
        SOCK_NONBLOCK
        SOCK_CLOEXEC
        SOCK_STREAM
        SOCK_DGRAM
        MSG_DONTWAIT
        MSG_NOSIGNAL
        MSG_WAITALL


cdef object _base = _socket.socket
cdef object _init = _socket.socket.__init__
cdef object _family_of = _socket.socket.family.__get__
cdef object _type_of = _socket.socket.type.__get__
cdef object _proto_of = _socket.socket.proto.__get__

# Bytes that one sendfile(2) may move before the others get a turn.
_SENDFILE_PIECE = 1 << 20


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
        super().__init__(family, type, proto, fileno)
        default = socket.getdefaulttimeout()
        _base.setblocking(self, False)
        self._channel = _channel_of(self)
        self.accepts_at_once = False
        self._visitor = None
        if default is not None:
            self.settimeout(default)

    # -- time --

    def settimeout(self, value):
        """Seconds that an operation may take: None for ever, 0 not at all."""
        cdef Channel channel = self._channel
        if value is not None:
            value = float(value)
            if value != value:
                raise ValueError("Invalid value NaN (not a number)")
            if value < 0.0:
                raise ValueError("Timeout value out of range")
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

    def set_deadlines(self, *, idle=None, total=None):
        """Deadlines beside `settimeout`'s, for the rest of the connection's life.

        Args:
            idle: seconds that a read may wait for the peer; None for ever.
            total: seconds from now after which every operation that would have to wait raises TimeoutError.
        """
        cdef Channel channel = self._channel
        channel.idle = -1 if idle is None else idle
        channel.limit = INFINITY if total is None else monotonic() + total

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

    def await_knock(self, timeout=None):
        """Wait until `knock` may say yes, at most `timeout` seconds, or until somebody wakes the task."""
        cdef Channel channel = self._channel
        if self._visitor is None:
            channel.wait(False, INFINITY if timeout is None else monotonic() + timeout)

    def connect(self, address):
        """Connect to `address`; a host name is looked up in a thread."""
        error = self._connect(address)
        if error:
            raise OSError(error, os.strerror(error))

    def connect_ex(self, address):
        """The same, returning an errno instead of raising an OSError from the connection."""
        return self._connect(address)

    def _connect(self, address):
        cdef Channel channel = self._channel
        cdef double by = channel.deadline(True)
        if in_green():
            address = _looked_up(self, address)
        error = _base.connect_ex(self, address)
        if error not in (EINPROGRESS, EAGAIN, EALREADY, EINTR) or channel.patience == 0:
            return error
        while error != EISCONN:
            channel.stuffed = True
            if not channel.wait(True, by):
                raise TimeoutError("timed out")
            error = self.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                return error
            error = _base.connect_ex(self, address)
            if error not in (0, EISCONN, EINPROGRESS, EAGAIN, EALREADY):
                return error
            if error == 0:
                break
        return 0

    def shutdown(self, how):
        """Shut one or both halves of the connection, after what was written has left."""
        _flush(self)
        _base.shutdown(self, how)

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
            super()._real_close()

    def detach(self):
        """Let go of the descriptor, which blocks again unless it was not to; returns it."""
        cdef Channel channel = self._channel
        _flush(self)
        channel.close()
        self._closed = True
        fd = _base.detach(self)
        if channel.patience != 0:
            os.set_blocking(fd, True)
        return fd

    # -- receiving --

    def recv(self, Py_ssize_t bufsize, int flags=0):
        """At most `bufsize` bytes; b"" at the end of the stream."""
        cdef Py_ssize_t count
        cdef bytes data
        if not isinstance(self._channel, Stream) or flags & MSG_WAITALL:
            return _retried(self, False, flags, _base.recv, bufsize, flags)
        if bufsize < 0:
            raise ValueError("negative buffersize in recv")
        cdef Stream stream = self._channel
        if not flags & MSG_DONTWAIT:
            stream.await_input()
        data = PyBytes_FromStringAndSize(NULL, bufsize)
        count = stream.receive(PyBytes_AS_STRING(data), bufsize, flags)
        return data if count == bufsize else _shrunk(data, count)

    def recv_into(self, buffer, Py_ssize_t nbytes=0, int flags=0):
        """Receive into a buffer; returns the number of bytes."""
        cdef Py_buffer view
        if not isinstance(self._channel, Stream) or flags & MSG_WAITALL:
            return _retried(self, False, flags, _base.recv_into, buffer, nbytes, flags)
        cdef Stream stream = self._channel
        PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE | PyBUF_SIMPLE)
        try:
            if nbytes < 0:
                raise ValueError("negative buffersize in recv_into")
            if nbytes > view.len:
                raise ValueError("buffer too small for requested bytes")
            return stream.receive(<char *>view.buf, nbytes or view.len, flags)
        finally:
            PyBuffer_Release(&view)

    def recvfrom(self, bufsize, flags=0):
        """Data and the sender's address."""
        channel = self._channel
        if isinstance(channel, Datagrams) and (<Datagrams>channel).taken < (<Datagrams>channel).arrived:
            return (<Datagrams>channel).take(bufsize)
        return _retried(self, False, flags, _base.recvfrom, bufsize, flags)

    def recvfrom_into(self, buffer, nbytes=0, flags=0):
        """The number of bytes and the sender's address."""
        return _retried(self, False, flags, _base.recvfrom_into, buffer, nbytes, flags)

    def recvmsg(self, bufsize, ancbufsize=0, flags=0):
        """Data, ancillary data, flags and address."""
        return _retried(self, False, flags, _base.recvmsg, bufsize, ancbufsize, flags)

    def recvmsg_into(self, buffers, ancbufsize=0, flags=0):
        """The same, into buffers."""
        return _retried(self, False, flags, _base.recvmsg_into, buffers, ancbufsize, flags)

    # -- sending --

    def send(self, data, flags=0):
        """Send some of `data`; returns how many bytes."""
        _flush(self)
        return _retried(self, True, flags, _base.send, data, flags)

    def sendall(self, data, int flags=0):
        """Send all of `data`; a timeout is for all of it."""
        cdef Py_buffer view
        cdef Stream stream
        if not isinstance(self._channel, Stream) or flags:
            return _send_all(self, data, flags)
        stream = self._channel
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            stream.check()
            if stream.gathered:
                stream.send_gathered()
            if view.len:
                stream.send_all(<char *>view.buf, view.len, -1)
        finally:
            PyBuffer_Release(&view)

    def sendto(self, data, *rest):
        """Send to an address: `sendto(data, address)` or `sendto(data, flags, address)`.

        Between two looks of a server at its socket, answers to the senders of one batch gather and leave together.
        """
        channel = self._channel
        if isinstance(channel, Datagrams) and len(rest) == 1 and type(data) is bytes:
            place = (<Datagrams>channel).sender_place(rest[0])
            if place >= 0 and (<Datagrams>channel).gather(data, place):
                return len(data)
        return _retried(self, True, rest[0] if len(rest) > 1 else 0, _base.sendto, data, *rest)

    def sendmsg(self, buffers, ancdata=(), flags=0, address=None):
        """Send several buffers and ancillary data; returns how many bytes."""
        _flush(self)
        return _retried(self, True, flags, _base.sendmsg, buffers, ancdata, flags, address)

    def sendfile(self, file, offset=0, count=None):
        """Send a file until its end, or `count` bytes of it, by sendfile(2) where it can; returns how many bytes."""
        self._check_sendfile_params(file, offset, count)
        try:
            fileno = file.fileno()
            size = os.fstat(fileno).st_size
        except (AttributeError, OSError):  # no regular file
            return self._sendfile_use_send(file, offset, count)
        if self.gettimeout() == 0:
            raise ValueError("non-blocking sockets are not supported")
        _flush(self)
        return _send_file(self, file, fileno, offset, count)

    # -- files --

    def makefile(self, mode="r", buffering=None, *, encoding=None, errors=None, newline=None):
        """A file over the connection. Binary ones for one direction are compiled, see `portside.core.stream`."""
        if isinstance(self._channel, Stream) and mode in ("rb", "wb") and (buffering != 0 or mode == "wb"):
            self._io_refs += 1
            if mode == "rb":
                return StreamReader(self, self._channel)
            return StreamWriter(self, self._channel, 8192 if buffering is None or buffering < 0 else buffering)
        return super().makefile(mode, buffering, encoding=encoding, errors=errors, newline=newline)


cdef object _channel_of(sock):
    cdef Channel channel
    cdef int kind = _type_of(sock)
    if kind == SOCK_STREAM:
        return Stream(_base.fileno(sock))
    return (Datagrams if kind == SOCK_DGRAM else Channel)(_base.fileno(sock))


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
    sock = GreenSocket.__new__(GreenSocket)
    _init(sock, _family_of(listener), _type_of(listener) | SOCK_NONBLOCK, _proto_of(listener), fd)
    sock._io_refs = 0
    sock._closed = False
    sock._channel = Stream(fd)
    sock.accepts_at_once = False
    sock._visitor = None
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
    while True:
        try:
            return operation(sock, *arguments)
        except BlockingIOError:
            if channel.patience == 0 or flags & MSG_DONTWAIT:
                raise
        if write:
            channel.stuffed = True
        else:
            channel.drained = True
        if by < 0:
            by = channel.deadline(write)
        if not channel.wait(write, by):
            raise TimeoutError("timed out")


def _send_all(sock, data, flags):
    with memoryview(data).cast("B") as view:
        done = 0
        while done < len(view):
            done += sock.send(view[done:], flags)


def _send_file(sock, file, int fileno, offset, count):
    cdef Channel channel = sock._channel
    cdef double by = channel.deadline(True)
    done = 0
    try:
        while count is None or done < count:
            piece = _SENDFILE_PIECE if count is None else min(_SENDFILE_PIECE, count - done)
            try:
                sent = os.sendfile(channel.fd, fileno, offset + done, piece)
            except BlockingIOError:
                channel.stuffed = True
                if not channel.wait(True, by):
                    raise TimeoutError("timed out") from None
                continue
            if sent == 0:
                break
            done += sent
            _spend(sent)
    finally:
        if done and hasattr(file, "seek"):
            file.seek(offset + done)
    return done


cdef int _spend(Py_ssize_t amount) except -1:
    cdef Hub hub = hub_here()
    if hub is not None:
        hub.credit -= amount
        if hub.credit <= 0:
            hub.take_turns()
    return 0


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
