"""The head reader's type, for who understands heads."""

from portside.core.stream cimport Stream


# What `HeadReader.next` found.
cdef enum Found:
    ENDED  # the end of the stream
    SAME  # the head before, once more
    OTHER  # another one
    PARTS  # no whole head, or none that is plain


cdef class HeadReader:
    cdef Stream stream
    cdef bytes last  # the head before

    cdef Found next(self, Py_ssize_t most) except *
    cdef int _skip(self, Py_ssize_t size) except -1
