"""What a plain socket does without waiting, for threads: system calls that keep the interpreter.

Python lets go of the interpreter for each call of a socket. Where a crowd of threads wants it, the caller has to queue
for it again, and every hand-over costs more than a small call that does not wait. What would wait is left to the caller.
"""

import _socket
from socket import socket

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EAGAIN, EINTR, errno

from portside.core.datagrams cimport address_of, sockaddr, sockaddr_storage, socklen_t


cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_recv "recv"(int fd, void *buffer, size_t size, int flags)
    ssize_t c_send "send"(int fd, const void *data, size_t size, int flags)
    int c_shutdown "shutdown"(int fd, int how)
    int accept4(int fd, sockaddr *address, socklen_t *length, int flags)
    int getsockopt(int fd, int level, int option, void *value, socklen_t *size)

    struct linger:
        int l_onoff

    enum:
        SOL_SOCKET
        SO_LINGER
        SOCK_CLOEXEC
        MSG_DONTWAIT
        MSG_NOSIGNAL
        SHUT_WR


cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd)


cdef extern from "<fcntl.h>" nogil:
    int fcntl(int fd, int command)

    enum:
        F_GETFL
        O_NONBLOCK


# Bytes of a piece that is copied while nobody else has the interpreter: some microseconds.
cdef enum:
    SMALL = 16384

cdef char scratch[SMALL]

cdef object _fileno = _socket.socket.fileno
cdef object _init = _socket.socket.__init__
cdef object _family_of = _socket.socket.family.__get__
cdef object _type_of = _socket.socket.type.__get__
cdef object _proto_of = _socket.socket.proto.__get__
cdef object _timeout_of = _socket.socket.gettimeout
cdef object _detach = _socket.socket.detach
cdef object _default_timeout = _socket.getdefaulttimeout


def receive(sock):
    """Some bytes that have come, b"" at the end of the stream; None where nothing has, or the socket has to tell why.

    Args:
        sock: a connected `socket.socket`.
    """
    cdef int fd = _fileno(sock)
    cdef Py_ssize_t count = c_recv(fd, scratch, SMALL, MSG_DONTWAIT)
    return None if count < 0 else PyBytes_FromStringAndSize(scratch, count)


def accept(listener):
    """A client's socket and its address: `listener.accept()`.

    Args:
        listener: any listening socket.

    Raises:
        OSError: as there.
    """
    cdef sockaddr_storage address
    cdef socklen_t length = sizeof(address)
    cdef int fd
    if type(listener) is not socket or _timeout_of(listener) is not None or _default_timeout() is not None:
        return listener.accept()
    fd = _fileno(listener)
    if not fcntl(fd, F_GETFL) & O_NONBLOCK:
        return listener.accept()
    fd = accept4(fd, <sockaddr *>&address, &length, SOCK_CLOEXEC)
    if fd < 0:
        if errno == EINTR:
            return listener.accept()
        PyErr_SetFromErrno(OSError)
    sock = socket.__new__(socket)
    _init(sock, _family_of(listener), _type_of(listener), _proto_of(listener), fd)
    sock._io_refs = 0
    sock._closed = False
    found = address_of(&address, length)
    return sock, sock.getpeername() if found is None else found


def end(sock):
    """Tell the peer that nothing more comes: `sock.shutdown(SHUT_WR)`.

    Raises:
        OSError: the peer left first.
    """
    if type(sock) is not socket:
        sock.shutdown(SHUT_WR)
    elif c_shutdown(_fileno(sock), SHUT_WR) < 0:
        PyErr_SetFromErrno(OSError)


def close(sock):
    """Close a socket: `sock.close()`. One that is told to linger, which takes its time, does."""
    cdef linger wish
    cdef socklen_t size = sizeof(wish)
    cdef int fd
    if type(sock) is not socket or sock._io_refs > 0 or sock._closed:
        sock.close()
        return
    fd = _fileno(sock)
    if getsockopt(fd, SOL_SOCKET, SO_LINGER, &wish, &size) < 0 or wish.l_onoff:
        sock.close()
        return
    sock._closed = True
    _detach(sock)
    c_close(fd)  # what it may say is of no use: the descriptor is gone


@cython.final
cdef class Sender:
    """Sends small pieces on a connected `socket.socket`.

    Args:
        sock: the socket.
        wait: called with what did not leave at once, as a view of bytes, and with what is not small or not bytes.
    """

    cdef object sock, wait

    def __cinit__(self, sock, wait):
        self.sock = sock
        self.wait = wait

    def __call__(self, data, /):
        """Send all of `data`.

        Raises:
            OSError: the client is gone, and what `wait` raises.
        """
        cdef Py_ssize_t size, count
        if not PyBytes_CheckExact(data) or PyBytes_GET_SIZE(data) > SMALL:
            self.wait(memoryview(data))
            return
        size = PyBytes_GET_SIZE(data)
        count = c_send(_fileno(self.sock), PyBytes_AS_STRING(data), size, MSG_DONTWAIT | MSG_NOSIGNAL)
        if count < 0:
            if errno != EAGAIN and errno != EINTR:
                PyErr_SetFromErrno(OSError)
            count = 0
        if count < size:
            self.wait(memoryview(data)[count:])
