# The hub of each thread, and what the rest of the package calls. A part of hub.pyx.

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


cdef int stand_back() except -1:
    """Let everybody else who is ready run first: what a task does that has used up its credit by sending much."""
    if in_green():
        hub_here().stand_back()
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
