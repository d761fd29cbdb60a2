"""Takes whole heads of requests from a stream, in one call each, and knows nothing of what they say.

A head ends with an empty line. Clients repeat themselves, so one that is the same as the one before comes back as the
same object: who has understood it needs not look again.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memcmp

from portside.core.hub cimport Channel
from portside.core.stream cimport Stream


cdef extern from *:
    """
    #include <string.h>
    """
    void *memmem(const void *haystack, size_t length, const void *needle, size_t size) nogil


cdef extern from "Python.h":
    char *bytes_data "PyBytes_AS_STRING"(void *)


@cython.final
cdef class HeadReader:
    """Reads heads from a green socket, beside its files: they share what is unread.

    Args:
        sock: a connected green stream socket.
    """

    def __cinit__(self, sock):
        self.stream = sock._channel

    cdef Found next(self, Py_ssize_t most) except *:
        """Take the next head into `last`, after one receive where nothing is unread.

        A head of more than `most` bytes, or behind an empty line, is one in parts.
        """
        cdef Stream stream = self.stream
        cdef const char *data
        cdef const char *end
        cdef Py_ssize_t size
        if stream.start == stream.end:
            size = stream.fill_unless(self.last)
            if size != 2:
                return SAME if size else ENDED
        data = bytes_data(stream.input) + stream.start
        end = <const char *>memmem(data, stream.end - stream.start, b"\r\n\r\n", 4)
        size = end - data + 4
        if end == NULL or size > most or data[0] == 13:
            return PARTS
        if self.last is not None and PyBytes_GET_SIZE(self.last) == size:
            if memcmp(PyBytes_AS_STRING(self.last), data, size) == 0:
                self._skip(size)
                return SAME
        self.last = stream.take(size)
        return OTHER

    def take(self, Py_ssize_t most):
        """The next head with the empty line that ends it, after one receive where nothing is unread.

        Returns:
            b"" at the end of the stream; None where what is unread is no whole head of at most `most` bytes, or begins
            with an empty line.

        Raises:
            TimeoutError: nothing came in time. OSError: the connection broke.
        """
        cdef Found found = self.next(most)
        return None if found == PARTS else b"" if found == ENDED else self.last

    cdef int _skip(self, Py_ssize_t size) except -1:
        cdef Stream stream = self.stream
        stream.start += size
        if stream.seen < stream.start:
            stream.seen = stream.start
        if stream.start == stream.end:
            stream.drop()
        return 0

    def more(self):
        """Receive more behind what is unread, waiting for it; returns False at the end of the stream."""
        return self.stream.fill() > 0

    def give_back(self, bytes data not None):
        """Put bytes in front of what is unread."""
        cdef Stream stream = self.stream
        cdef bytes unread
        if PyBytes_GET_SIZE(data):
            unread = data + stream.take(stream.end - stream.start) if stream.start < stream.end else data
            stream.keep(PyBytes_AS_STRING(unread), PyBytes_GET_SIZE(unread))

    @property
    def buffered(self):
        """Bytes that can be read without waiting."""
        return self.stream.end - self.stream.start

    @property
    def wait(self):
        """Seconds that every read may last; None is for ever."""
        return None if self.stream.idle < 0 else self.stream.idle

    def wait_at_most(self, seconds):
        """Let every read last so many seconds from now on; None is for ever."""
        self.stream.idle = -1 if seconds is None else seconds
