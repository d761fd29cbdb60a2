# Alarms and channels: what a task waits for. A part of hub.pyx.

@cython.no_gc_clear
cdef class Alarm(Deadline):
    """Wakes a task after some time, with an exception where one is given."""

    def __dealloc__(self):
        if self.place >= 0:
            self.hub.deadlines.remove(self)

    cdef int set(self, Hub hub, double seconds) except -1:
        self.hub = hub
        return hub.deadlines.schedule(self, monotonic() + seconds)

    cdef int cancel(self) except -1:
        if self.place >= 0:
            self.hub.deadlines.remove(self)
        return 0

    cdef int due(self) except -1:
        if self.error is not None:
            if self.task.error is not None:  # something is on its way to the task already: one at a time
                return self.hub.deadlines.schedule(self, monotonic() + 0.001)
            self.task.error = self.error
        self.rang = True
        return self.hub.wake(self.task)


cdef uint32_t INPUT = <uint32_t>(EPOLLIN | EPOLLPRI | EPOLLRDHUP)


@cython.no_gc_clear
cdef class Channel(Deadline):
    """One descriptor, and who waits for it.

    Args:
        fd: the descriptor; it stays the caller's.

    Attributes:
        fd: the descriptor; -1 once closed.
    """

    def __cinit__(self, int fd, *_):
        self.fd = fd
        self.patience = -1
        self.idle = -1
        self.stall = -1
        self.limit = INFINITY
        self.read_by = INFINITY
        self.write_by = INFINITY

    def __dealloc__(self):
        self.forget()

    cdef void forget(self):
        """Leave the hub's tables."""
        cdef Hub hub = self.hub
        if hub is None:
            return
        if self.place >= 0:
            hub.deadlines.remove(self)
        if 0 <= self.fd < hub.capacity and hub.channels[self.fd] == <PyObject *>self:
            hub.channels[self.fd] = NULL

    cdef int flush(self) except -1:
        """Send gathered output, waiting where the kernel has no room."""
        return 0

    cdef int post(self) except -1:
        """Send gathered datagrams, never waiting."""
        return 0

    cdef double deadline(self, bint write) noexcept:
        """When an operation that begins now must be over."""
        cdef double by = self.limit
        cdef double seconds = self.patience
        if not write and self.idle >= 0 and (seconds < 0 or self.idle < seconds):
            seconds = self.idle
        if seconds >= 0:
            by = min(by, monotonic() + seconds)
        return by

    cdef int wait(self, bint write, double by) except -1:
        """Wait until the descriptor is ready, or may be; the caller has just found that it is not.

        Who is woken for another reason stays in `readers` or `writers`: a task that waits no more takes no harm.

        Returns:
            0 when the time `by` has come first.

        Raises:
            OSError: EBADF, it was closed meanwhile.
        """
        cdef Hub hub = self.hub
        cdef uint32_t events = <uint32_t>EPOLLOUT if write else INPUT
        cdef int outcome
        cdef Task me
        if write and self.stall >= 0:
            by = min(by, monotonic() + self.stall)
        if hub is None or self.closed or hub.thread != pthread_self() or hub.epoll < 0 or not hub.is_green():
            outcome = self._wait_elsewhere(write, by)
            if outcome >= 0:
                return outcome
            hub = self.hub
        if hub.dirty is not None:
            hub._flush()
        if self._watch(hub, events) == 1 or not (self.stuffed if write else self.drained):
            return 1
        me = hub.here()
        if not write:
            self.await_input_of(hub, me, by)
        else:
            if self.writers is None or by < self.write_by:
                self.write_by = by
            self.writers = _added(self.writers, me)
            if by < self.at or by != INFINITY and self.place < 0:
                hub.deadlines.schedule(self, by)
        hub.park_task(me)
        if self.closed:
            raise OSError(EBADF, os.strerror(EBADF))
        return by == INFINITY or monotonic() < by or not (self.stuffed if write else self.drained)

    cdef bint await_input_of(self, Hub hub, Task me, double by) except -1:
        """Have a task woken when there is input, or when the time has come; False where there may be some already."""
        if self._watch(hub, INPUT) == 1 or not self.drained:
            return False
        if self.readers is None or by < self.read_by:
            self.read_by = by
        self.readers = _added(self.readers, me)
        if by < self.at or by != INFINITY and self.place < 0:
            hub.deadlines.schedule(self, by)
        return True

    cdef int _wait_elsewhere(self, bint write, double by) except -1:
        """The same for a wait outside of tasks or in another thread than the first; -2 for the first, which is bound."""
        cdef Hub hub = hub_here()
        if self.closed:
            raise OSError(EBADF, os.strerror(EBADF))
        if hub is None or not hub.is_green():
            return self._wait_blocking(write, by)
        if self.hub is not None and self.hub.epoll >= 0:
            return Watch(self.fd).wait(write, by)  # the other hub watches it for its own tasks
        if self.place >= 0:  # a deadline of the hub's before, which has ended: its timetable is not this one's
            self.hub.deadlines.remove(self)
        self.hub = hub
        self.interest = 0
        return -2

    cdef int _watch(self, Hub hub, uint32_t events) except -1:
        """Let epoll watch for `events` too; returns 1 for a descriptor that is always ready."""
        return 0 if self.interest & events == events else self._control(hub, self.interest | events)

    cdef int _control(self, Hub hub, uint32_t events) except -1:
        """Tell epoll what to watch for. A descriptor that is ready already is reported at once."""
        cdef epoll_event event
        cdef int operation = EPOLL_CTL_MOD if self.interest else EPOLL_CTL_ADD
        if self.interest == 0:
            hub._enter(self)
        event.events = events | <uint32_t>EPOLLET
        event.data.u64 = (<uint64_t>self.generation << 32) | <uint32_t>self.fd
        if epoll_ctl(hub.epoll, operation, self.fd, &event) < 0:
            if errno == EPERM:  # a regular file
                return 1
            # Another object watched the same descriptor, and let go of it without closing it.
            if errno != EEXIST or epoll_ctl(hub.epoll, EPOLL_CTL_MOD, self.fd, &event) < 0:
                raise OSError(errno, os.strerror(errno))
        self.interest = events
        return 0

    def _wait_blocking(self, bint write, double by):
        """Outside the hub's tasks a green descriptor behaves like a blocking one."""
        cdef pollfd one
        cdef int found, timeout
        cdef double left = 1
        one.fd = self.fd
        one.events = POLLOUT if write else POLLIN
        while True:
            timeout = -1
            if by != INFINITY:
                left = by - monotonic()
                timeout = <int>min(left * 1000 + 1, 1 << 30) if left > 0 else 0
            with nogil:
                found = poll(&one, 1, timeout)
            if found > 0:
                return 1
            if found == 0 and left <= 0:
                return 0
            if found < 0:
                if errno != EINTR:
                    raise OSError(errno, os.strerror(errno))
                PyErr_CheckSignals()

    cdef void happened(self, uint32_t events):
        """Epoll has reported the descriptor."""
        if events & (EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            self.ended = True
        if events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            self.drained = False
            self._wake_readers(self.hub)
        if events & (EPOLLOUT | EPOLLHUP | EPOLLERR):
            self.stuffed = False
            self._wake_writers(self.hub)

    cdef int _wake_readers(self, Hub hub) except -1:
        cdef object waiting = self.readers
        if waiting is not None:
            self.readers = None
            _wake_all(hub, waiting)
        return 0

    cdef int _wake_writers(self, Hub hub) except -1:
        cdef object waiting = self.writers
        if waiting is not None:
            self.writers = None
            _wake_all(hub, waiting)
        return 0

    cdef int due(self) except -1:
        cdef Hub hub = self.hub
        cdef double now = monotonic()
        if self.readers is not None and self.read_by <= now:
            self._wake_readers(hub)
        if self.writers is not None and self.write_by <= now:
            self._wake_writers(hub)
        cdef double by = INFINITY
        if self.readers is not None:
            by = self.read_by
        if self.writers is not None and self.write_by < by:
            by = self.write_by
        if by != INFINITY:
            hub.deadlines.schedule(self, by)
        return 0

    cdef int close(self) except -1:
        """The descriptor is about to be closed: whoever waits for it gets EBADF."""
        self.closed = True
        self.forget()
        if self.hub is not None:
            self._wake_readers(self.hub)
            self._wake_writers(self.hub)
        self.fd = -1
        return 0


@cython.no_gc_clear
cdef class Watch(Channel):
    """A descriptor that others read and write: whether it is ready is asked of the kernel before each wait.

    Args:
        fd: anything that can be polled; it stays the caller's.
    """

    cdef int wait(self, bint write, double by) except -1:
        """Wait until poll(2) says that it is ready; through the channel that watches it already, where there is one."""
        cdef Hub hub = hub_here()
        cdef Channel watching
        while not _is_ready(self.fd, write):
            if by <= monotonic():
                return 0
            watching = self
            if hub is not None and hub.is_green() and self.fd < hub.capacity and hub.channels[self.fd] != NULL:
                watching = <Channel>hub.channels[self.fd]
            if write:
                watching.stuffed = True
            else:
                watching.drained = True
            Channel.wait(watching, write, by)
        return 1

    cdef int _watch(self, Hub hub, uint32_t events) except -1:
        return self._control(hub, self.interest | events)

    def attend(self):
        """Wake the calling task once when it can be read, whatever the task is doing then."""
        cdef Hub hub = hub_here()
        if self.hub is not hub:
            self.hub = hub
            self.interest = 0
        self.drained = True
        self._watch(hub, EPOLLIN)
        self.readers = _added(self.readers, hub.here())

    @property
    def attended(self):
        """True until what `attend` watches for has happened."""
        return self.readers is not None

    def wait_readable(self, timeout=None):
        """Wait until it can be read; False when `timeout` seconds have passed first."""
        return bool(self.wait(False, INFINITY if timeout is None else monotonic() + timeout))

    def wait_writable(self, timeout=None):
        """Wait until it can be written; False when `timeout` seconds have passed first."""
        return bool(self.wait(True, INFINITY if timeout is None else monotonic() + timeout))

    def release(self):
        """Nothing waits any more; the descriptor may be closed."""
        self.close()


cdef bint _is_ready(int fd, bint write) noexcept:
    cdef pollfd one
    one.fd = fd
    one.events = POLLOUT if write else POLLIN
    return poll(&one, 1, 0) > 0


cdef object _added(object waiting, Task task):
    if waiting is None or waiting is task:
        return task
    if type(waiting) is not list:
        return [waiting, task]
    if task not in <list>waiting:
        (<list>waiting).append(task)
    return waiting


cdef int _wake_all(Hub hub, object waiting) except -1:
    if type(waiting) is Task:
        return hub.wake(<Task>waiting)
    for task in <list>waiting:
        hub.wake(<Task>task)
    return 0
