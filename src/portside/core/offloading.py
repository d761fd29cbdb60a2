"""Calls that block, moved out of the hub's way: a task waits while a thread makes the call."""

import contextvars
import functools
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from portside.core.pool import WorkerPool
from portside.core.waiting import new_waiter, running_hub

# Calls at once where nobody says otherwise: trio's and anyio's number. What they wait for (a database, a disk, a name
# server) rarely serves more at a time.
THREADS = 40

P = ParamSpec("P")
T = TypeVar("T")


class _Call:
    """One call, from the task that waits for it to the thread that makes it."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function: Callable[[], Any] | None = function
        self._context = contextvars.copy_context()
        self._waiter = new_waiter()
        self._value: Any = None
        self._error: BaseException | None = None

    def __call__(self) -> None:
        """In the thread: what an abandoned call raises is the thread's own."""
        function = self._function
        if function is None:  # nobody waits any more
            return
        try:
            self._value = self._context.run(function)
        except BaseException as error:
            if self._function is None:
                raise
            self._error = error
        finally:
            self._waiter.wake()

    def result(self) -> Any:
        """In the task: wait for the thread."""
        try:
            self._waiter.wait(None)
        finally:
            self._function = None
        if self._error is None:
            return self._value
        try:
            raise self._error
        finally:
            self._error = None


class _Threads:
    """The threads of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limit = THREADS
        self._pool: WorkerPool | None = None

    def run(self, call: _Call) -> Any:
        self._current().submit(call, daemon=True)
        return call.result()

    def _current(self) -> WorkerPool:
        with self._lock:
            if self._pool is None or self._pool.stale:  # a forked process has no threads
                self._pool = WorkerPool(limit=self._limit, name="portside-offload")
            return self._pool

    def limit(self, threads: int) -> None:
        with self._lock:
            self._limit = threads
            before, self._pool = self._pool, None
        if before is not None and not before.stale:
            before.close()

    def after_fork(self) -> None:
        self._lock = threading.Lock()


_threads = _Threads()


def offload(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function(*args, **kwargs)` in a thread, while the calling task waits and the others run.

    For what would block the hub: a database, `time.sleep`, a long computation. The thread has a copy of the task's
    context variables. Outside of tasks the function is called here and now.

    Returns:
        What the function returned.

    Raises:
        BaseException: what the function raised. What is thrown at the waiting task (a timeout, a kill) comes at once;
            then the thread finishes alone, and a call that has not begun never will.
        RuntimeError: the system has no thread for us.
    """
    if running_hub() is None:
        return function(*args, **kwargs)
    value: T = _threads.run(_Call(functools.partial(function, *args, **kwargs)))
    return value


def limit_offloading(threads: int) -> None:
    """Set how many calls of `offload` may run at once, 40 by default; further ones wait, first come first served.

    Args:
        threads: for calls from now on; those under way are not disturbed.

    Raises:
        ValueError: it is less than 1.
    """
    if threads < 1:
        raise ValueError(f"threads={threads!r} must be a whole number from 1 on")
    _threads.limit(threads)
