# Tasks: what runs in a greenlet. A part of hub.pyx.

@cython.final
@cython.no_gc_clear
@cython.freelist(256)
cdef class Task:
    """A function that runs in a greenlet of a hub.

    Attributes:
        function, arguments: what is called; None once it has returned.
        value: what it returned.
        failure: what it raised.
    """

    def __cinit__(self):
        self.state = NEW

    def __dealloc__(self):
        if self.newer != NULL or self.older != NULL or (self.hub is not None and self.hub.newest == <PyObject *>self):
            _unlink(self)

    def is_alive(self):
        """True until the function has returned or raised."""
        return self.state != DONE

    def join(self, timeout=None):
        """Wait until the function has returned or raised, at most `timeout` seconds; see `is_alive()` for which."""
        cdef Alarm alarm
        cdef Hub hub = hub_here()
        if self.state == DONE or self.hub is None:
            return
        if hub is not self.hub or not hub.is_green():
            if hub is self.hub:
                raise RuntimeError("the task cannot run while its own thread waits for it: join it from a task")
            _join_from_outside(self, timeout)
            return
        if self.joiners is None:
            self.joiners = []
        me = hub.here()
        alarm = Alarm()
        try:
            if timeout is not None:
                alarm.task = me
                alarm.set(hub, timeout)
            self.joiners.append(me)
            while self.state != DONE and not alarm.rang:
                hub.park()
        finally:
            alarm.cancel()
            if self.joiners is not None and me in self.joiners:
                self.joiners.remove(me)

    def result(self, timeout=None):
        """What the function returned, or raise what it raised; waits for it at most `timeout` seconds.

        Raises:
            TimeoutError: it is still at work.
        """
        self.observed = True
        self.join(timeout)
        if self.state != DONE:
            raise TimeoutError("the task is still at work")
        if self.failure is not None:
            raise self.failure
        return self.value

    def throw(self, error):
        """Raise `error` where the task waits; a task that has not begun never will. From the hub's thread only."""
        if self.state == DONE or self.hub is None:
            return
        self.error = error
        if self.state == NEW:
            self.function = None
        self.hub.wake(self)

    def kill(self):
        """Raise GreenletExit where the task waits: its `finally` clauses run, and nobody is told."""
        self.throw(GreenletExit())

    @property
    def frame(self):
        """The innermost Python frame of a task that waits, or None."""
        cdef object greenlet = self.own if self.greenlet is None else self.greenlet
        return None if greenlet is None else greenlet.gr_frame

    @property
    def outer_frame(self):
        """The innermost frame of the task's own greenlet, while it is at work in another one; else None."""
        return None if self.own is None or self.greenlet is None or self.greenlet is self.own else self.own.gr_frame

    @property
    def is_parked(self):
        """True while the task waits for something."""
        return self.state == PARKED


def _join_from_outside(Task task, timeout):
    """Another thread waits for a task: through a lock, which the task's own hub opens."""
    gate = threading.Event()

    def tell():
        if task.state == DONE:
            gate.set()
        else:
            task.joiners = [*(task.joiners or ()), gate]

    task.hub.call_from_thread(tell)
    gate.wait(timeout)


cdef void _unlink(Task task):
    """Take a task out of its hub's list of the living."""
    cdef Hub hub = task.hub
    if task.newer != NULL:
        (<Task>task.newer).older = task.older
    elif hub.newest == <PyObject *>task:
        hub.newest = task.older
    else:
        return
    if task.older != NULL:
        (<Task>task.older).newer = task.newer
    task.newer = task.older = NULL
    hub.living -= 1
