# What comes after TLS: a layer until that is read.


cdef class Remains(Layer):
    """What came after the end of TLS together with it: the stream goes on with that."""

    cdef bytes rest

    def __cinit__(self, bytes rest not None):
        self.rest = rest

    cdef Py_ssize_t receive(self, Stream stream, char *buffer, Py_ssize_t size, int flags) except -1:
        """As `Stream.receive`."""
        cdef Py_ssize_t count = PyBytes_GET_SIZE(self.rest)
        if buffer == NULL:
            stream.make_room()
            buffer = bytes_data(stream.input) + stream.end
            stream.end += count  # there is room for more than one receive takes
        else:
            count = min(count, size)
        memcpy(buffer, PyBytes_AS_STRING(self.rest), count)
        if not flags & MSG_PEEK:
            self.rest = self.rest[count:]
            if not self.rest:
                stream.layer = None
        return count

    cdef int send(self, Stream stream, const char *data, Py_ssize_t size, double by) except -1:
        """As `Stream.send_all`."""
        return stream.send_raw(data, size, by)
