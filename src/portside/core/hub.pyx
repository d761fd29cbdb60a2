"""The hub: runs greenlets that wait for descriptors, deadlines and each other, one hub a thread.

There is no greenlet that does nothing but wait: a task that must wait takes the next one from the queue and switches to
it, and when the queue is empty it asks the kernel itself, on its own stack. So a conversation with one client switches
never, and one among thousands switches once a message. Only three things need the *root*, the greenlet that runs the
loop: starting a new greenlet (its stack begins where it was first switched to, and nothing may grow below a handler),
signal handlers (a KeyboardInterrupt is for `serve_forever`'s caller, not for whichever handler happened to wait), and
the end.

Descriptors are registered once, edge-triggered; their entry in `channels` is checked against a generation, so that an
event that was under way when its descriptor was closed reaches nobody.

Waking is idempotent and waiting is a loop: whoever is woken looks again whether it is its turn.
"""

import contextvars
import os
import sys
import threading
import weakref

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.errno cimport EAGAIN, EBADF, EEXIST, EINTR, ENOENT, EPERM, errno
from libc.math cimport INFINITY
from libc.stdlib cimport calloc, free, realloc
from libc.stdint cimport uint32_t, uint64_t

from portside.core.greenlets cimport (
    PyGreenlet,
    PyGreenlet_ACTIVE,
    PyGreenlet_GetCurrent,
    PyGreenlet_Import,
    PyGreenlet_New,
    PyGreenlet_Switch,
)
from portside.core.linux cimport (
    CLOCK_MONOTONIC,
    EFD_CLOEXEC,
    EFD_NONBLOCK,
    EPOLL_CLOEXEC,
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLLERR,
    EPOLLET,
    EPOLLHUP,
    EPOLLIN,
    EPOLLPRI,
    EPOLLOUT,
    EPOLLRDHUP,
    POLLIN,
    POLLOUT,
    TFD_CLOEXEC,
    TFD_NONBLOCK,
    TFD_TIMER_ABSTIME,
    epoll_create1,
    epoll_ctl,
    epoll_event,
    epoll_wait,
    eventfd,
    eventfd_read,
    eventfd_write,
    itimerspec,
    monotonic,
    poll,
    pollfd,
    pthread_self,
    timerfd_create,
    timerfd_settime,
)

PyGreenlet_Import()

from greenlet import GreenletExit


cdef extern from *:
    """
    /* The thread's hub, borrowed: `_hubs` keeps it. */
    static __thread PyObject *portside_hub = NULL;
    """
    PyObject *portside_hub


cdef extern from "Python.h":
    ctypedef struct PyThreadState:
        PyObject *context

    PyThreadState *PyThreadState_Get()


# What the root is asked to do.
cdef enum:
    RETURN = 1  # leave the loop: its main task is done, or it is a driver's
    SIGNAL = 2  # run signal handlers
    START = 4  # start a greenlet for the task in `handoff`
    RAISE = 8  # raise `interruption`

# Descriptors that report themselves, in place of a generation and a descriptor.
cdef uint64_t BELL = 0xFFFFFFFFFFFFFFFF
cdef uint64_t CLOCK = 0xFFFFFFFFFFFFFFFE

# Greenlets that are kept for the next task: a burst of short connections starts none. Each keeps about 6 KiB.
cdef int IDLE_WORKERS = 64

# Bytes that a task may move without waiting before the others get a turn: 64 KiB of short lines take a handler about
# a fifth of a millisecond.
cdef Py_ssize_t CREDIT = 65536

_hubs = threading.local()
_every_hub = weakref.WeakSet()


cdef object greenlet_here():
    """The running greenlet."""
    cdef PyObject *found = <PyObject *>PyGreenlet_GetCurrent()
    cdef object current = <object>found
    Py_DECREF(current)
    return current


cdef int switch(PyObject *greenlet) except -1:
    """Switch to a greenlet that somebody else owns: whoever waits here for long must not keep it alive."""
    cdef PyObject *outcome = PyGreenlet_Switch(<PyGreenlet *>greenlet, NULL, NULL)
    if outcome == NULL:
        return -1
    Py_DECREF(<object>outcome)
    return 0


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
        return None if self.greenlet is None else self.greenlet.gr_frame

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


@cython.no_gc_clear
cdef class Deadline:
    """Something that falls due. The heap looks at it once, however often the time was put off since."""

    def __cinit__(self):
        self.at = INFINITY
        self.place = -1

    cdef int due(self, Hub hub) except -1:
        return 0


@cython.no_gc_clear
cdef class Alarm(Deadline):
    """Wakes a task after some time, with an exception where one is given."""

    def __dealloc__(self):
        if self.place >= 0:
            self.hub.unschedule(self)

    cdef int set(self, Hub hub, double seconds) except -1:
        self.hub = hub
        return hub.schedule(self, monotonic() + seconds)

    cdef int cancel(self) except -1:
        if self.place >= 0:
            self.hub.unschedule(self)
        return 0

    cdef int due(self, Hub hub) except -1:
        self.rang = True
        if self.error is not None and self.task.error is None:  # whoever came first is told
            self.task.error = self.error
        return hub.wake(self.task)


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
            hub.unschedule(self)
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
        cdef uint32_t events = <uint32_t>EPOLLOUT if write else <uint32_t>(EPOLLIN | EPOLLPRI | EPOLLRDHUP)
        cdef int outcome
        if hub is None or self.closed or hub.thread != pthread_self() or hub.epoll < 0 or not hub.is_green():
            outcome = self._wait_elsewhere(write, by)
            if outcome >= 0:
                return outcome
            hub = self.hub
        if hub.dirty is not None:
            hub._flush()
        if self._watch(hub, events) == 1 or not (self.stuffed if write else self.drained):
            return 1
        if write:
            if self.writers is None or by < self.write_by:
                self.write_by = by
            self.writers = _added(self.writers, hub.here())
        else:
            if self.readers is None or by < self.read_by:
                self.read_by = by
            self.readers = _added(self.readers, hub.here())
        if by < self.at or by != INFINITY and self.place < 0:
            hub.schedule(self, by)
        hub.park()
        if self.closed:
            raise OSError(EBADF, os.strerror(EBADF))
        return by == INFINITY or monotonic() < by or not (self.stuffed if write else self.drained)

    cdef int _wait_elsewhere(self, bint write, double by) except -1:
        """The same for a wait outside of tasks or in another thread than the first; -2 for the first, which is bound."""
        cdef Hub hub = hub_here()
        if self.closed:
            raise OSError(EBADF, os.strerror(EBADF))
        if hub is None or not hub.is_green():
            return self._wait_blocking(write, by)
        if self.hub is not None and self.hub.epoll >= 0:
            return Watch(self.fd).wait(write, by)  # the other hub watches it for its own tasks
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
        cdef double left
        one.fd = self.fd
        one.events = POLLOUT if write else POLLIN
        while True:
            timeout = -1
            if by != INFINITY:
                left = by - monotonic()
                if left <= 0:
                    return 0
                timeout = <int>min(left * 1000 + 1, 1 << 30)
            with nogil:
                found = poll(&one, 1, timeout)
            if found > 0:
                return 1
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

    cdef int due(self, Hub hub) except -1:
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
            hub.schedule(self, by)
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


@cython.final
cdef class Hub:
    """The loop of one thread. It is made by the first task of the thread and closed after the last.

    Attributes:
        driven: True while another event loop calls `turn()`.
        living: tasks that have not ended.
        credit: bytes that the running task may still move before the others get a turn.
        turns: counts switches; a hub whose count stands still while it is not idle is blocked.
        idle: True while the hub sleeps.
        sentinel: called with the hub, once, when it stops being idle.
    """

    def __cinit__(self):
        self.epoll = self.bell = self.clock = -1

    def __init__(self):
        self.thread = pthread_self()
        self.workers = []
        self.calls = []
        self.work = self._work
        self.credit = CREDIT
        self._open()
        _every_hub.add(self)

    def __dealloc__(self):
        self._close_descriptors()
        free(self.channels)
        free(self.heap)
        if portside_hub_is(self):
            _forget_hub()

    # -- descriptors --

    def _open(self):
        cdef epoll_event event
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        self.bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.epoll < 0 or self.bell < 0:
            error = errno
            self._close_descriptors()
            raise OSError(error, os.strerror(error))
        event.events = EPOLLIN
        event.data.u64 = BELL
        epoll_ctl(self.epoll, EPOLL_CTL_ADD, self.bell, &event)

    def _close_descriptors(self):
        for fd in (self.epoll, self.bell, self.clock):
            if fd >= 0:
                os.close(fd)
        self.epoll = self.bell = self.clock = -1

    def fileno(self):
        """The descriptor that another event loop watches for reading, to call `turn()`."""
        return self.epoll

    def _enter(self, Channel channel):
        """Give the channel a place in the table, and a generation."""
        cdef Py_ssize_t wanted
        cdef PyObject **grown
        cdef Channel replaced
        if channel.fd >= self.capacity:
            wanted = max(256, 2 * <Py_ssize_t>channel.fd)
            grown = <PyObject **>realloc(self.channels, wanted * sizeof(PyObject *))
            if grown == NULL:
                raise MemoryError()
            for place in range(self.capacity, wanted):
                grown[place] = NULL
            self.channels = grown
            self.capacity = wanted
        if self.channels[channel.fd] != NULL and self.channels[channel.fd] != <PyObject *>channel:
            replaced = <Channel>self.channels[channel.fd]  # it will hear of nothing any more: let its tasks look again
            replaced.interest = 0
            replaced._wake_readers(self)
            replaced._wake_writers(self)
        self.generation = (self.generation + 1) & 0x7FFFFFFF
        channel.generation = self.generation
        self.channels[channel.fd] = <PyObject *>channel

    # -- the queue --

    cdef void push(self, Task task):
        if self.tail is None:
            self.head = task
        else:
            self.tail.after = task
        self.tail = task
        self.length += 1

    cdef Task pop(self):
        cdef Task task = self.head
        self.head = task.after
        if self.head is None:
            self.tail = None
        else:
            task.after = None
        self.length -= 1
        return task

    cdef int wake(self, Task task) except -1:
        """Let a parked task run again; from any thread, any number of times."""
        if pthread_self() != self.thread:
            self.call_from_thread(task)
        elif task.state == PARKED:
            task.state = READY
            self.push(task)
        return 0

    def call_from_thread(self, wish):
        """Have a function called by the hub, or a task woken, from another thread."""
        self.calls.append(wish)
        self._ring()

    def _ring(self):
        if not self.rung:
            self.rung = True
            eventfd_write(self.bell, 1)

    def _answer(self):
        """The bell has rung: see to what the other threads want."""
        cdef uint64_t count
        eventfd_read(self.bell, &count)
        self.rung = False
        wishes, self.calls = self.calls, []
        for wish in wishes:
            if type(wish) is Task:
                self.wake(<Task>wish)
            else:
                wish()

    # -- waiting --

    cdef Task here(self):
        """The running task; a greenlet that a handler made for itself gets one of its own."""
        cdef object greenlet = greenlet_here()
        cdef Task task = self.current
        if task.greenlet is not greenlet:
            self.current = task = self._task_of(greenlet)
        return task

    cdef Task _task_of(self, object greenlet):
        """The task of a greenlet that control has come to without the hub, as it does between nested greenlets."""
        cdef PyObject *each = self.newest
        cdef Task task
        while each != NULL:
            task = <Task>each
            if task.greenlet is greenlet:
                return task
            each = task.older
        task = Task()  # a greenlet that a handler has made for itself
        task.hub = self
        task.greenlet = greenlet
        task.state = RUNNING
        return task

    cdef bint is_green(self) noexcept:
        """True in a task, False in the root and outside of the loop."""
        return self.current is not None and self.current is not self.root_task

    cdef int park(self) except -1:
        """Give way until woken, or until an exception was thrown in."""
        cdef Task me
        cdef uint64_t turns = self.turns
        if self.dirty is not None:
            self._flush()
            if self.turns != turns:  # that took a wait of its own, which may have used up a wake-up meant for this one
                return 0
        me = self.here()
        if me.error is None:
            me.state = PARKED
            self.give_way(me)
        if me.error is not None:
            error, me.error = me.error, None
            raise error
        return 0

    cdef int _flush(self) except -1:
        """Send what was gathered, before anything waits."""
        cdef Channel channel
        while self.dirty is not None:
            channel = self.dirty
            self.dirty = channel.dirtier
            channel.dirtier = None
            channel.dirty = False
            channel.flush()
        return 0

    cdef int _post(self) except -1:
        """Send the datagrams that have gathered; what the kernel has no room for stays for later."""
        cdef Channel channel
        while self.outgoing is not None:
            channel = self.outgoing
            self.outgoing = channel.dirtier
            channel.dirtier = None
            channel.dirty = False
            channel.post()
        return 0

    cdef int give_way(self, Task me) except -1:
        self.credit = CREDIT
        while True:
            if self.next() == <PyObject *>me:
                return 0
            self.go()
            if me.state == RUNNING:
                return 0

    cdef int take_turns(self) except -1:
        """Let everybody else who is ready run first."""
        cdef Task me
        if not self.is_green():
            self.credit = CREDIT
            return 0
        if self.dirty is not None:
            self._flush()
        me = self.here()
        me.state = READY
        self.push(me)
        self.give_way(me)
        if me.error is not None:
            error, me.error = me.error, None
            raise error
        return 0

    cdef PyObject *next(self) except? NULL:
        """Let the next task be the current one; returns it, borrowed. NULL when the root must run."""
        while True:
            if self.chores or self.driven and (self.quota <= 0 or self.head is None):
                self.current = self.root_task
                return NULL
            if self.quota > 0 and self.head is not None:
                self.quota -= 1
                self.current = self.pop()
                self.current.state = RUNNING
                return <PyObject *>self.current
            if self.ask(self.head is None) == 1:
                self.chores |= SIGNAL
            self.quota = self.length

    cdef int go(self) except -1:
        """Switch to the current task; it is borrowed from here on, since who waits must not keep it alive."""
        self.turns += 1
        if self.current.greenlet is not None:
            return switch(<PyObject *>self.current.greenlet)
        if self.workers:
            self.current.greenlet = self.workers.pop()
            return switch(<PyObject *>self.current.greenlet)
        self.handoff = self.current
        self.chores |= START
        self.current = self.root_task
        return 0 if greenlet_here() is self.root else switch(<PyObject *>self.root)

    # -- the kernel --

    cdef int ask(self, bint block) except -1:
        """Take in what the kernel knows; returns 1 when a signal came instead."""
        cdef int count, place, error, timeout = 0
        if self.outgoing is not None:
            self._post()
        if block:
            timeout = self._patience()
        if timeout != 0:
            self.idle = True
            with nogil:
                count = epoll_wait(self.epoll, self.events, 512, timeout)
            error = errno
            self.idle = False
            if self.sentinel is not None:
                sentinel, self.sentinel = self.sentinel, None
                sentinel(self)
        else:
            count = epoll_wait(self.epoll, self.events, 512, 0)
            error = errno
        if count < 0:
            if error == EINTR:
                return 1
            raise OSError(error, os.strerror(error))
        for place in range(count):
            self._deliver(self.events[place].data.u64, self.events[place].events)
        if self.heap_length:
            self._expire()
        return 0

    cdef int _deliver(self, uint64_t key, uint32_t events) except -1:
        cdef uint32_t fd = <uint32_t>key
        cdef Channel channel
        if key == BELL:
            self._answer()
        elif key != CLOCK and fd < <uint64_t>self.capacity and self.channels[fd] != NULL:
            channel = <Channel>self.channels[fd]
            if channel.generation == key >> 32:
                channel.happened(events)
        return 0

    cdef int _patience(self) noexcept:
        """Milliseconds until something falls due."""
        cdef double left
        if self.heap_length == 0:
            return -1
        left = (<Deadline>self.heap[0]).armed - monotonic()
        if left <= 0:
            return 0
        return <int>min(left * 1000 + 1, 1 << 30)

    # -- deadlines --

    cdef int schedule(self, Deadline deadline, double at) except -1:
        """Have `deadline.due` called at a time; a later time than the present one is only noted."""
        cdef PyObject **grown
        deadline.at = at
        if deadline.place >= 0:
            if at < deadline.armed:
                deadline.armed = at
                self._rise(deadline.place)
            return 0
        if self.heap_length == self.heap_capacity:
            self.heap_capacity = max(64, 2 * self.heap_capacity)
            grown = <PyObject **>realloc(self.heap, self.heap_capacity * sizeof(PyObject *))
            if grown == NULL:
                raise MemoryError()
            self.heap = grown
        deadline.armed = at
        self.heap[self.heap_length] = <PyObject *>deadline
        deadline.place = self.heap_length
        self.heap_length += 1
        self._rise(deadline.place)
        return 0

    cdef void unschedule(self, Deadline deadline) noexcept:
        cdef Py_ssize_t place = deadline.place
        cdef Deadline last
        self.heap_length -= 1
        deadline.place = -1
        deadline.at = INFINITY
        if place == self.heap_length:
            return
        last = <Deadline>self.heap[self.heap_length]
        self.heap[place] = <PyObject *>last
        last.place = place
        self._rise(place)
        self._sink(last.place)

    cdef void _rise(self, Py_ssize_t place) noexcept:
        cdef PyObject *moved = self.heap[place]
        cdef double at = (<Deadline>moved).armed
        cdef Py_ssize_t above
        while place > 0:
            above = (place - 1) >> 1
            if (<Deadline>self.heap[above]).armed <= at:
                break
            self.heap[place] = self.heap[above]
            (<Deadline>self.heap[place]).place = place
            place = above
        self.heap[place] = moved
        (<Deadline>moved).place = place

    cdef void _sink(self, Py_ssize_t place) noexcept:
        cdef PyObject *moved = self.heap[place]
        cdef double at = (<Deadline>moved).armed
        cdef Py_ssize_t below
        while True:
            below = 2 * place + 1
            if below >= self.heap_length:
                break
            if below + 1 < self.heap_length and (<Deadline>self.heap[below + 1]).armed < (<Deadline>self.heap[below]).armed:
                below += 1
            if at <= (<Deadline>self.heap[below]).armed:
                break
            self.heap[place] = self.heap[below]
            (<Deadline>self.heap[place]).place = place
            place = below
        self.heap[place] = moved
        (<Deadline>moved).place = place

    cdef int _expire(self) except -1:
        cdef double now
        cdef Deadline first = <Deadline>self.heap[0]
        now = monotonic()
        while self.heap_length and (<Deadline>self.heap[0]).armed <= now:
            first = <Deadline>self.heap[0]
            if first.at > now:  # put off since
                first.armed = first.at
                self._sink(0)
            else:
                self.unschedule(first)
                first.due(self)
        return 0

    # -- tasks --

    def spawn(self, function, *arguments, context=None):
        """Run `function(*arguments)` in a task of its own, from the next turn on; returns the task."""
        return self._spawn(function, arguments, context)

    def _spawn(self, function, tuple arguments, context):
        cdef Task task = Task()
        task.hub = self
        task.function = function
        task.arguments = arguments
        task.context = context
        task.older = self.newest
        if self.newest != NULL:
            (<Task>self.newest).newer = <PyObject *>task
        self.newest = <PyObject *>task
        self.living += 1
        self.push(task)
        return task

    @cython.binding(False)
    def _work(self):
        """What each worker greenlet does: task after task, without a switch where there is one at hand."""
        cdef object greenlet = greenlet_here()
        cdef PyObject *task
        while not self.dismissing:
            while True:
                self._run_task(self.current, greenlet)
                task = self.next()
                if task == NULL or (<Task>task).greenlet is not None:
                    break
                (<Task>task).greenlet = greenlet
            if len(self.workers) >= IDLE_WORKERS:
                if task != NULL:
                    self._push_first(<Task>task)
                    self.current = self.root_task
                return
            self.workers.append(greenlet)
            self.go()

    cdef void _push_first(self, Task task):
        task.state = READY
        task.after = self.head
        self.head = task
        if self.tail is None:
            self.tail = task
        self.length += 1
        self.quota += 1

    cdef int _run_task(self, Task task, object greenlet) except -1:
        task.state = RUNNING
        self.current = task
        if task.context is not None:
            greenlet.gr_context = task.context
        try:
            if task.error is not None:
                raise task.error
            task.value = task.function(*task.arguments)
            if self.dirty is not None:
                self._flush()
        except BaseException as error:
            task.failure = error
            if isinstance(error, KeyboardInterrupt):
                self.interruption = error
                self.chores |= RAISE
        if PyThreadState_Get().context != NULL:
            greenlet.gr_context = None
        self._end(task)
        return 0

    def _end(self, Task task):
        task.state = DONE
        task.function = task.arguments = task.context = task.greenlet = None
        _unlink(task)
        if task.joiners is not None:
            joiners, task.joiners = task.joiners, None
            for each in joiners:
                if type(each) is Task:
                    self.wake(<Task>each)
                else:
                    each.set()
        if task is self.main:
            self.chores |= RETURN
        if self.forked:
            _leave_child(task)
        if task.failure is not None and not task.observed and task is not self.main:
            _tell(task)

    def tasks(self):
        """The living tasks, the oldest first."""
        cdef PyObject *each = self.newest
        found = []
        while each != NULL:
            found.append(<Task>each)
            each = (<Task>each).older
        found.reverse()
        return found

    # -- running --

    def run(self, function, *arguments):
        """Run `function(*arguments)` in a task, and the loop in this greenlet until it has returned.

        Returns:
            What the function returned.

        Raises:
            What the function raised; KeyboardInterrupt, and what a signal handler raised, wherever they struck.
        """
        cdef Task task
        if self.root is not None:
            raise RuntimeError("the hub of this thread is running already")
        self._take_root()
        task = self._spawn(function, arguments, contextvars.copy_context())
        task.observed = True
        self.main = task
        try:
            self._loop()
        finally:
            self.main = None
            self._leave_root()
        if task.failure is not None:
            raise task.failure
        return task.value

    def _take_root(self):
        self.root = greenlet_here()
        self.root_task = Task()
        self.root_task.hub = self
        self.root_task.greenlet = self.root
        self.root_task.state = RUNNING
        self.current = self.root_task
        self.chores = 0

    def _leave_root(self):
        self.root = None
        self.root_task = None
        self.current = None

    def _loop(self):
        """The root's part: start greenlets, run signal handlers, and else switch to whoever is next."""
        while True:
            if self.chores:
                if self.chores & RETURN and not self.chores & START:
                    self.chores &= ~RETURN
                    return
                self._do_chores()
            elif self.next() != NULL:
                self.go()
            elif self.driven and not self.chores:
                return

    def _do_chores(self):
        cdef int chores = self.chores
        self.chores &= RETURN
        if chores & START:
            self.chores |= chores & ~START
            self._start()
        elif chores & RAISE:
            error, self.interruption = self.interruption, None
            raise error
        elif chores & SIGNAL:
            PyErr_CheckSignals()

    cdef int _start(self) except -1:
        """Start a greenlet for the task that was handed over."""
        cdef PyObject *greenlet = <PyObject *>PyGreenlet_New(
            <PyObject *>self.work, <PyGreenlet *><PyObject *>self.root
        )
        if greenlet == NULL:
            return -1
        self.current, self.handoff = self.handoff, None
        self.current.greenlet = <object>greenlet
        Py_DECREF(<object>greenlet)
        return switch(greenlet)

    def turn(self):
        """Run everything that is ready, without sleeping: what another event loop calls when `fileno()` is readable."""
        if self.root is not None:
            return
        self._take_root()
        try:
            self.driven = True
            self.ask(False)
            self.quota = self.length
            self._loop()
        finally:
            self._leave_root()
            self._prepare_driver()

    def _prepare_driver(self):
        """See to it that the descriptor is readable when there is something to do."""
        cdef itimerspec when
        cdef epoll_event event
        cdef double at = 0
        if self.head is not None:
            self._ring()
        if self.clock < 0:
            self.clock = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)
            event.events = EPOLLIN | <uint32_t>EPOLLET
            event.data.u64 = CLOCK
            epoll_ctl(self.epoll, EPOLL_CTL_ADD, self.clock, &event)
        if self.heap_length:
            at = (<Deadline>self.heap[0]).armed
        when.it_interval.tv_sec = when.it_interval.tv_nsec = 0
        when.it_value.tv_sec = <long>at
        when.it_value.tv_nsec = <long>((at - <long>at) * 1e9)
        timerfd_settime(self.clock, TFD_TIMER_ABSTIME, &when, NULL)

    def close(self):
        """End what still waits, and give the descriptors back.

        Raises:
            RuntimeError: the hub is running.
        """
        if self.root is not None:
            raise RuntimeError("a hub cannot be closed from within")
        if self.living or self.workers:
            self.driven = False
            self.run(self._kill_everybody)
            self._dismiss_workers()
        self._close_descriptors()
        self.work = None
        if portside_hub_is(self):
            _forget_hub()
            del _hubs.hub

    def _kill_everybody(self):
        """In a task: GreenletExit for the others, a few times over for those that do not listen."""
        cdef Task me = self.here()
        for _ in range(3):
            others = [task for task in self.tasks() if task is not me]
            if not others:
                return
            for task in others:
                task.kill()
            self.take_turns()
            self.take_turns()

    def _dismiss_workers(self):
        self._take_root()
        try:
            self.dismissing = True
            while self.workers:
                worker = self.workers.pop()
                switch(<PyObject *>worker)
        finally:
            self.dismissing = False
            self._leave_root()

    def _after_fork(self):
        """In a child: the parent's descriptors are not ours to use. What the running handler touches is watched anew."""
        cdef PyObject *each
        self._close_descriptors()
        self._open()
        for place in range(self.capacity):
            if self.channels[place] != NULL:
                (<Channel>self.channels[place]).interest = 0
                (<Channel>self.channels[place]).drained = False
                self.channels[place] = NULL
        while self.heap_length:
            self.unschedule(<Deadline>self.heap[0])
        while self.head is not None:
            self.pop()
        self.workers = []
        self.calls = []
        self.rung = False
        self.forked = self.is_green()


# -- the hub of a thread --

cdef bint portside_hub_is(Hub hub) noexcept:
    return portside_hub == <PyObject *>hub


cdef void _forget_hub():
    global portside_hub
    _set_hub(NULL)


cdef extern from *:
    """
    static void portside_set_hub(PyObject *hub) { portside_hub = hub; }
    """
    void _set_hub "portside_set_hub"(PyObject *hub)


cdef Hub hub_here():
    """The hub of this thread, or None."""
    if portside_hub == NULL:
        return None
    return <Hub>portside_hub


cdef bint in_green() noexcept:
    """True in a task of a hub."""
    return portside_hub != NULL and (<Hub>portside_hub).is_green()


def get_hub():
    """The hub of this thread; made where there is none."""
    cdef Hub hub = hub_here()
    if hub is None:
        hub = Hub()
        _hubs.hub = hub
        _set_hub(<PyObject *>hub)
    return hub


def running_hub():
    """The hub whose task is calling, or None outside of tasks."""
    return hub_here() if in_green() else None


def current_task():
    """The task that is calling, or None outside of tasks."""
    return hub_here().here() if in_green() else None


cdef int _check_green() except -1:
    if not in_green():
        raise RuntimeError("only a task of a hub can do this: call it from a green handler, or from what portside.spawn runs")
    return 0


def park():
    """Give way until somebody wakes this task."""
    _check_green()
    hub_here().park()


def wake(Task task not None):
    """Let a parked task run again; from any thread."""
    if task.hub is not None:
        task.hub.wake(task)


cpdef int give_way() except -1:
    """Let everybody else who is ready run first."""
    if in_green():
        hub_here().take_turns()
    return 0


def wait_readable(int fd, timeout=None):
    """Wait until a descriptor can be read; False when `timeout` seconds have passed first."""
    return Watch(fd).wait_readable(timeout)


def wait_writable(int fd, timeout=None):
    """Wait until a descriptor can be written; False when `timeout` seconds have passed first."""
    return Watch(fd).wait_writable(timeout)


cdef class Timer:
    """Wakes or interrupts the calling task after some time.

    Args:
        seconds: from now.
        error: what to raise where the task waits; None only wakes it.

    Attributes:
        rang: True once the time has passed.
    """

    cdef Alarm alarm
    cdef Hub hub

    def __init__(self, double seconds, error=None):
        _check_green()
        self.hub = hub_here()
        self.alarm = Alarm()
        self.alarm.task = self.hub.here()
        self.alarm.error = error
        self.alarm.set(self.hub, seconds)

    @property
    def rang(self):
        """True once the time has passed."""
        return self.alarm.rang

    def cancel(self):
        """Nothing more will happen; an error that is under way is called back."""
        self.alarm.cancel()
        if self.alarm.error is not None and self.alarm.task.error is self.alarm.error:
            self.alarm.task.error = None


def _tell(Task task):
    """A task failed and nobody may ever ask: say so as a thread would."""
    if isinstance(task.failure, (GreenletExit, KeyboardInterrupt, SystemExit)):
        return
    error = task.failure
    threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, None)))


def _leave_child(Task task):
    """A forked child has finished the handler that it was forked in, and has nothing else to do."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(0 if task.failure is None else 1)


def _after_fork_in_child():
    for hub in list(_every_hub):
        (<Hub>hub)._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)


# -- what the rest of the package calls --

def run(function, *arguments):
    """Run `function(*arguments)` in a task and this thread's hub until it has returned; then close the hub.

    Returns:
        What the function returned.

    Raises:
        What the function raised; KeyboardInterrupt, and what a signal handler raised.

    Resource handling: tasks that still wait afterwards are killed.
    """
    if in_green():
        return function(*arguments)
    hub = get_hub()
    try:
        return hub.run(function, *arguments)
    finally:
        hub.close()


def sleep(double seconds):
    """Wait for some seconds, and let the other tasks run."""
    cdef Alarm alarm
    cdef Hub hub = hub_here()
    if not in_green():
        threading.Event().wait(seconds)
        return
    alarm = Alarm()
    alarm.task = hub.here()
    alarm.set(hub, max(0.0, seconds))
    try:
        while not alarm.rang:
            hub.park()
    finally:
        alarm.cancel()


def nap(timeout=None):
    """Wait until somebody wakes this task, at most `timeout` seconds; for a loop that looks for itself what happened."""
    cdef Timer timer
    _check_green()
    if timeout is None:
        hub_here().park()
        return
    timer = Timer(timeout)
    try:
        hub_here().park()
    finally:
        timer.cancel()
