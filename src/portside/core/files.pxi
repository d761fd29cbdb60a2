# The files over a stream: `rfile` and `wfile`. A part of stream.pyx.

cdef class StreamFile:
    """What both files have in common: an `io.BufferedIOBase` that can do nothing yet.

    Args:
        sock: the socket; it stays open at least until this file is closed.
        stream: the socket's stream.
    """

    def __cinit__(self, sock, Stream stream not None, *_):
        self.sock = sock
        self.stream = stream

    cdef int _check(self) except -1:
        if self.closed:
            raise ValueError(_CLOSED)
        return 0

    def readable(self):
        """Whether it can be read."""
        self._check()
        return False

    def writable(self):
        """Whether it can be written."""
        self._check()
        return False

    def seekable(self):
        """False."""
        self._check()
        return False

    def isatty(self):
        """False."""
        self._check()
        return False

    def fileno(self):
        """The socket's descriptor."""
        self._check()
        return self.sock.fileno()

    def read(self, size=-1, /):
        """Not for writing files."""
        raise io.UnsupportedOperation("read")

    def write(self, data, /):
        """Not for reading files."""
        raise io.UnsupportedOperation("write")

    def seek(self, offset, whence=0, /):
        """Not for streams."""
        raise io.UnsupportedOperation("seek")

    def tell(self):
        """Not for streams."""
        raise io.UnsupportedOperation("tell")

    def truncate(self, size=None, /):
        """Not for streams."""
        raise io.UnsupportedOperation("truncate")

    def detach(self):
        """Not for streams: there is no raw file below."""
        raise io.UnsupportedOperation("detach")

    def __enter__(self):
        self._check()
        return self

    def __exit__(self, *error):
        self.close()

    @property
    def name(self):
        """The socket's descriptor."""
        return self.sock.fileno()

    def __repr__(self):
        return f"<{type(self).__module__}.{type(self).__name__} of {self.sock!r}>"


@cython.final
cdef class StreamReader(StreamFile):
    """A stream's input as a binary file: an `io.BufferedIOBase`.

    Args:
        sock: the socket; it stays open at least until this file is closed.
        stream: the socket's stream.
    """

    def __iter__(self):
        return self

    def __next__(self):
        self._check()
        cdef bytes line = self.stream.read_line(-1)
        if PyBytes_GET_SIZE(line) == 0:
            raise StopIteration
        return line

    def readline(self, limit=-1, /):
        """A line with its newline; at most `limit` bytes where that is not negative; b"" at the end of the stream."""
        self._check()
        return self.stream.read_line(-1 if limit is None else limit)

    def bound_lines(self, Py_ssize_t longest, /):
        """Give no line out whole that has more bytes than that, its newline included; FrameTooLong tells."""
        self.stream.longest = longest

    def readlines(self, hint=-1, /):
        """A list of lines, until the end of the stream or until they have more than `hint` bytes."""
        cdef Py_ssize_t left = hint if hint is not None and hint > 0 else -1
        cdef Py_ssize_t count = 0
        lines = []
        for line in self:
            lines.append(line)
            count += len(line)
            if 0 <= left < count:
                break
        return lines

    def read(self, size=-1, /):
        """`size` bytes, fewer only at the end of the stream; everything until then where `size` is negative."""
        self._check()
        if size is None or size == -1:
            return self.stream.read_all()
        if size < 0:
            raise ValueError("read length must be non-negative or -1")
        return self.stream.read_exactly(size)

    def read1(self, size=-1, /):
        """At most `size` bytes, and at least one unless the stream has ended; one receive at most."""
        self._check()
        cdef Stream stream = self.stream
        cdef Py_ssize_t count = size
        if count < 0:
            count = SCRATCH
        if count and stream.start == stream.end:
            stream.fill()
        return stream.take(min(count, stream.end - stream.start))

    @property
    def unread(self):
        """Bytes that were received and not read yet."""
        return self.stream.end - self.stream.start

    def peek(self, size=0, /):
        """What is unread, without reading it; one receive at most, when there is nothing."""
        self._check()
        cdef Stream stream = self.stream
        if stream.start == stream.end:
            stream.fill()
        if stream.start == stream.end:
            return b""
        return PyBytes_FromStringAndSize(bytes_data(stream.input) + stream.start, stream.end - stream.start)

    def readinto(self, buffer, /):
        """Fill a writable buffer; returns how many bytes it got, fewer only at the end of the stream."""
        return self._into(buffer, True)

    def readinto1(self, buffer, /):
        """The same with one receive at most."""
        return self._into(buffer, False)

    def _into(self, buffer, bint whole):
        cdef Py_buffer view
        self._check()
        PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE | PyBUF_SIMPLE)
        try:
            return self.stream.read_into(<char *>view.buf, view.len, whole)
        finally:
            PyBuffer_Release(&view)

    def readable(self):
        """True."""
        self._check()
        return True

    def flush(self):
        """Nothing to do."""
        self._check()

    def close(self):
        """Close the file; the socket is closed with its last file if it was closed before."""
        if not self.closed:
            self.closed = True
            self.sock._decref_socketios()

    def __del__(self):
        self.close()

    @property
    def mode(self):
        """How it was opened."""
        return "rb"


@cython.final
cdef class StreamWriter(StreamFile):
    """A stream's output as a binary file: an `io.BufferedIOBase`, whose writes are all sent, or gathered for a moment.

    Args:
        sock: the socket; it stays open at least until this file is closed.
        stream: the socket's stream.
        size: bytes to keep back until there are more of them or `flush()` is called; 0 keeps nothing back.
    """

    def __cinit__(self, sock, Stream stream not None, Py_ssize_t size=0):
        self.size = size

    def write(self, data, /):
        """Send all of `data` (bytes-like); returns its length in bytes.

        Raises:
            OSError: the peer is gone, or TimeoutError: it did not read in time.
        """
        cdef Py_buffer view
        if self.closed:
            raise ValueError(_CLOSED)
        if PyBytes_CheckExact(data) and self.size == 0:
            self.stream.write(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            return PyBytes_GET_SIZE(data)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if self.size == 0:
                self.stream.write(<char *>view.buf, view.len)
            else:
                self._hold(&view)
            return view.len
        finally:
            PyBuffer_Release(&view)

    cdef int _hold(self, Py_buffer *view) except -1:
        if self.held is not None and len(self.held) + view.len > self.size:
            self._let_go()
        if view.len >= self.size:
            return self.stream.write(<char *>view.buf, view.len)
        if self.held is None:
            self.held = bytearray()
        self.held += (<char *>view.buf)[:view.len]
        return 0

    cdef int _let_go(self) except -1:
        cdef bytearray held = self.held
        if held is not None and len(held):
            self.held = None
            self.stream.write(held, len(held))
        return 0

    def writelines(self, lines, /):
        """Write each of `lines`."""
        self.write(b"".join(lines))

    def flush(self):
        """Send what was kept back."""
        self._check()
        self._let_go()
        self.stream.check()
        self.stream.send_gathered()

    def writable(self):
        """True."""
        self._check()
        return True

    def close(self):
        """Flush and close the file; the socket is closed with its last file if it was closed before."""
        if self.closed:
            return
        try:
            self.flush()
        finally:
            self.closed = True
            self.sock._decref_socketios()

    def __del__(self):
        try:
            self.close()
        except OSError:
            pass

    @property
    def mode(self):
        """How it was opened."""
        return "wb"


io.BufferedIOBase.register(StreamReader)
io.BufferedIOBase.register(StreamWriter)
