"""The two ends of a usual connection, at the least cost: a socket gets its files, and they are closed.

With one connection a request this is half of the work. `QuickConnections` stands before the Python classes that know
every case, see `portside.core.replies`.
"""

import _socket
from socket import socket

from cpython.exc cimport PyErr_SetFromErrno

from portside.core.replies cimport RAW, UNSET, QuickWriter, given
from portside.core.shapes cimport Shape, shape_of
from portside.core.stream cimport Stream

from portside.core.sockets import GreenSocket
from portside.core.stream import StreamReader, StreamWriter as _StreamWriter


cdef extern from "<netinet/tcp.h>" nogil:
    int setsockopt(int fd, int level, int option, const void *value, unsigned int size)

    enum:
        TCP_NODELAY


cdef extern from "<netinet/in.h>" nogil:
    enum:
        AF_INET
        AF_INET6
        IPPROTO_TCP


cdef object _family_of = _socket.socket.family.__get__
cdef object _timeout_of = _socket.socket.gettimeout
cdef object _fileno = _socket.socket.fileno


cdef class QuickConnections(QuickReplies):
    """Opens and closes: the usual way of `portside.http.handler.BaseHTTPRequestHandler`."""

    def __cinit__(self, *_, **__):
        self._rfile = UNSET

    def setup(self):
        """Make `rfile` and `wfile`. May be extended."""
        if not self.open_usual():
            super().setup()

    cdef bint open_usual(self) except -1:
        """What `setup` does with a socket in plain text; False for any other, or where the program has a say."""
        cdef Shape shape = shape_of(self)
        cdef object sock = self._socket
        cdef bint green = type(sock) is GreenSocket
        if not shape.connects or self.timeout is not None or self.wbufsize != 0 or not self.rbufsize:
            return False
        if green and not isinstance(sock._channel, Stream):
            return False
        if not green and (type(sock) is not socket or _timeout_of(sock) is not None):
            return False
        if self.disable_nagle_algorithm:
            send_promptly(sock)
        self._find_record(sock)
        self._open_files(sock, green)
        self._look_for_overrides()
        return True

    cdef int _find_record(self, object sock) except -1:
        """What the server knows of the connection."""
        cdef object machine = getattr(self.server, "_portside", None)
        if machine is not None:
            self._tally = machine.transport.tally
            record = machine.connections.get(sock)
            if record is not None:
                self._record = record
        return 0

    cdef int _open_files(self, object sock, bint green) except -1:
        """Read and write with deadlines; see `_take_over`."""
        cdef object limits = self.http_limits
        cdef object file = None
        if green:
            sock._io_refs += 1
            self._rfile = StreamReader(sock, sock._channel)
            sock._io_refs += 1
            file = _StreamWriter(sock, sock._channel, 0)
        self._reader = reader = self._new_reader(sock, limits.header_seconds, green=green)
        reader.waiter = self._record
        self._rfile = reader.file
        self._wfile = self.writer = self._new_writer(sock, file, limits.send_seconds)
        return 0

    def finish(self):
        """Send what is left, and close both files. May be extended."""
        if not self.close_usual():
            super().finish()

    cdef bint close_usual(self) except -1:
        """What `finish` does after whole answers to whole requests; False where there is more to see to."""
        cdef QuickWriter writer = self.writer
        if self._under_way or self._source is not None or writer is None or self._wfile is not writer:
            return False
        if writer._keeps or writer.lines is not None or writer._framing is not RAW or self._lingers:
            return False
        if self._rfile is UNSET or self._rfile is not self.file or self._portside_secured:
            return False
        try:
            writer._sink.close()
        except OSError:
            pass  # the client left before it had read everything
        writer.closed = True
        self._rfile.close()
        self.writer = None
        return True

    # -- what programs see --

    @property
    def connection(self):
        """The socket. A head that is kept leaves when it is looked at: the program may go on to write there."""
        return self._looked_at()

    @connection.setter
    def connection(self, sock):
        """A program may wrap the socket, in `setup()`."""
        self._socket = sock

    @property
    def request(self):
        """The same."""
        return self._looked_at()

    @request.setter
    def request(self, sock):
        self._socket = sock

    cdef object _looked_at(self):
        if self._under_way and self.writer is not None and self.writer.lines is not None:
            self.writer.hand_over()
        return self._socket

    @property
    def rfile(self):
        """The request's body."""
        return given(self, self._rfile, "rfile")

    @rfile.setter
    def rfile(self, file):
        self._rfile = file


cdef int send_promptly(object sock) except -1:
    """Small packets leave at once."""
    cdef int family = _family_of(sock)
    cdef int fd = _fileno(sock)
    cdef int on = 1
    if family in (AF_INET, AF_INET6) and setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0:
        PyErr_SetFromErrno(OSError)
    return 0
