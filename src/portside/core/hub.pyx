# cython: binding=False
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
import types
import weakref

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.errno cimport EAGAIN, EBADF, EEXIST, EINTR, ENOENT, EPERM, errno
from libc.math cimport INFINITY
from libc.stdlib cimport calloc, free, realloc
from libc.stdint cimport uint32_t, uint64_t

from portside.core.deadlines cimport Deadline, Timetable
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


cdef extern from *:
    """
    #include <stdlib.h>
    #ifdef __GLIBC__
    #include <malloc.h>
    #else
    #define malloc_trim(pad) 0
    #endif
    """
    int malloc_trim(size_t pad) noexcept nogil


cdef extern from "Python.h":
    # Neither is declared to raise: see `_run_task`.
    PyObject *called "PyObject_Call"(PyObject *function, PyObject *arguments, PyObject *names)
    ctypedef struct PyThreadState:
        PyObject *context
        PyObject **datastack_top

    PyThreadState *PyThreadState_Get()


cdef extern from *:
    """
    /* The exception that is set, which is cleared. */
    static PyObject *portside_raised(void)
    {
    #if PY_VERSION_HEX >= 0x030C0000
        return PyErr_GetRaisedException();
    #else
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        PyErr_NormalizeException(&type, &value, &traceback);
        if (traceback != NULL)
            PyException_SetTraceback(value, traceback);
        Py_XDECREF(type);
        Py_XDECREF(traceback);
        return value;
    #endif
    }
    """
    object portside_raised()


cdef extern from *:
    """
    /* Hints only: what they point to is not read. */
    static inline void fetch_lines(const void *start, size_t size)
    {
        const char *line = (const char *)start;
        for (size_t at = 0; at < size; at += 64)
            __builtin_prefetch(line + at);
    }
    """
    void fetch_lines(const void *start, size_t size) noexcept nogil

# Events between asking for a channel and using it: about as many as a miss takes.
cdef enum:
    AHEAD = 8

# Bytes of the object behind a descriptor, a stream in most cases.
cdef size_t sizeof_stream = 256

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

# After so many others have ended, a hub with nothing to do has the allocator give back what they had, once a second at
# most. glibc returns the top of its heap only: each crowd of thousands that came and went left more of it broken up.
cdef int CROWD = 1000
cdef double GIVE_BACK_SECONDS = 1.0

# Bytes that a task may move without waiting before the others get a turn: 4 KiB of short lines take a handler some thirty
# millionths of a second, so that a client among fifty that send without pause waits for about four thousandths. What
# moves faster counts less (`BULK` in stream.pyx).
cdef Py_ssize_t CREDIT = 4096

# Tasks that send much, and have used up their credit, get another turn so many at a time: in between, the kernel is asked
# who else is ready, and they come first. Two hundred clients that are sent megabytes would hold up the others for as many
# turns. It costs a system call for eight turns of some thirty millionths of a second.
cdef int CALLED_UP = 8

# Compiled functions have no Python frames; this one has.
_a_function = types.FunctionType(compile("None", "<portside>", "eval"), {})

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

include "tasks.pxi"
include "channels.pxi"


@cython.final
cdef class Hub:
    """The loop of one thread. It is made by the first task of the thread and closed after the last.

    Attributes:
        driven: True while another event loop calls `turn()`.
        living: tasks that have not ended.
        credit: bytes that the running task may still move before the others get a turn.
        crowd: tasks that were ready when the kernel was last asked.
        turns: counts how often somebody gave way; a hub whose count stands still while it is not idle is blocked.
        idle: True while the hub sleeps, and while nobody runs it.
        thread: its thread, as `threading.get_ident()` calls it.
        current: the task that runs, or on whose stack the hub sleeps; in the root a task of the hub's own.
        sentinel: called with the hub, once, when it stops being idle.
    """

    def __cinit__(self):
        self.epoll = self.bell = self.clock = -1

    def __init__(self):
        self.thread = pthread_self()
        self.workers = []
        self.calls = []
        self.deadlines = Timetable()
        self.work = self._work
        self.credit = CREDIT
        self.idle = True
        self._open()
        _every_hub.add(self)

    def __dealloc__(self):
        self._close_descriptors()
        free(self.channels)
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
        cdef Task coming = task.after
        cdef int place
        if coming is not None:
            if coming.greenlet is not None:
                fetch_lines((<PyGreenlet *><PyObject *>coming.greenlet).pimpl, 256)
            if coming.company[0] != NULL:
                for place in range(COMPANY):
                    fetch_lines(coming.company[place], 128)
            coming = coming.after
            if coming is not None and coming.greenlet is not None:
                fetch_lines(<PyObject *>coming.greenlet, 64)
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
            if self.root is None:  # between two turns: whoever drives the hub must learn of it
                self._ring()
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
                self._grant(wish)

    def _grant(self, wish):
        """Call what another thread wants called. What it raises must not cost the others their wake-ups."""
        try:
            wish()
        except KeyboardInterrupt as error:
            self.interruption = error
            self.chores |= RAISE
        except BaseException as error:
            threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, None)))

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
        if self.dirty is not None:
            self._flush()
            return 0  # that may have taken a wait of its own, and used up a wake-up that was meant for this one
        return self.park_task(self.here())

    cdef int park_task(self, Task me) except -1:
        """The same for a caller that knows who it is, and has flushed."""
        if me.error is None:
            me.state = PARKED
            self.give_way(me)
        if me.error is not None:
            error, me.error = me.error, None
            raise error
        return 0

    cdef int leave_to_others(self, Task me, Errand run, PyObject *errand) except -1:
        """Give way until `run(errand)` says that the calling task needs its stack.

        Until then it is called whenever somebody wakes the task, as the same task, in whichever greenlet has nothing else
        to do, and may wait there. The caller is to have seen to it that somebody will, and has flushed. What it raises is
        raised here. It may as well never have been called.

        To go on in its own greenlet costs a task the copy of its stack, and of what it touches there nothing is in the
        processor's caches when there are thousands.
        """
        cdef PyObject *own = <PyObject *>me.greenlet
        if me.error is None:
            me.own, me.run_errand, me.errand = me.greenlet, run, errand
            me.greenlet = None
            me.state = PARKED
            self.credit = CREDIT
            try:
                while self.next() != <PyObject *>me:
                    self.go()
                    if me.state == RUNNING and <PyObject *>me.greenlet == own:
                        break
            finally:
                me.greenlet, me.own = me.own, None
                me.run_errand = NULL
        if me.error is not None:
            error, me.error = me.error, None
            raise error
        return 0

    cdef int _run_errand(self, Task task, object greenlet) except -1:
        """Go on with a task in this greenlet; where it needs its own, that is next."""
        cdef bint waits = False
        self.credit = CREDIT
        if task.error is None:
            try:
                waits = task.run_errand(task.errand)
            except BaseException as error:
                task.error = error
        if task.run_errand == NULL:  # somebody has thrown something into its own greenlet, which has gone on
            return 0
        if PyThreadState_Get().context != NULL:  # the task has one from now on
            task.own.gr_context = greenlet.gr_context
            greenlet.gr_context = None
            waits = False
        if waits and task.error is None:
            task.greenlet = None
            task.state = PARKED
        else:
            task.greenlet = task.own
            self._push_first(task)
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
        return self._queue_up(False)

    cdef int stand_back(self) except -1:
        """The same for a task that sends much: those who become ready meanwhile come first, too."""
        return self._queue_up(True)

    cdef int _queue_up(self, bint patiently) except -1:
        """Give way, and go on when it is this task's turn again."""
        cdef Task me
        if not self.is_green():
            self.credit = CREDIT
            return 0
        if self.dirty is not None:
            self._flush()
        me = self.here()
        me.state = READY
        if not patiently:
            self.push(me)
        else:
            if self.last_patient is None:
                self.patient = me
            else:
                self.last_patient.after = me
            self.last_patient = me
        self.give_way(me)
        if me.error is not None:
            error, me.error = me.error, None
            raise error
        return 0

    cdef PyObject *next(self) except? NULL:
        """Let the next task be the current one; returns it, borrowed. NULL when the root must run."""
        self.turns += 1
        while True:
            if self.chores or self.driven and (self.quota <= 0 or self.head is None):
                self.current = self.root_task
                return NULL
            if self.quota > 0 and self.head is not None:
                self.quota -= 1
                self.current = self.pop()
                self.current.state = RUNNING
                return <PyObject *>self.current
            if self.ask(self.head is None and self.patient is None) == 1:
                self.chores |= SIGNAL
            self._call_up()

    cdef void _call_up(self):
        """A round begins: who is ready has a turn, and behind them a few of those who stand back."""
        cdef int left = CALLED_UP
        cdef Task task
        while left and self.patient is not None:
            task = self.patient
            self.patient = task.after
            if self.patient is None:
                self.last_patient = None
            else:
                task.after = None
            self.push(task)
            left -= 1
        self.quota = self.crowd = self.length

    cdef int go(self) except -1:
        """Switch to the current task; it is borrowed from here on, since who waits must not keep it alive."""
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
            if self.let_go >= CROWD or self.settling:
                timeout = self._give_back(timeout)
            with nogil:
                count = epoll_wait(self.epoll, self.events, 512, timeout)
            error = errno
            self._awake()
        else:
            count = epoll_wait(self.epoll, self.events, 512, 0)
            error = errno
        if count < 0:
            if error == EINTR:
                return 1
            raise OSError(error, os.strerror(error))
        for place in range(count):
            if place + AHEAD < count:
                self._fetch(self.events[place + AHEAD].data.u64)
            self._deliver(self.events[place].data.u64, self.events[place].events)
        if self.deadlines.length:
            self.deadlines.expire()
        return 0

    cdef int _give_back(self, int timeout) noexcept:
        """Return free memory to the system, and twice more later on: the last of a crowd leave behind the others.

        Returns:
            How many of those milliseconds to sleep until then.
        """
        cdef double left = self.gave_back + GIVE_BACK_SECONDS - monotonic()
        cdef int soon
        if left <= 0:
            self.settling = 2 if self.let_go >= CROWD else self.settling - 1
            self.let_go, self.gave_back = 0, monotonic()
            with nogil:
                malloc_trim(0)
            left = GIVE_BACK_SECONDS
        if self.let_go < CROWD and not self.settling:
            return timeout
        soon = <int>(left * 1000) + 1
        return soon if timeout < 0 else min(timeout, soon)

    cdef int _awake(self) except -1:
        """The hub is idle no more; tell the watchdog, if it has asked to be told."""
        self.idle = False
        if self.sentinel is not None:
            sentinel, self.sentinel = self.sentinel, None
            sentinel(self)
        return 0

    cdef void _fetch(self, uint64_t key) noexcept:
        """Have the processor bring in a channel whose event comes soon, before it is missed.

        Thousands of connections are more than its caches hold.
        """
        cdef uint32_t fd = <uint32_t>key
        if fd < <uint64_t>self.capacity:
            fetch_lines(self.channels[fd], sizeof_stream)

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
        """Milliseconds until something falls due; -1 when nothing will."""
        cdef double left
        if self.deadlines.length == 0:
            return -1
        left = self.deadlines.first() - monotonic()
        return <int>min(left * 1000 + 1, 1 << 30) if left > 0 else 0

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
        if self.root is None:
            self._ring()
        return task

    @cython.binding(False)
    def _work(self):
        """What each worker greenlet does: task after task, without a switch where there is one at hand."""
        cdef object greenlet = greenlet_here()
        cdef PyObject *task
        self._shift_frames()
        while not self.dismissing:
            while True:
                if self.current.run_errand != NULL:
                    self._run_errand(self.current, greenlet)
                else:
                    self._run_task(self.current, greenlet)
                task = self.next()
                if task == NULL or (<Task>task).greenlet is not None:
                    break
                (<Task>task).greenlet = greenlet
            if len(self.workers) >= IDLE_WORKERS:
                self.let_go += 1
                if task != NULL:
                    self._push_first(<Task>task)
                    self.current = self.root_task
                return
            self.workers.append(greenlet)
            self.go()

    cdef int _shift_frames(self) except -1:
        """Let this greenlet's Python frames begin elsewhere in their page than the last one's.

        Python gives each greenlet a chunk of memory of its own, aligned to 16 KiB. Without this, the frames of all of them
        would compete for the same few lines of the processor's caches.
        """
        _a_function()  # has the chunk made
        self.shift = (self.shift + 8) & 0xF8  # pointers: up to 2 KiB in steps of a line
        PyThreadState_Get().datastack_top += self.shift
        return 0

    cdef void _push_first(self, Task task):
        task.state = READY
        task.after = self.head
        self.head = task
        if self.tail is None:
            self.tail = task
        self.length += 1
        self.quota += 1

    cdef int _run_task(self, Task task, object greenlet) except -1:
        """Run a task to its end. Without a `try` around the call, which would make every task's stack longer."""
        cdef PyObject *outcome
        if task.context is not None:
            greenlet.gr_context = task.context
        if task.error is None:
            outcome = called(<PyObject *>task.function, <PyObject *>task.arguments, NULL)
            if outcome == NULL:
                task.failure = portside_raised()
            else:
                task.value = <object>outcome
                Py_DECREF(task.value)
        else:
            task.failure = task.error
        self._conclude(task, greenlet)
        return 0

    cdef int _conclude(self, Task task, object greenlet) except -1:
        if self.dirty is not None:
            try:
                self._flush()
            except BaseException as error:
                task.failure = error
        if isinstance(task.failure, KeyboardInterrupt):
            self.interruption = task.failure
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
        self._awake()

    def _leave_root(self):
        self.idle = True
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
        self.idle = False
        if self.sentinel is not None:
            sentinel, self.sentinel = self.sentinel, None
            sentinel(self)
        try:
            self.driven = True
            self.ask(False)
            self._call_up()
            self._loop()
        finally:
            self._leave_root()
            self._prepare_driver()
            self.idle = True

    def _prepare_driver(self):
        """See to it that the descriptor is readable when there is something to do."""
        cdef itimerspec when
        cdef epoll_event event
        cdef double at = 0
        if self.head is not None or self.patient is not None:
            self._ring()
        if self.clock < 0:
            self.clock = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)
            event.events = EPOLLIN | <uint32_t>EPOLLET
            event.data.u64 = CLOCK
            epoll_ctl(self.epoll, EPOLL_CTL_ADD, self.clock, &event)
        if self.deadlines.length:
            at = self.deadlines.first()
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
        self.deadlines.clear()
        while self.head is not None or self.patient is not None:
            self._call_up()
            self.pop()
        self.workers = []
        self.calls = []
        self.rung = False
        self.forked = self.is_green()


include "calls.pxi"
