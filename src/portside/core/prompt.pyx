"""What a plain socket does without waiting, for threads: system calls that keep the interpreter.

Python lets go of the interpreter for each call of a socket. Where a crowd of threads wants it, the caller has to queue
for it again, and every hand-over costs more than a small call that does not wait. What would wait is left to the caller.
"""

import _socket

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EAGAIN, EINTR, errno


cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_recv "recv"(int fd, void *buffer, size_t size, int flags)
    ssize_t c_send "send"(int fd, const void *data, size_t size, int flags)
    int c_shutdown "shutdown"(int fd, int how)

    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL
        SHUT_WR


# Bytes of a piece that is copied while nobody else has the interpreter: some microseconds.
cdef enum:
    SMALL = 16384

cdef char scratch[SMALL]

cdef object _fileno = _socket.socket.fileno


def receive(sock):
    """Some bytes that have come, b"" at the end of the stream; None where nothing has, or the socket has to tell why.

    Args:
        sock: a connected `socket.socket`.
    """
    cdef int fd = _fileno(sock)
    cdef Py_ssize_t count = c_recv(fd, scratch, SMALL, MSG_DONTWAIT)
    return None if count < 0 else PyBytes_FromStringAndSize(scratch, count)


def end(sock):
    """Tell the peer that nothing more comes, as `shutdown(SHUT_WR)` does.

    Raises:
        OSError: the peer left first.
    """
    if c_shutdown(_fileno(sock), SHUT_WR) < 0:
        PyErr_SetFromErrno(OSError)


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
