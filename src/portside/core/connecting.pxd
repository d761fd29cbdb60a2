"""The type of the usual connection, for who takes its requests."""

from portside.core.heads cimport HeadReader
from portside.core.replies cimport QuickReplies


cdef class QuickConnections(QuickReplies):
    cdef public object _socket
    cdef object _rfile
    cdef public object _source
    cdef public bint _under_way
    cdef HeadReader heads  # where the connection's input is a green one
    cdef object reader
    cdef object file  # what it reads for others

    cdef bint open_usual(self) except -1
    cdef int _find_record(self, object sock) except -1
    cdef int _open_files(self, object sock, bint green) except -1
    cdef bint close_usual(self) except -1
    cdef object _looked_at(self)
