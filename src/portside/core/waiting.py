"""One who waits, wherever: a task of a hub gives way to the others, a thread blocks.

What is built on it (locks, events, queues) serves both at once: a thread may wake a task, a task may wake a thread, and
a task one of another hub.
"""

import importlib
import threading
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from portside.core.hub import Hub, Task


def _compiled_hub() -> Any:
    """The hub's module, or None: then nothing runs in tasks, and all waiting is blocking."""
    try:
        return importlib.import_module("portside.core.hub")
    except ImportError:
        return None


_core = _compiled_hub()


class Waiter(Protocol):
    """Waits once, and is woken once.

    Attributes:
        woken: True once `wake()` was called.
    """

    woken: bool

    def wake(self) -> None:
        """End the wait, now or as soon as it begins. From any thread; may be called again."""

    def wait(self, seconds: float | None) -> bool:
        """Wait for `wake()`, at most so many seconds, or None for ever.

        Returns:
            False when the time has passed first.

        Raises:
            BaseException: whatever is thrown at the waiting task (a kill, a timeout) or in the waiting thread (Ctrl-C).
        """


class TaskWaiter:
    """A task, the one that makes this."""

    def __init__(self, hub: "Hub", task: "Task") -> None:
        self.woken = False
        self._hub = hub
        self._task = task

    def wake(self) -> None:
        """End the wait."""
        self.woken = True
        if _core.running_hub() is self._hub:
            _core.wake(self._task)
        else:  # also in the hub's own thread: a loop that drives the hub has to be told that there is something to do
            self._hub.call_from_thread(self._task)

    def wait(self, seconds: float | None) -> bool:
        """Give way until woken."""
        if seconds is None:
            while not self.woken:
                _core.park()
            return True
        return self.woken or self._wait_so_long(max(0.0, seconds))

    def _wait_so_long(self, seconds: float) -> bool:
        timer = _core.Timer(seconds)
        try:
            while not (self.woken or timer.rang):
                _core.park()
        finally:
            timer.cancel()
        return self.woken


class ThreadWaiter:
    """A thread, the one that calls `wait()`."""

    def __init__(self) -> None:
        self.woken = False
        self._gate = threading.Lock()
        self._gate.acquire()

    def wake(self) -> None:
        """End the wait."""
        if not self.woken:
            self.woken = True
            self._gate.release()

    def wait(self, seconds: float | None) -> bool:
        """Block until woken."""
        return self._gate.acquire(timeout=-1 if seconds is None else min(max(0.0, seconds), threading.TIMEOUT_MAX))


def new_waiter() -> Waiter:
    """A waiter for whoever calls."""
    hub = running_hub()
    return ThreadWaiter() if hub is None else TaskWaiter(hub, _core.current_task())


def running_hub() -> "Hub | None":
    """The hub whose task is calling, or None outside of tasks; always None without the compiled core."""
    return None if _core is None else _core.running_hub()


def compiled() -> Any:
    """The hub's module; to be asked for only where `running_hub()` has shown that it is there."""
    return _core


def caller() -> "Task | int":
    """Who calls, as the owner of a lock: a task, or else a thread."""
    return threading.get_ident() if running_hub() is None else _core.current_task()
