"""Locks, semaphores, conditions and events, as in `threading`: for tasks and threads at once.

They are fair: whoever has waited longest is served first, and is handed what it waits for, so that nobody who comes
later can take it away. Whoever stops waiting for another reason (a timeout, a kill, Ctrl-C) hands on what was meant for
it: no wake-up is lost.

A semaphore guards its two fields with a plain lock, which nobody holds while waiting; the rest stands on semaphores.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from portside.core.waiting import Waiter, caller, new_waiter


class _Line:
    """Those who wait, the first to come at the front. Each operation is one step of the interpreter's."""

    def __init__(self) -> None:
        self._waiters: OrderedDict[Waiter, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiters)

    def join(self) -> Waiter:
        """Queue up; the caller has to call the waiter's `wait()`."""
        waiter = new_waiter()
        self._waiters[waiter] = None
        return waiter

    def leave(self, waiter: Waiter) -> bool:
        """Queue no longer; False for one whose turn has come meanwhile."""
        return self._waiters.pop(waiter, waiter) is None

    def call(self) -> Waiter | None:
        """Take the first one out; None where nobody waits."""
        try:
            return self._waiters.popitem(last=False)[0]
        except KeyError:
            return None


class Semaphore:
    """As `threading.Semaphore`.

    Args:
        value: how often it can be acquired before somebody has to wait.

    Raises:
        ValueError: the value is negative.
    """

    def __init__(self, value: int = 1) -> None:
        if value < 0:
            raise ValueError("semaphore initial value must be >= 0")
        self._guard = threading.Lock()
        self._value = value  # more than 0 only while nobody waits
        self._most: float = math.inf
        self._line = _Line()

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take one, waiting at most `timeout` seconds for it; False when none came.

        Raises:
            ValueError: a timeout for a call that does not wait.
        """
        if not blocking and timeout is not None:
            raise ValueError("can't specify timeout for non-blocking acquire")
        with self._guard:
            if self._value > 0:
                self._value -= 1
                return True
            if not blocking or (timeout is not None and timeout <= 0):
                return False
            waiter = self._line.join()
        return self._wait(waiter, timeout)

    def _wait(self, waiter: Waiter, timeout: float | None) -> bool:
        try:
            waiter.wait(timeout)
        except BaseException:
            if not self._withdraw(waiter):
                self._give_back(1)
            raise
        return not self._withdraw(waiter)

    def _withdraw(self, waiter: Waiter) -> bool:
        """Wait no more; False when one has been handed over."""
        with self._guard:
            return self._line.leave(waiter)

    def release(self, n: int = 1) -> None:
        """Give `n` back, to those who have waited longest.

        Raises:
            ValueError: `n` is less than 1.
        """
        if n < 1:
            raise ValueError("n must be one or more")
        self._give_back(n)

    def _give_back(self, n: int) -> None:
        with self._guard:
            if self._value + n > self._most:
                raise ValueError("Semaphore released too many times")
            called = [waiter for _ in range(min(n, len(self._line))) if (waiter := self._line.call())]
            self._value += n - len(called)
        for waiter in called:
            waiter.wake()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class BoundedSemaphore(Semaphore):
    """As `threading.BoundedSemaphore`: releasing it more often than it was acquired is a ValueError."""

    def __init__(self, value: int = 1) -> None:
        super().__init__(value)
        self._most = value


class Lock:
    """As `threading.Lock`: whoever has it, anybody may release it."""

    def __init__(self) -> None:
        self._permit = BoundedSemaphore()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it, waiting at most `timeout` seconds, or -1 for ever; False when it did not become free.

        Raises:
            ValueError: a timeout for a call that does not wait, or a negative one.
        """
        return self._permit.acquire(blocking, _checked(blocking, timeout))

    def release(self) -> None:
        """Give it to whoever has waited longest.

        Raises:
            RuntimeError: nobody has it.
        """
        try:
            self._permit.release()
        except ValueError:
            raise RuntimeError("release unlocked lock") from None

    def locked(self) -> bool:
        """True while somebody has it."""
        return self._permit._value == 0

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<{'locked' if self.locked() else 'unlocked'} portside.Lock at {id(self):#x}>"


def _checked(blocking: bool, timeout: float) -> float | None:
    """A lock's timeout, as a semaphore takes it."""
    if not blocking and timeout != -1:
        raise ValueError("can't specify a timeout for a non-blocking call")
    if timeout < 0 and timeout != -1:
        raise ValueError("timeout value must be a non-negative number")
    return None if timeout == -1 else timeout


class RLock:
    """As `threading.RLock`: its owner, a task or a thread, may take it again, and releases it as often."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._owner: Any = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it, or take it once more; see `Lock.acquire`."""
        if self._is_owned():
            _checked(blocking, timeout)
        elif self._lock.acquire(blocking, timeout):
            self._owner = caller()
        else:
            return False
        self._count += 1
        return True

    def release(self) -> None:
        """Give it back once.

        Raises:
            RuntimeError: the caller does not own it.
        """
        if not self._is_owned():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._owner = None
            self._lock.release()

    def locked(self) -> bool:
        """True while somebody owns it."""
        return self._lock.locked()

    def _is_owned(self) -> bool:
        return self._owner is not None and self._owner == caller()

    def _release_save(self) -> int:
        count, self._count, self._owner = self._count, 0, None
        self._lock.release()
        return count

    def _acquire_restore(self, count: int) -> None:
        self._lock.acquire()
        self._owner, self._count = caller(), count

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Condition:
    """As `threading.Condition`.

    Args:
        lock: a `Lock` or an `RLock` of this module; None makes an `RLock`.
    """

    def __init__(self, lock: Lock | RLock | None = None) -> None:
        self._lock = RLock() if lock is None else lock
        self._line = _Line()
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def wait(self, timeout: float | None = None) -> bool:
        """Release the lock, wait to be notified, take the lock again; False when `timeout` seconds passed first.

        Raises:
            RuntimeError: the caller does not have the lock.
        """
        self._check_owned("cannot wait on un-acquired lock")
        waiter = self._line.join()
        count = self._let_go()
        thrown = _thrown_by(lambda: waiter.wait(timeout))
        thrown = self._take_back(count) or thrown
        notified = not self._line.leave(waiter)
        if thrown is None:
            return notified
        if notified:
            self.notify()  # this one does not answer it
        try:
            raise thrown
        finally:
            del thrown

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until `predicate()` is true, at most `timeout` seconds; returns what it returned last."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        result = predicate()
        while not result and (left := deadline - time.monotonic()) > 0:
            self.wait(None if timeout is None else left)
            result = predicate()
        return result

    def notify(self, n: int = 1) -> None:
        """Wake those `n` who have waited longest.

        Raises:
            RuntimeError: the caller does not have the lock.
        """
        self._check_owned("cannot notify on un-acquired lock")
        for _ in range(n):
            if (waiter := self._line.call()) is None:
                return
            waiter.wake()

    def notify_all(self) -> None:
        """Wake all who wait."""
        self.notify(len(self._line))

    def _check_owned(self, complaint: str) -> None:
        lock = self._lock
        if not (lock._is_owned() if isinstance(lock, RLock) else lock.locked()):
            raise RuntimeError(complaint)

    def _let_go(self) -> int:
        if isinstance(self._lock, RLock):
            return self._lock._release_save()
        self._lock.release()
        return 1

    def _take_back(self, count: int) -> BaseException | None:
        """Take the lock, whatever is thrown meanwhile, for the caller's `with` block is going to release it.

        Returns:
            What was thrown.
        """
        last: BaseException | None = None
        while thrown := _thrown_by(lambda: self._take(count)):
            last = thrown
        return last

    def _take(self, count: int) -> None:
        if isinstance(self._lock, RLock):
            self._lock._acquire_restore(count)
        else:
            self._lock.acquire()

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(self, *error: object) -> None:
        self._lock.__exit__(*error)


def _thrown_by(wait: Callable[[], object]) -> BaseException | None:
    try:
        wait()
    except BaseException as error:
        return error
    return None


class Event:
    """As `threading.Event`. It takes no lock, so that a signal handler may call `set()` too."""

    def __init__(self) -> None:
        self._flag = False
        self._line = _Line()

    def is_set(self) -> bool:
        """True after `set()`, until `clear()`."""
        return self._flag

    def set(self) -> None:
        """Let all who wait, and all who come, go on."""
        self._flag = True
        while waiter := self._line.call():
            waiter.wake()

    def clear(self) -> None:
        """Let those who come wait."""
        self._flag = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most `timeout` seconds; False when that time has passed first."""
        if self._flag:
            return True
        waiter = self._line.join()
        try:
            return self._flag or waiter.wait(timeout)  # who set it before we were in line has not seen us
        finally:
            self._line.leave(waiter)
