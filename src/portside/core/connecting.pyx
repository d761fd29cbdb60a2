"""The two ends of a usual connection, at the least cost: a green socket gets its files, and they are closed.

With one connection a request this is half of the work. `QuickConnections` stands before the Python classes that know
every case, see `portside.core.replies`.
"""

import _socket

from cpython.exc cimport PyErr_SetFromErrno

from portside.core.replies cimport RAW, UNSET, QuickWriter, given
from portside.core.shapes cimport Shape, shape_of
from portside.core.stream cimport Stream, StreamWriter

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


cdef class QuickConnections(QuickReplies):
    """Opens and closes: the usual way of `portside.http.handler.BaseHTTPRequestHandler`."""

    def __cinit__(self, *_, **__):
        self._rfile = UNSET

    def setup(self):
        """Make `rfile` and `wfile`. May be extended."""
        if not self.open_green():
            super().setup()

    cdef bint open_green(self) except -1:
        """What `setup` does with a green socket in plain text; False for any other, or where the program has a say."""
        cdef Shape shape = shape_of(self)
        cdef Stream stream
        cdef object sock = self._socket
        if not shape.connects or type(sock) is not GreenSocket or not isinstance(sock._channel, Stream):
            return False
        if self.timeout is not None or self.wbufsize != 0 or not self.rbufsize:
            return False
        stream = sock._channel
        if self.disable_nagle_algorithm:
            send_promptly(sock, stream.fd)
        self._open_files(sock, stream)
        self._look_for_overrides()
        return True

    def _open_files(self, sock, Stream stream):
        """Read and write with deadlines; see `_take_over`."""
        limits = self.http_limits
        machine = getattr(self.server, "_portside", None)
        sock._io_refs += 1
        self._rfile = StreamReader(sock, stream)
        sock._io_refs += 1
        file = _StreamWriter(sock, stream, 0)
        self._reader = reader = self._new_reader(sock, limits.header_seconds, green=True)
        if machine is not None:
            self._tally = machine.transport.tally
            record = machine.connections.get(sock)
            if record is not None:
                self._record = record
        reader.waiter = self._record
        self._wfile = self.writer = self._new_writer(sock, file, limits.send_seconds)

    def finish(self):
        """Send what is left, and close both files. May be extended."""
        if not self.close_green():
            super().finish()

    cdef bint close_green(self) except -1:
        """What `finish` does after whole answers to whole requests; False where there is more to see to."""
        cdef QuickWriter writer = self.writer
        if self._under_way or self._source is not None or writer is None or self._wfile is not writer:
            return False
        if writer.file is None or writer.lines is not None or writer._framing is not RAW or self._lingers:
            return False
        if type(self._rfile) is not StreamReader or self._rfile is not self.file or self._portside_secured:
            return False
        try:
            writer.file.close()
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


cdef int send_promptly(object sock, int fd) except -1:
    """Small packets leave at once."""
    cdef int family = _family_of(sock)
    cdef int on = 1
    if family in (AF_INET, AF_INET6) and setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0:
        PyErr_SetFromErrno(OSError)
    return 0
