"""A shape's type, for who goes by it."""


cdef class Shape:
    cdef unsigned int tag  # of the class when it was looked at
    cdef bint plain  # what the compiled classes keep is kept in them: no name of theirs stands for something else
    cdef bint connects  # the socket is kept as ours is
    cdef bint replies  # what `send_response` and `end_headers` call is ours
    cdef bint logs  # `log_request` is
    cdef bint heads  # `parse_request` is
    cdef bint turns  # `handle_one_request` is
    # How responses begin, by status, in one second, and what else that depends on.
    cdef dict openings
    cdef long second
    cdef object protocol
    cdef object server
    cdef object system
    # What header fields have meant, of any client.
    cdef dict blocks


cdef Shape shape_of(object handler)
cdef unsigned int tag_of(object kind) noexcept
