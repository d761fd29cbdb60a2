"""The usual request, at the least cost: a head that has come whole, like the one before but for its line, without a body.

`QuickRequests` stands before the Python classes that know every case, see `portside.core.replies`. It keeps what the
head before has meant. The same head means the same; one that differs in its first line means what that line says, where
it is the plainest of lines. Everything else is understood by `parse_request`, which is Python's.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.string cimport memcmp

from portside.core.heads cimport ENDED, PARTS, Found, HeadReader
from portside.core.replies cimport NO_BODY, UNSET, V10, V11, QuickReplies, given
from portside.core.shapes cimport shape_of, tag_of

from time import perf_counter

from portside.core.heads import HeadReader as _HeadReader
from portside.core.shapes import compare_with, has_own_hooks


cdef extern from "Python.h":
    object ascii_text "PyUnicode_DecodeASCII"(const char *data, Py_ssize_t size, const char *errors)


    object call_method "PyObject_VectorcallMethod"(object name, PyObject **arguments, size_t count, PyObject *names)


# Bytes of " HTTP/1.1", CR and LF.
cdef enum:
    ENDING = 11

# The event of a request, whose `subscribers` say whether anybody wants to know; and its tag when they were looked at.
cdef object _event = None
cdef unsigned int _event_tag = 0
cdef bint _is_told = False

# The attributes that are kept here, by the names that programs and the Python classes know them by.
KEPT = (
    *("raw_requestline", "requestline", "command", "path", "request_version", "close_connection", "rfile", "wfile"),
    *("_headers_buffer", "_writer", "_status", "_answered", "_length", "_coded", "_told", "_body", "_record"),
    *("_source", "_message", "_began", "_under_way", "_takes_heads"),
)


def stand_before(handler, event):
    """`handler` is the class whose ways these are, and `event` what is told of a request."""
    global _event
    _event = event
    compare_with(handler, *KEPT)


cdef bint is_told() except -1:
    """Whether anybody wants to know of requests."""
    global _event_tag, _is_told
    if tag_of(_event) != _event_tag or not _event_tag:  # a class that has just been changed has none
        _is_told = bool(_event.subscribers)
        _event_tag = tag_of(_event)
    return _is_told


@cython.final
cdef class Meaning:
    """What a head has meant."""

    cdef bytes head
    cdef bytes line
    cdef bytes block  # its header fields
    cdef object requestline, command, path, version
    cdef object method  # the name of what answers it
    cdef object protocol  # of the handler then
    cdef bint close
    cdef bint any_line  # the same fields mean the same behind every plain line


cdef class QuickRequests(QuickReplies):
    """Takes requests: the usual way of `portside.http.handler.BaseHTTPRequestHandler`."""

    cdef object _raw_requestline, _path, _rfile
    cdef public object _source
    cdef public object _message
    cdef public double _began
    cdef public bint _under_way
    cdef public bint _takes_heads
    cdef bint serves  # whether a request has come
    cdef HeadReader heads  # where the connection's input is a green one
    cdef object reader
    cdef object file  # what it reads for others
    cdef Py_ssize_t most
    cdef double between  # seconds that a wait for the next request may last; negative for no change
    cdef Meaning known

    def __cinit__(self, *_, **__):
        self._raw_requestline = self._path = self._rfile = UNSET

    def _look_for_overrides(self):
        """See what of this class and its connection is usual."""
        super()._look_for_overrides()
        self.shape = None if has_own_hooks(self) else shape_of(type(self))
        self.reader = reader = self._reader
        if reader is not None:
            self.file = reader.file
            self.most = reader.small
            self.between = -1 if self.timeout is not None else self.http_limits.keep_alive
            heads = getattr(reader, "heads", None)
            if type(heads) is _HeadReader:
                self.heads = heads

    def handle(self):
        """Handle the connection's requests, one after the other. May be overridden."""
        self.close = True
        self._next()
        while not self.close_connection:
            if self._under_way:  # a `handle_one_request` that is not ours has left that to us
                self._end_request()
            self._next()

    cdef int _next(self) except -1:
        if self.shape is None or not self.shape.turns:
            self.handle_one_request()
        else:
            self.turn()
        return 0

    def handle_one_request(self):
        """Handle a single request. May be overridden, though `do_...` methods are the usual way."""
        self.turn()

    cdef int turn(self) except -1:
        if self.shape is not None and self.shape.tag != tag_of(type(self)):
            self.shape = shape_of(self)
        if self.shape is None or not self.shape.heads or not self._takes_heads or self._rfile is not self.file:
            super(QuickRequests, self).handle_one_request()
            return 0
        try:
            if self.await_request():
                self.answer()
                self.conclude()
        except Exception as error:
            if not self._rescue(error):
                raise
        return 0

    # -- a request comes in --

    cdef bint await_request(self) except -1:
        """Wait for a request and understand it; False when there is none to be answered."""
        cdef bytes head = self._await_head()
        cdef Meaning known = self.known
        if not head:
            self.close = True
            return False
        self._begin()
        if known is not None and known.protocol is self.protocol_version:
            if head == known.head or known.any_line and self._read_line(head):
                self._recall()
                return True
        return self._understand(head)

    cdef bytes _await_head(self):
        """The next head; b"" when there is none."""
        cdef Found found = PARTS
        if self.heads is not None:
            self._record.idle = self.serves
            self.serves = True
            found = self.heads.next(self.most)
            self._record.idle = False
        if found == PARTS:
            return self._head_of(self.reader)
        return b"" if found == ENDED else self.heads.last

    cdef int _begin(self) except -1:
        self._under_way = True
        self._answered = 0
        if is_told():
            self._began = perf_counter()
        self.lines = None
        self.buffers = True
        if self.writer is not None:
            self.writer.start()
        return 0

    cdef bint _understand(self, bytes head) except -1:
        """By the long way; and remember what it meant."""
        cdef Meaning meaning = None
        self.known = None
        self._look_at_head(head)
        if not self.parse_request():
            return False
        if self._body is NO_BODY and self._message is None and not self._fields.expects_continue:
            meaning = Meaning()
            meaning.head = head
            meaning.line = self._raw_requestline
            meaning.block = head[len(meaning.line):]
            meaning.requestline = self._requestline
            meaning.command = self._command
            meaning.path = self._path
            meaning.version = self._request_version
            meaning.method = f"do_{self._command}"
            meaning.protocol = self.protocol_version
            meaning.close = self.close
            meaning.any_line = (meaning.version is V11 or meaning.version is V10) and self._fields.host is not None
        self.known = meaning
        return True

    cdef int _recall(self) except -1:
        """What `parse_request` does, from memory."""
        cdef Meaning known = self.known
        self._raw_requestline = known.line
        self._requestline = known.requestline
        self._command = known.command
        self._path = known.path
        self._request_version = known.version
        self.close = known.close
        self._message = None
        self._source = self._rfile
        if NO_BODY.closed:
            self._open_body()
        else:
            self._rfile = self._body = NO_BODY
        return 0

    cdef bint _read_line(self, bytes head) except -1:
        """Learn what a head means that differs from the one before in its target alone; False for any other."""
        cdef Meaning known = self.known
        cdef const char *data = PyBytes_AS_STRING(head)
        cdef const char *before = PyBytes_AS_STRING(known.line)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(head) - PyBytes_GET_SIZE(known.block)  # of the line
        cdef Py_ssize_t start = len(known.command) + 1  # of the target
        cdef Py_ssize_t end = size - ENDING
        if end <= start or memcmp(data + size, PyBytes_AS_STRING(known.block), PyBytes_GET_SIZE(known.block)):
            return False
        if memcmp(data, before, start) or memcmp(data + end, before + PyBytes_GET_SIZE(known.line) - ENDING, ENDING):
            return False
        if data[start] != 47 or data[start + 1] == 47:  # "//" is for the long way
            return False
        for place in range(start, end):
            if not 32 < data[place] < 127:
                return False
        known.head = head
        known.line = PyBytes_FromStringAndSize(data, size)
        known.requestline = ascii_text(data, size - 2, NULL)
        known.path = ascii_text(data + start, end - start, NULL)
        return True

    # -- a request is answered --

    cdef int answer(self) except -1:
        """Call `do_GET`, or what else answers a request."""
        cdef PyObject *handler = <PyObject *>self
        cdef object name = f"do_{self._command}" if self.known is None else self.known.method
        try:
            call_method(name, &handler, 1, NULL)
        except AttributeError:
            if hasattr(self, name):
                raise
            self._refuse_method()
        return 0

    cdef int conclude(self) except -1:
        """The request ends; see `_end_request`."""
        if self._began or self.writer is None or self._wfile is not self.writer or self._body is not NO_BODY:
            self._end_request()
            return 0
        if not self._under_way:
            return 0
        self._under_way = False
        self.writer.finish()
        if self.writer.broken:
            self.close = True
        if self._source is not None:
            self._rfile, self._source = self._source, None
        if self.between >= 0 and not self.close:
            if self.heads is not None:
                self.heads.stream.idle = self.between
            else:
                self.reader.wait_at_most(self.between)
        return 0

    # -- what programs see --

    @property
    def raw_requestline(self):
        """The request's first line, as it came."""
        return given(self, self._raw_requestline, "raw_requestline")

    @raw_requestline.setter
    def raw_requestline(self, line):
        self._raw_requestline = line

    @property
    def path(self):
        """The request's target."""
        return given(self, self._path, "path")

    @path.setter
    def path(self, target):
        self._path = target

    @property
    def rfile(self):
        """The request's body."""
        return given(self, self._rfile, "rfile")

    @rfile.setter
    def rfile(self, file):
        self._rfile = file
