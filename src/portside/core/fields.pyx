"""Collects the header fields that a parser finds, for `portside.http.head`, which says what they mean."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE


cdef extern from "Python.h":
    object latin_text "PyUnicode_DecodeLatin1"(const char *data, Py_ssize_t size, const char *errors)


# The lengths of the names that are looked for, as bits: most fields need no further look.
cdef unsigned long LENGTHS = 0

# The names, in lower case.
cdef frozenset _wanted = frozenset()


def look_for(names):
    """Say once which fields are to be found in `FieldCollector.meant`: names of at most 63 characters, in lower case."""
    global _wanted, LENGTHS
    _wanted = frozenset(names)
    for name in names:
        LENGTHS |= 1UL << <int>len(name)


@cython.final
cdef class FieldCollector:
    """What httptools calls back.

    Attributes:
        fields: name and value of each field, latin-1 decoded.
        meant: the values of those that were looked for, by name in lower case.
    """

    cdef readonly list fields
    cdef readonly dict meant

    def __cinit__(self):
        self.fields = []
        self.meant = {}

    @cython.binding(False)
    def on_header(self, bytes name not None, bytes value not None):
        """One field; llhttp leaves the spaces behind its value."""
        cdef const char *text = PyBytes_AS_STRING(value)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(value), length = PyBytes_GET_SIZE(name)
        while size and (text[size - 1] == 32 or text[size - 1] == 9):
            size -= 1
        cdef object key = latin_text(PyBytes_AS_STRING(name), length, NULL)
        cdef object said = latin_text(text, size, NULL)
        self.fields.append((key, said))
        if length < 64 and LENGTHS >> length & 1:
            key = key.lower()
            if key in _wanted:
                self.meant.setdefault(key, []).append(said)
