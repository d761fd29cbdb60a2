"""What a handler's class has left as it was: then what the usual way calls is known, and needs no look.

A class is known by its version tag. The interpreter gives it another one whenever the class, or a base of it, changes;
so each class is looked at once, a patched one again, and none is kept alive.
"""

cimport cython


cdef extern from "Python.h":
    ctypedef struct PyTypeObject:
        unsigned int tp_version_tag


# What is known of at most so many classes at once.
cdef Py_ssize_t MANY = 256

# By tag.
cdef dict _shapes = {}

# The class that others are compared with.
cdef object _model = None

# What `send_response` and `end_headers` call, and who wants to be asked for it.
cdef tuple REPLIES = ("send_response_only", "send_header", "version_string", "date_time_string", "flush_headers")

# Who wants to be asked for every attribute.
cdef tuple WATCHERS = ("__getattribute__", "__setattr__")

cdef tuple HOOKS = (*REPLIES, *WATCHERS, "log_request", "parse_request", "handle_one_request")

# How programs know the socket.
cdef tuple SOCKETS = ("connection", "request")

# What the model has under the names of the two ends of a connection, and what `super()` leads to from there.
cdef list _ends = []

# The names under which programs find what the compiled classes keep.
cdef tuple _kept = ()


cdef unsigned int tag_of(object kind) noexcept:
    """The version tag of a class; 0 for one that has none now."""
    return (<PyTypeObject *>kind).tp_version_tag


cdef object found_in(object kind, str name):
    """What a class has under a name, as it stands there."""
    for each in (<type>kind).__mro__:
        if name in each.__dict__:
            return each.__dict__[name]
    return None


cdef bint _same(object kind, tuple names) except -1:
    for name in names:
        if found_in(kind, name) is not found_in(_model, name):
            return False
    return True


cdef list _chains(object kind):
    """What is behind the model, class by class, under names whose methods call each other: no mix-in is passed over."""
    cdef tuple order = (<type>kind).__mro__
    cdef tuple behind = order[order.index(_model):]
    return [each.__dict__[name] for name in ("setup", "finish") for each in behind if name in each.__dict__]


@cython.final
cdef class Shape:
    """What is ours of a class."""

    def __cinit__(self, kind):
        self.plain = _model is not None and issubclass(kind, _model) and _same(kind, WATCHERS) and _same(kind, _kept)
        self.replies = self.plain and _same(kind, REPLIES)
        self.connects = self.plain and _same(kind, SOCKETS) and _chains(kind) == _ends
        self.logs = self.plain and _same(kind, ("log_request",))
        self.heads = self.plain and _same(kind, ("parse_request",))
        self.turns = self.plain and _same(kind, ("handle_one_request",))
        self.openings = {}
        self.blocks = {}
        hasattr(kind, "handle")  # a look-up has the class given a tag
        self.tag = tag_of(kind)


cdef Shape shape_of(object handler):
    """The shape of a handler's class."""
    cdef object kind = type(handler)
    cdef Shape shape = _shapes.get(tag_of(kind))
    if shape is None:
        shape = Shape(kind)
        if len(_shapes) >= MANY:
            _shapes.clear()
        if shape.tag:
            _shapes[shape.tag] = shape
    return shape


def compare_with(kind, *kept):
    """Name the class that others are compared with, and the attributes that the compiled classes keep for it."""
    global _model, _kept, _ends
    _model = kind
    _kept = kept
    _ends = _chains(kind)


def has_own_hooks(handler):
    """Whether a handler has methods in the place of its class's."""
    return not vars(handler).keys().isdisjoint(HOOKS)
