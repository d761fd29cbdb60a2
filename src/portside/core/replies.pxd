"""The types of the usual answer, for who takes the requests."""

from portside.core.shapes cimport Shape
from portside.core.stream cimport StreamWriter


cdef class QuickWriter:
    cdef object _send  # how a small piece is sent
    cdef StreamWriter file  # where the sink is a green one, and keeps nothing back
    cdef list lines  # of a head that is kept, without the empty line that ends it
    cdef public bint _keeps
    cdef public object _framing
    cdef public long long _left
    cdef public bint started
    cdef public long long sent
    cdef public bint broken

    cdef int start(self) except -1
    cdef bint is_over(self) noexcept
    cdef int finish(self) except -1
    cdef int deliver(self, bytes body) except -1
    cdef int deliver_joined(self, bytes body, Py_ssize_t size) except -1


cdef class QuickReplies:
    cdef Shape shape  # of the handler's class; None where all goes the long way
    cdef list lines
    cdef bint buffers  # whether there is a buffer for lines, be it empty
    cdef public long _status
    cdef public long _answered
    cdef public object _length
    cdef public bint _coded
    cdef public bint _told
    cdef QuickWriter writer
    cdef object _wfile
    cdef object _requestline
    cdef object _command
    cdef object _request_version
    cdef int close  # whether the connection ends with this request; negative until that is known
    cdef public object _body
    cdef public object _record

    cdef list buffer(self)
    cdef int log(self, object code) except -1
    cdef bytes opening(self, object code, object message)
    cdef bint begin_body(self) except -1

    cdef bint _is_ordinary(self) noexcept
    cdef int _say_what_follows(self) except -1


cdef object GET, POST, V10, V11, UNSET, NO_BODY, RAW
cdef object given(object self, object value, str name)
cdef object known_text(object text)
