"""The usual answer, at the least cost: a status, header lines, Content-Length, and a body that is written at once.

Each class here stands before the Python class that knows every case, and has methods of the same names. What is usual
ends here; what is not goes the long way, which is Python's `super()`. So there is nothing here that is decided
otherwise than there, and nothing is missing where this module is.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.long cimport PyLong_Check
from cpython.object cimport PyObject
from libc.string cimport memcpy

from portside.core.shapes cimport Shape
from portside.core.stream cimport StreamWriter


cdef extern from "<time.h>" nogil:
    ctypedef long time_t
    struct timespec:
        time_t tv_sec
    int clock_gettime(int clock, timespec *now)
    enum:
        CLOCK_REALTIME_COARSE


cdef extern from "Python.h":
    bint PyUnicode_CheckExact(object text)
    bint is_ascii "PyUnicode_IS_COMPACT_ASCII"(object text)
    const char *ascii_data "PyUnicode_DATA"(object text)
    Py_ssize_t text_size "PyUnicode_GET_LENGTH"(object text)
    bint is_int "PyLong_CheckExact"(object number)


# A head and a body that are no longer leave as one piece from here.
cdef enum:
    PIECE = 16384

cdef char piece[PIECE]

# Bytes of a body up to which it is copied behind its head; see `portside.http.writer.JOINED`.
cdef Py_ssize_t JOINED = 65536

# Names of headers, and beginnings of responses, that are known at once.
cdef Py_ssize_t MANY = 256

# What `portside.http` calls so. Set by `know`.
cdef object LENGTH = None
cdef object RAW = None
cdef object OPEN = None
cdef object NO_BODY = None
cdef object WAITER = None
cdef object _status_class = None
cdef object _log_format = None

# Words of requests that are compared by identity: there is one object for each, see `known_text`.
cdef object GET = "GET"
cdef object POST = "POST"
cdef object V10 = "HTTP/1.0"
cdef object V11 = "HTTP/1.1"

# What an attribute is before anybody has set it.
cdef object UNSET = object()

# Statuses as texts.
cdef dict _texts = {number: str(number) for number in range(100, 600)}


def know(**names):
    """Take over what the usual answer is made of, once: `portside.http` calls this.

    Args:
        names: the framings `LENGTH`, `RAW` and `OPEN`; the shared `NO_BODY`; the `WAITER` of who has no record; the
            class of statuses `STATUS`; `LOG_FORMAT` of `log_request`.
    """
    global LENGTH, RAW, OPEN, NO_BODY, WAITER, _status_class, _log_format
    LENGTH = names.get("LENGTH", LENGTH)
    RAW = names.get("RAW", RAW)
    OPEN = names.get("OPEN", OPEN)
    NO_BODY = names.get("NO_BODY", NO_BODY)
    WAITER = names.get("WAITER", WAITER)
    _status_class = names.get("STATUS", _status_class)
    _log_format = names.get("LOG_FORMAT", _log_format)


include "lines.pxi"


# The writer


cdef class QuickWriter:
    """Keeps a head, and sends it with the first piece of the body: `portside.http.writer.ResponseWriter`'s usual way."""

    def __cinit__(self, *_):
        self._framing = RAW

    def __init__(self, sink):  # all else is as it is in the beginning
        self._sink = sink
        self._keeps = getattr(sink, "keeps", True)
        self._send_to(sink)

    def _send_to(self, sink):
        """What small pieces are sent to."""
        sender = getattr(sink, "new_sender", None)
        self._send = getattr(sink, "send", sink.write) if sender is None else sender()
        file = getattr(sink, "file", None)
        if type(file) is StreamWriter and (<StreamWriter>file).size == 0:
            self.file = file

    @property
    def _head(self):
        """A head that is kept, without the empty line that ends it."""
        return None if self.lines is None else b"".join(self.lines)

    @_head.setter
    def _head(self, head):
        self.lines = None if head is None else [head]

    def begin(self):
        """A request begins: nothing is known of its response."""
        self.start()

    cdef int start(self) except -1:
        self.lines = None
        self._framing = RAW
        self.started = False
        self.sent = 0
        return 0

    def write(self, b, /):
        """Send `b` (bytes-like) as a part of the body; returns its length in bytes."""
        cdef Py_ssize_t size
        if PyBytes_CheckExact(b):
            size = PyBytes_GET_SIZE(b)
            if 0 < size <= JOINED:
                if self._framing is LENGTH and size <= self._left:
                    self._left -= size
                    self.sent += size
                    self.deliver(b)
                    return size
                if self._framing is RAW and self.lines is None:
                    self.sent += size
                    self.deliver(b)
                    return size
        return super().write(b)

    cdef int deliver(self, bytes body) except -1:
        """Send a piece, and the head before it, where there is one."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(body)
        self.started = True
        if self.lines is not None:
            for line in self.lines:
                size += PyBytes_GET_SIZE(line)
            return self.deliver_joined(body, size + 2)
        if self.file is None or self.file.closed:
            self._send(body)
            return 0
        return self.file.stream.write(PyBytes_AS_STRING(body), size)

    cdef int deliver_joined(self, bytes body, Py_ssize_t size) except -1:
        cdef bint at_once = self.file is not None and not self.file.closed and size <= PIECE
        cdef bytes whole
        cdef char *data
        cdef bytes line
        cdef Py_ssize_t length
        if at_once:
            data = piece
        else:
            whole = PyBytes_FromStringAndSize(NULL, size)
            data = PyBytes_AS_STRING(whole)
        for line in self.lines:
            length = PyBytes_GET_SIZE(line)
            memcpy(data, PyBytes_AS_STRING(line), length)
            data += length
        self.lines = None
        data[0] = 13
        data[1] = 10
        memcpy(data + 2, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
        if at_once:
            return self.file.stream.write_fleeting(piece, size)
        self._send(whole)
        return 0

    cdef bint is_over(self) noexcept:
        """Whether nothing is left to do for a response."""
        return self.lines is None and not self._keeps and self._framing is not OPEN and not self._left

    def end(self):
        """The request is over: send what is kept, and the end of the body."""
        if self.is_over():
            self._framing = RAW
        else:
            super().end()

    cdef int finish(self) except -1:
        """The same, for who knows the class."""
        if self.is_over():
            self._framing = RAW
        else:
            self.end()
        return 0


# The head


cdef class QuickReplies:
    """What a handler calls to answer: `portside.http.replies.Replies`' usual way."""

    def __cinit__(self, *_, **__):
        self.close = -1
        self._body = NO_BODY
        self._record = WAITER
        self._wfile = self._requestline = self._command = self._request_version = UNSET

    cdef list buffer(self):
        """The lines that are buffered, to add to."""
        if self.lines is None:
            self.lines = []
            self.buffers = True
        return self.lines

    def send_response(self, code, message=None):
        """Begin a response: the status line, Server and Date; also logs the request.

        Args:
            code: the status.
            message: the reason phrase; None is the usual one.

        Raises:
            ValueError: the phrase holds CR, LF or NUL.
        """
        if self.shape is None or not self.shape.replies or not PyLong_Check(code):
            return super().send_response(code, message)
        self.log(code)
        self._status = code
        self._length = None
        self._coded = self._told = False
        self.buffer().append(self.opening(code, message))

    cdef int log(self, object code) except -1:
        """What `log_request` does, unless that is the program's."""
        if not self.shape.logs or not (is_int(code) or type(code) is _status_class) or code not in _texts:
            self.log_request(code)
        else:
            self.log_message(_log_format, self._requestline, _texts[code], "-")
        return 0

    cdef bytes opening(self, object code, object message):
        """The status line, Server and Date, which are the same for a second."""
        cdef timespec now
        cdef Shape shape = self.shape
        cdef object protocol = self.protocol_version
        cdef object server = self.server_version
        cdef object system = self.sys_version
        cdef object key = code if message is None else (code, message)
        cdef PyObject *found
        clock_gettime(CLOCK_REALTIME_COARSE, &now)
        if now.tv_sec != shape.second or not (
            protocol is shape.protocol and server is shape.server and system is shape.system
        ) or len(shape.openings) >= MANY:
            shape.openings = {}
            shape.second = now.tv_sec
            shape.protocol, shape.server, shape.system = protocol, server, system
        found = PyDict_GetItem(shape.openings, key)
        if found != NULL:
            return <bytes>found
        shape.openings[key] = opening = self._opening(code, message)
        return opening

    def send_header(self, keyword, value):
        """Add a header.

        Raises:
            ValueError: name or value hold CR, LF or NUL (they would be taken for further headers), or the value of
                Content-Length is no number.
        """
        cdef Name name
        cdef bytes line
        cdef object text = value
        cdef Py_ssize_t number
        if self.shape is not None and self.shape.plain and PyUnicode_CheckExact(keyword):
            name = name_of(keyword)
            if is_int(value):
                text = str(value)
            if name.kind != UNUSUAL and PyUnicode_CheckExact(text) and is_ascii(text):
                number = number_in(text) if name.kind == COUNTS else 0
                line = line_of(name, text) if number >= 0 else None
                if line is not None:
                    if name.kind == COUNTS:
                        self._length = number
                    self.buffer().append(line)
                    return
        super().send_header(keyword, value)

    def end_headers(self):
        """End the head. It leaves with the first byte of the body, at the latest when the request ends."""
        if not self.begin_body():
            super().end_headers()

    cdef bint begin_body(self) except -1:
        """Give the writer the head of a body that has a length; False where there is more to decide."""
        cdef QuickWriter writer = self.writer
        if self.shape is None or not self.shape.replies or not self.lines or writer is None or self.close < 0:
            return False
        if not self._is_ordinary() or self._wfile is not writer:
            return False
        if self._record.ending:
            self.close = True
        if not self._told and self.protocol_version >= V11:
            self._say_what_follows()
        self._answered, self._status = self._status, 0
        writer.lines, self.lines = self.lines, None
        writer._framing = LENGTH
        writer._left = self._length
        return True

    cdef bint _is_ordinary(self) noexcept:
        """Whether a response's body is what is written, as long as its Content-Length says: see `framing()`."""
        return (
            (self._status == 200 or self._status == 404)
            and self._length is not None
            and not self._coded
            and (self._command is GET or self._command is POST)
            and (self._request_version is V11 or self._request_version is V10)
            and self._body is NO_BODY
        )

    cdef int _say_what_follows(self) except -1:
        """What the client would not know by itself of what becomes of the connection (RFC 9112, 9.3)."""
        if self.close:
            if self._request_version is V11:
                self.lines.append(b"Connection: close\r\n")
        elif self._request_version is V10:
            self.lines.append(b"Connection: keep-alive\r\n")
        return 0

    # -- what programs see --

    @property
    def _headers_buffer(self):
        """The lines of a head that has not ended, as the standard library calls them."""
        if not self.buffers:
            raise missing(self, "_headers_buffer")
        return self.buffer()

    @_headers_buffer.setter
    def _headers_buffer(self, lines):
        self.lines = lines
        self.buffers = True

    @property
    def _writer(self):
        """The connection's writer, while it is open."""
        return self.writer

    @_writer.setter
    def _writer(self, writer):
        self.writer = writer

    @property
    def close_connection(self):
        """Whether this request is the connection's last."""
        if self.close < 0:
            raise missing(self, "close_connection")
        return bool(self.close)

    @close_connection.setter
    def close_connection(self, value):
        self.close = bool(value)

    @property
    def wfile(self):
        """The response."""
        return given(self, self._wfile, "wfile")

    @wfile.setter
    def wfile(self, file):
        self._wfile = file

    @property
    def requestline(self):
        """The request's first line, without its end."""
        return given(self, self._requestline, "requestline")

    @requestline.setter
    def requestline(self, line):
        self._requestline = line

    @property
    def command(self):
        """The request's method."""
        return given(self, self._command, "command")

    @command.setter
    def command(self, method):
        self._command = known_text(method)

    @property
    def request_version(self):
        """The request's version."""
        return given(self, self._request_version, "request_version")

    @request_version.setter
    def request_version(self, version):
        self._request_version = known_text(version)


cdef object given(object self, object value, str name):
    """An attribute's value; AttributeError where it has none yet."""
    if value is UNSET:
        raise missing(self, name)
    return value


cdef object missing(object self, str name):
    return AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


cdef object known_text(object text):
    """One object for each of the words that are compared by identity."""
    for each in (V11, V10, GET, POST):
        if text == each:
            return each
    return text
