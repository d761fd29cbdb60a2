"""The usual request, at the least cost: a head that has come whole, like the one before but for its line, without a body.

`QuickRequests` stands before the Python classes that know every case, see `portside.core.replies`. It keeps what the
head before has meant. The same head means the same; one that differs in its first line means what that line says, where
it is the plainest of lines. Everything else is understood by `parse_request`, which is Python's.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.string cimport memchr, memcmp

from portside.core.connecting cimport QuickConnections
from portside.core.counting cimport Notes
from portside.core.heads cimport ENDED, PARTS, Found
from portside.core.hub cimport Hub, Task, hub_here
from portside.core.linux cimport monotonic
from portside.core.replies cimport GET, NO_BODY, POST, UNSET, V10, V11, given
from portside.core.shapes cimport shape_of, tag_of
from portside.core.stream cimport Stream

from portside.core.heads import HeadReader as _HeadReader
from portside.core.shapes import compare_with, has_own_hooks


cdef extern from "Python.h":
    ctypedef struct PyThreadState:
        PyObject *context

    PyThreadState *PyThreadState_Get()
    object ascii_text "PyUnicode_DecodeASCII"(const char *data, Py_ssize_t size, const char *errors)


    object call_method "PyObject_VectorcallMethod"(object name, PyObject **arguments, size_t count, PyObject *names)


cdef int serve(PyObject *handler) except -1:
    return (<QuickRequests>handler).serve()


cdef extern from *:
    """
    /* The dictionary of an object, or what stands for it, which a look-up of any attribute asks; a hint only. */
    static void *portside_attributes_of(PyObject *object)
    {
        if (!PyType_HasFeature(Py_TYPE(object), Py_TPFLAGS_MANAGED_DICT))
            return NULL;
    #if PY_VERSION_HEX < 0x030C0000
        if (((void **)object)[-4] != NULL)
            return ((void **)object)[-4];
    #endif
        return ((void **)object)[-3];
    }
    """
    void *attributes_of "portside_attributes_of"(PyObject *object) noexcept


# How a plain line ends, and how many bytes that are.
cdef bytes ENDING_11 = b" HTTP/1.1\r\n"
cdef bytes ENDING_10 = b" HTTP/1.0\r\n"
cdef enum:
    ENDING = 11

cdef tuple NUMBER_11 = (1, 1)
cdef tuple NUMBER_10 = (1, 0)

# The methods of plain lines, with the space behind them, as programs see them, and with the name of what answers them.
cdef tuple METHODS = tuple(
    (word.encode() + b" ", word, f"do_{word}") for word in (GET, POST, "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS")
)

# Header fields of at most so many bytes are remembered, so many of a class: kinds of clients are few, and a handful is
# no memory to speak of.
cdef enum:
    LONGEST_BLOCK = 2048
    BLOCKS = 64

# The event of a request, whose `subscribers` say whether anybody wants to know; and its tag when they were looked at.
cdef object _event = None
cdef unsigned int _event_tag = 0
cdef bint _is_told = False

# The attributes that are kept here, by the names that programs and the Python classes know them by.
KEPT = (
    *("raw_requestline", "requestline", "command", "path", "request_version", "close_connection", "rfile", "wfile"),
    *("_headers_buffer", "_writer", "_status", "_answered", "_length", "_coded", "_told", "_body", "_record"),
    *("_source", "_message", "_began", "_under_way", "_takes_heads", "_socket"),
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
    cdef object fields  # its header fields, understood within `limits`
    cdef object limits, protocol  # of the handler then
    cdef bint close


# What first heads have meant: another client's is most often the same, and then it is understood already, and in the
# processor's caches, where a copy for each of thousands of connections would not be.
cdef dict _first_heads = {}
cdef Py_ssize_t FIRST_HEADS = 64
cdef Py_ssize_t LONGEST_SHARED = 2048  # bytes: 64 of them, and what they mean, are half a megabyte


cdef Meaning plain_line(bytes head):
    """The first line of a head, where it is of the plainest: a usual method, a path in ASCII, and a version."""
    cdef const char *data = PyBytes_AS_STRING(head)
    cdef const char *newline = <const char *>memchr(data, 10, PyBytes_GET_SIZE(head))
    cdef Py_ssize_t size = newline - data + 1
    cdef Py_ssize_t start, end = size - ENDING
    cdef Meaning meaning
    cdef bytes word
    if newline == NULL or end < 0 or not (ends_with(head, end, ENDING_11, size) or ends_with(head, end, ENDING_10, size)):
        return None
    for word, command, method in METHODS:
        start = PyBytes_GET_SIZE(word)
        if start < end and memcmp(data, PyBytes_AS_STRING(word), start) == 0:
            break
    else:
        return None
    if data[start] != 47 or data[start + 1] == 47:  # "//" is for the long way
        return None
    for place in range(start, end):
        if not 32 < data[place] < 127:
            return None
    meaning = Meaning()
    meaning.head = head
    meaning.line = PyBytes_FromStringAndSize(data, size)
    meaning.requestline = ascii_text(data, size - 2, NULL)
    meaning.path = ascii_text(data + start, end - start, NULL)
    meaning.version = V11 if data[size - 3] == 49 else V10
    meaning.command = command
    meaning.method = method
    return meaning


cdef bint ends_with(bytes whole, Py_ssize_t at, bytes part, Py_ssize_t end=-1) noexcept:
    """Whether `part` is what stands from one place to another, or to the end."""
    cdef Py_ssize_t size = (PyBytes_GET_SIZE(whole) if end < 0 else end) - at
    return size == PyBytes_GET_SIZE(part) and memcmp(PyBytes_AS_STRING(whole) + at, PyBytes_AS_STRING(part), size) == 0


cdef class QuickRequests(QuickConnections):
    """Takes requests: the usual way of `portside.http.handler.BaseHTTPRequestHandler`."""

    cdef object _raw_requestline, _path
    cdef public object _message
    cdef public double _began
    cdef public bint _takes_heads
    cdef bint serves  # whether a request has come
    cdef bint counted  # whether requests are, at this server
    cdef bint told  # whether somebody wants to know of this one
    cdef object noted, noted_command, noted_status  # where the last one's seconds are noted, and what it was
    cdef Py_ssize_t most
    cdef double between  # seconds that a wait for the next request may last; negative for no change
    cdef Meaning known
    cdef bytes block  # the header fields of the last request that was recalled
    cdef Task task  # that waits for the requests, where it is known what they touch
    cdef bint leaves  # whether `handle` has nothing of its own between two requests
    cdef object failure  # what a request has raised that others have served

    def __cinit__(self, *_, **__):
        self._raw_requestline = self._path = UNSET

    def _look_for_overrides(self):
        """See what of this class and its connection is usual."""
        self.shape = shape_of(self)
        self.counted = self._tally is not None
        self.reader = reader = self._reader
        if reader is not None:
            self.file = reader.file
            self.most = reader.small
            self.between = -1 if self.timeout is not None else self.http_limits.keep_alive
            heads = getattr(reader, "heads", None)
            if type(heads) is _HeadReader:
                self.heads = heads
        if not self.shape.heads or has_own_hooks(self):
            super()._look_for_overrides()
        else:
            self._takes_heads = reader is not None

    def handle(self):
        """Handle the connection's requests, one after the other. May be overridden."""
        if self.shape is not None and has_own_hooks(self):
            self.shape = None
        if self.heads is not None:
            self._gather_company()
        self.close = True
        self._next()
        self.leaves = True
        while not self.close_connection:
            if self._under_way:  # a `handle_one_request` that is not ours has left that to us
                self._end_request()
            self._next()

    # -- requests are served by others --

    cdef bint may_leave(self, Hub hub) except -1:
        """Whether the next request is to be waited for, and nothing that only this greenlet has is needed for it."""
        cdef Stream stream = self.heads.stream
        return (
            stream.drained
            and stream.start == stream.end
            and (stream.layer is None or stream.layer.is_idle())
            and stream.broken is None
            and stream.patience != 0
            and not stream.closed
            and stream.hub is hub
            and hub.epoll >= 0
            and hub.is_green()
            and self.shape is not None
            and self.shape.turns
            and not self._under_way
            and PyThreadState_Get().context == NULL
        )

    cdef int leave(self) except -1:
        """Wait for the next request; with many connections others serve it, and those after it."""
        cdef Stream stream = self.heads.stream
        cdef Hub hub = hub_here()
        if hub is None:
            return 0
        if stream.hub is None:  # its first requests came at once: it has never waited
            stream.hub = hub
        if not self.may_leave(hub):
            return 0
        if hub.dirty is not None:
            hub._flush()
        if stream.await_input_of(hub, hub.here(), stream.deadline(False)):
            hub.leave_to_others(hub.here(), serve, <PyObject *>self)
            if stream.drained and not stream.closed and monotonic() >= stream.read_by:
                raise TimeoutError("timed out")
        return 0

    cdef bint serve(self) except -1:
        """Serve the requests that have come, in a greenlet of somebody else's; returns whether to wait for more there."""
        cdef Stream stream = self.heads.stream
        cdef Hub hub = hub_here()
        if stream.drained or stream.closed:
            return False
        self.leaves = False  # it may wait for the rest of a request, but for the next one it waits below
        try:
            while True:
                self._next()
                if self.close_connection:
                    return False
                if self._under_way:
                    self._end_request()
                if hub.dirty is not None:
                    hub._flush()
                if stream.drained and stream.start == stream.end:
                    return self.may_leave(hub) and stream.await_input_of(hub, hub.here(), stream.deadline(False))
        except Exception as error:
            self.failure = error
            raise
        finally:
            self.leaves = True

    # -- one by one --

    cdef int _gather_company(self) except -1:
        """Tell the hub what a request will touch, to be fetched: the caches do not hold that of thousands of clients."""
        cdef Hub hub = hub_here()
        cdef char *me = <char *><PyObject *>self
        cdef int place
        if hub is None:
            return 0
        self.task = hub.current
        for place in range(4):  # from the pointers before it on, as the interpreter lays objects out
            self.task.company[place] = me + 128 * place - 64
        self.task.company[4] = <void *>self.writer
        self.task.company[5] = <void *>self.heads
        self.task.company[6] = <void *>self._record
        self.task.company[7] = <void *>self.file
        if self.writer is not None:
            self.task.company[8] = <void *>self.writer.file
        self.task.company[9] = attributes_of(<PyObject *>self)
        return 0

    cdef int _next(self) except -1:
        if self.shape is None or not self.shape.turns:
            self.handle_one_request()
        else:
            self.turn()
        return 0

    def handle_one_request(self):
        """Handle a single request. May be overridden, though `do_...` methods are the usual way."""
        self.turn()

    cdef int _look_again(self) except -1:
        """The class may have been changed while a request was waited for."""
        if self.shape.tag != tag_of(type(self)):
            self.shape = shape_of(self)
        return 0

    cdef int turn(self) except -1:
        if self.shape is None or not self.shape.heads or not self._takes_heads or self._rfile is not self.file:
            if self.shape is not None:
                self._look_again()
            self.known = self.block = None  # what they mean, nobody has seen to
            super(QuickRequests, self).handle_one_request()
            return 0
        try:
            if self.await_request():
                self.answer()
                self.conclude()
        except Exception as error:
            failure, self.failure = self.failure, None
            if error is failure or not self._rescue(error):
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
        self._look_again()
        if not self.shape.heads:
            self.known = self.block = None
            return self._understand(head)
        if known is not None and head == known.head and known.protocol is self.protocol_version:
            self._recall()
            return True
        self.known = self._read(head) if known is not None else self._read_first(head)
        if self.known is None:
            self.block = None
            return self._understand(head)
        self._recall()
        return True

    cdef bytes _await_head(self):
        """The next head; b"" when there is none."""
        cdef Found found = PARTS
        if self.heads is not None:
            self._record.idle = self.serves
            self.serves = True
            if self.leaves:
                self.leave()
                if self.close:
                    return b""
            found = self.heads.next(self.most)
            self._record.idle = False
        if found == PARTS:
            return self._head_of(self.reader)
        return b"" if found == ENDED else self.heads.last

    cdef int _begin(self) except -1:
        self._under_way = True
        self._answered = 0
        self.told = is_told()
        if self.counted or self.told:
            self._began = monotonic()
        self.lines = None
        self.buffers = True
        if self.writer is not None:
            self.writer.start()
        return 0

    cdef bint _understand(self, bytes head) except -1:
        """By the long way."""
        self._look_at_head(head)
        return self.parse_request()

    cdef Meaning _read_first(self, bytes head):
        """The same for a connection's first head, which others may have sent before."""
        cdef Meaning meaning = _first_heads.get(head)
        if meaning is not None and meaning.protocol is self.protocol_version and meaning.limits is self.http_limits:
            if self.heads is not None:
                self.heads.last = meaning.head
            return meaning
        meaning = self._read(head)
        if meaning is not None and PyBytes_GET_SIZE(head) <= LONGEST_SHARED:
            if len(_first_heads) >= FIRST_HEADS:
                _first_heads.clear()
            _first_heads[head] = meaning
        return meaning

    cdef Meaning _read(self, bytes head):
        """What a plain head means whose request has no body; None for any other, be it one to be refused."""
        cdef Meaning known = self.known
        cdef Meaning meaning = plain_line(head)
        cdef Py_ssize_t size
        if meaning is None:
            return None
        size = PyBytes_GET_SIZE(meaning.line)
        meaning.protocol = self.protocol_version
        meaning.limits = self.http_limits
        if known is None or not ends_with(head, size, known.block):
            meaning.block = head[size:]
            known = self.shape.blocks.get(meaning.block)
        if known is not None and known.limits is meaning.limits:
            meaning.block = known.block
            meaning.fields = known.fields
        else:
            if not self._parse_usual_fields(meaning.block):
                return None
            meaning.fields = self._fields
            known = None
        if known is not None and known.version is meaning.version and known.protocol is meaning.protocol:
            meaning.close = known.close
            return meaning
        self._fields = meaning.fields
        self._choose_connection(NUMBER_11 if meaning.version is V11 else NUMBER_10)
        meaning.close = self.close
        self._remember(meaning)
        return meaning

    cdef int _remember(self, Meaning meaning) except -1:
        """Other clients of the same kind will say the same of themselves."""
        cdef dict blocks = self.shape.blocks
        if PyBytes_GET_SIZE(meaning.block) <= LONGEST_BLOCK:
            if len(blocks) >= BLOCKS:
                blocks.clear()
            blocks[meaning.block] = meaning
        return 0

    cdef int _recall(self) except -1:
        """What `parse_request` does, from memory."""
        cdef Meaning known = self.known
        self._raw_requestline = known.line
        self._requestline = known.requestline
        self._command = known.command
        self._path = known.path
        self._request_version = known.version
        if known.block is not self.block:
            self._fields, self._block = known.fields, known.block
            self.block = known.block
        self.close = known.close
        self._message = None
        self._source = self._rfile
        if NO_BODY.closed:
            self._open_body()
        else:
            self._rfile = self._body = NO_BODY
        return 0

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

    cdef int note(self, double seconds) except -1:
        """Count the request, as `_end_request` does; most are like the one before."""
        cdef object status = self._answered
        if self.noted is None or self.noted_command is not self._command or self.noted_status != status:
            self.noted = self._tally.durations[self._command, status]
            self.noted_command, self.noted_status = self._command, status
        if type(self.noted) is Notes:
            (<Notes>self.noted).add(seconds)
        else:
            self.noted.note(seconds)
        return 0

    cdef int conclude(self) except -1:
        """The request ends; see `_end_request`."""
        if self.told or self.writer is None or self._wfile is not self.writer or self._body is not NO_BODY:
            self._end_request()
            return 0
        if not self._under_way:
            return 0
        self._under_way = False
        if self.counted and self._answered:
            self.note(monotonic() - self._began)
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
