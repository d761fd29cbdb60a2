# Header lines as they are sent, from what programs give. A part of replies.pyx.

# What a header's name asks for.
cdef enum Kind:
    PLAIN  # nothing
    COUNTS  # Content-Length: the number is looked at
    UNUSUAL  # a look by the long way


@cython.final
cdef class Name:
    """A header's name as programs give it: with the colon and the space that follow, as bytes."""

    cdef Kind kind
    cdef bytes prefix

    def __cinit__(self, str keyword):
        lowered = keyword.lower()
        unusual = ("connection", "transfer-encoding", "x-traceback")
        if lowered in unusual or not keyword.isascii() or any(end in keyword for end in "\r\n\0"):
            self.kind = UNUSUAL
        else:
            self.kind = COUNTS if lowered == "content-length" else PLAIN
            self.prefix = keyword.encode("ascii") + b": "


cdef dict _names = {}


cdef Name name_of(object keyword):
    cdef PyObject *found = PyDict_GetItem(_names, keyword)
    if found != NULL:
        return <Name>found
    if len(_names) >= MANY:
        _names.clear()
    _names[keyword] = name = Name(keyword)
    return name


cdef Py_ssize_t number_in(object text) noexcept:
    """The number that an ASCII text of digits is; -1 for anything else, and for numbers of many digits."""
    cdef const char *digits = ascii_data(text)
    cdef Py_ssize_t size = text_size(text)
    cdef Py_ssize_t number = 0
    if size == 0 or size > 18:
        return -1
    for place in range(size):
        if not 48 <= digits[place] <= 57:
            return -1
        number = 10 * number + digits[place] - 48
    return number


cdef bytes line_of(Name name, object text):
    """A header's line; None for a value that is not plain ASCII, or ends the line."""
    cdef Py_ssize_t size = text_size(text), start = PyBytes_GET_SIZE(name.prefix)
    cdef const char *value = ascii_data(text)
    cdef bytes line = PyBytes_FromStringAndSize(NULL, start + size + 2)
    cdef char *data = PyBytes_AS_STRING(line)
    cdef char each
    memcpy(data, PyBytes_AS_STRING(name.prefix), start)
    data += start
    for place in range(size):
        each = value[place]
        if each == 10 or each == 13 or each == 0:
            return None
        data[place] = each
    data[size] = 13
    data[size + 1] = 10
    return line
