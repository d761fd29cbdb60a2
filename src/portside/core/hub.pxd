"""The hub's types, for the other parts of the core."""

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from portside.core.deadlines cimport Deadline, Timetable
from portside.core.linux cimport epoll_event


cdef enum TaskState:
    NEW  # waits for its first turn
    READY  # in the queue
    RUNNING
    PARKED  # waits to be woken
    DONE


cdef enum:
    COMPANY = 10


# Goes on with a task on another stack than its own; returns 0 when it needs its own again, else it waits once more.
ctypedef int (*Errand)(PyObject *errand) except -1


cdef class Task:
    cdef public object function, arguments
    cdef public object context
    cdef public object value
    cdef public object failure
    cdef object error  # to be raised where the task is parked
    cdef readonly Hub hub
    cdef object greenlet  # None while it needs none: it has not begun, or waits for its errand
    cdef object own  # its greenlet, while others run its errands
    cdef Errand run_errand
    cdef PyObject *errand  # borrowed from whoever waits in `own`
    cdef object joiners
    cdef Task after  # the next in the queue
    cdef PyObject *newer  # neighbours in the hub's list of living tasks, borrowed
    cdef PyObject *older
    cdef TaskState state
    cdef bint observed
    cdef void *company[COMPANY]  # what it will touch when it goes on, or NULL: only fetched, and perhaps gone already
    cdef object __weakref__


cdef class Alarm(Deadline):
    cdef Task task
    cdef object error
    cdef bint rang
    cdef Hub hub

    cdef int set(self, Hub hub, double seconds) except -1
    cdef int cancel(self) except -1


cdef class Channel(Deadline):
    cdef readonly int fd
    cdef uint32_t generation
    cdef uint32_t interest  # the events that epoll watches for
    cdef bint drained  # the kernel had no more input when it was last asked, and has told of none since
    cdef bint stuffed  # the kernel took no more output when it was last offered some, and has told of no room since
    cdef bint ended  # the kernel has told of an end, an error or urgent data: a short read proves nothing
    cdef bint closed
    cdef Hub hub
    cdef object readers  # None, a Task, or a list of Tasks
    cdef object writers
    cdef double patience  # seconds that an operation may take; negative for ever, 0 not at all
    cdef double idle  # seconds that a read may wait for the peer; negative for ever
    cdef double stall  # seconds that one wait to write may last; negative for ever
    cdef double limit  # when every operation times out; INFINITY for never
    cdef double read_by
    cdef double write_by
    cdef bint dirty  # in the hub's chain of channels with gathered output
    cdef Channel dirtier  # the next in that chain

    cdef double deadline(self, bint write) noexcept
    cdef int wait(self, bint write, double by) except -1
    cdef bint await_input_of(self, Hub hub, Task me, double by) except -1
    cdef int _wait_elsewhere(self, bint write, double by) except -1
    cdef int _wake_readers(self, Hub hub) except -1
    cdef int _wake_writers(self, Hub hub) except -1
    cdef int _watch(self, Hub hub, uint32_t events) except -1
    cdef int _control(self, Hub hub, uint32_t events) except -1
    cdef void happened(self, uint32_t events)
    cdef int close(self) except -1
    cdef void forget(self)
    cdef int flush(self) except -1
    cdef int post(self) except -1


cdef class Watch(Channel):
    pass


cdef class Hub:
    cdef int epoll
    cdef int bell  # an eventfd: another thread has something to say, or a driver must call again
    cdef int clock  # a timerfd, for a driver
    cdef readonly unsigned long thread
    cdef object root  # the greenlet that runs the loop
    cdef Task root_task
    cdef readonly Task current
    cdef Task head  # the queue
    cdef Task tail
    cdef Py_ssize_t length
    cdef Task patient  # those who send much, and have used up their credit; they are not in the queue
    cdef Task last_patient
    cdef Py_ssize_t quota  # tasks that may run before the kernel is asked again
    cdef readonly Py_ssize_t crowd  # how many were ready when it was last asked
    cdef Task handoff  # for the root, which starts a greenlet for it
    cdef bint dismissing
    cdef list workers  # greenlets without a task
    cdef int let_go  # greenlets that have ended since memory was last given back
    cdef double gave_back  # when that was
    cdef int settling  # times that it is to be given back again, since a crowd has just gone
    cdef int chores
    cdef object interruption
    cdef Task main
    cdef readonly bint driven
    cdef bint forked
    cdef object calls  # what other threads want: tasks to wake, or functions to call
    cdef bint rung
    cdef PyObject **channels  # by descriptor, borrowed
    cdef Py_ssize_t capacity
    cdef uint32_t generation
    cdef Timetable deadlines
    cdef PyObject *newest  # living tasks, borrowed
    cdef readonly Py_ssize_t living
    cdef Channel dirty  # streams whose gathered output must leave before anything waits
    cdef Channel outgoing  # sockets whose gathered datagrams leave before the kernel is asked
    cdef public Py_ssize_t credit  # bytes that the running task may still move before the others get a turn
    cdef readonly uint64_t turns
    cdef readonly bint idle
    cdef public object sentinel  # the watchdog's, called when the hub wakes up and nobody watches
    cdef object work
    cdef Py_ssize_t shift  # where the last greenlet's frames begin
    cdef epoll_event events[512]
    cdef object __weakref__

    cdef Task here(self)
    cdef Task _task_of(self, object greenlet)
    cdef bint is_green(self) noexcept
    cdef int park(self) except -1
    cdef int park_task(self, Task me) except -1
    cdef int leave_to_others(self, Task me, Errand run, PyObject *errand) except -1
    cdef int _run_errand(self, Task task, object greenlet) except -1
    cdef int give_way(self, Task me) except -1
    cdef int take_turns(self) except -1
    cdef int stand_back(self) except -1
    cdef int _queue_up(self, bint patiently) except -1
    cdef PyObject *next(self) except? NULL
    cdef void _call_up(self)
    cdef int go(self) except -1
    cdef int _start(self) except -1
    cdef int wake(self, Task task) except -1
    cdef void push(self, Task task)
    cdef Task pop(self)
    cdef int ask(self, bint block) except -1
    cdef int _give_back(self, int timeout) noexcept
    cdef int _awake(self) except -1
    cdef void _fetch(self, uint64_t key) noexcept
    cdef int _deliver(self, uint64_t key, uint32_t events) except -1
    cdef int _patience(self) noexcept
    cdef void _push_first(self, Task task)
    cdef int _shift_frames(self) except -1
    cdef int _run_task(self, Task task, object greenlet) except -1
    cdef int _conclude(self, Task task, object greenlet) except -1
    cdef int _flush(self) except -1
    cdef int _post(self) except -1


cdef Hub hub_here()
cdef bint in_green() noexcept
cpdef int give_way() except -1
cdef int stand_back() except -1
