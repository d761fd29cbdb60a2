"""Queues, as in `queue`: for tasks and threads at once.

A queue is what it holds and two semaphores, the items that can be taken and the room that is left; they bring their
fairness, their timeouts and their care for those who stop waiting.
"""

import heapq
import math
import queue
import threading
from collections import deque
from typing import Any, Generic, TypeVar

from portside.core.sync import Event, Semaphore

T = TypeVar("T")

if hasattr(queue, "ShutDown"):
    ShutDown: type[Exception] = queue.ShutDown
else:  # before Python 3.13

    class _ShutDown(Exception):
        """Raised when put or get meets a queue that was shut down."""

    ShutDown = _ShutDown


class Queue(Generic[T]):
    """As `queue.Queue`: the first item in is the first out.

    Args:
        maxsize: items that it may hold; 0 or less for any number.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        self.unfinished_tasks = 0
        self.is_shutdown = False
        self._guard = threading.Lock()
        self._items = Semaphore(0)
        self._room = Semaphore(maxsize) if maxsize > 0 else None
        self._all_done = Event()
        self._all_done.set()
        self._init(maxsize)

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Add an item, waiting at most `timeout` seconds, or None for ever, for room.

        Raises:
            queue.Full: there was no room in time, or none at all without `block`.
            queue.ShutDown: the queue was shut down (before Python 3.13, this module's `ShutDown`).
            ValueError: the timeout is negative.
        """
        if self._room is not None and not self.is_shutdown and not _acquired(self._room, block, timeout):
            raise queue.Full
        try:
            self._store(item)
        except BaseException:  # shut down; or items that cannot be compared
            self._pass_on(self._room)
            raise
        self._items.release()

    def _store(self, item: T) -> None:
        with self._guard:
            if self.is_shutdown:
                raise ShutDown
            self._put(item)
            self.unfinished_tasks += 1
            self._all_done.clear()

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Take the next item, waiting for it at most `timeout` seconds, or None for ever.

        Raises:
            queue.Empty: none came in time, or there is none at all without `block`.
            queue.ShutDown: the queue was shut down and is empty.
            ValueError: the timeout is negative.
        """
        if not _acquired(self._items, block, timeout):
            raise ShutDown if self.is_shutdown else queue.Empty
        with self._guard:
            item = [self._get()] if self._qsize() else []
        if not item:
            self._pass_on(self._items)
            raise ShutDown
        if self._room is not None:
            self._room.release()
        return item[0]

    def put_nowait(self, item: T) -> None:
        """`put(item, block=False)`."""
        self.put(item, block=False)

    def get_nowait(self) -> T:
        """`get(block=False)`."""
        return self.get(block=False)

    def task_done(self) -> None:
        """An item that was taken is dealt with.

        Raises:
            ValueError: called more often than items were put in.
        """
        with self._guard:
            self._finish(1)

    def _finish(self, count: int) -> None:
        if count > self.unfinished_tasks:
            raise ValueError("task_done() called too many times")
        self.unfinished_tasks -= count
        if not self.unfinished_tasks:
            self._all_done.set()

    def join(self) -> None:
        """Wait until all items that were put in have been taken and dealt with."""
        self._all_done.wait()

    def shutdown(self, immediate: bool = False) -> None:
        """Let every `put` raise ShutDown, and every `get` once the queue is empty; who waits learns it at once.

        Args:
            immediate: throw away what the queue holds, as if it had been dealt with.
        """
        with self._guard:
            self.is_shutdown = True
            if immediate:
                self._throw_away()
        self._pass_on(self._items)
        self._pass_on(self._room)

    def _throw_away(self) -> None:
        thrown = 0
        while self._qsize():
            self._get()
            thrown += 1
        self._finish(min(thrown, self.unfinished_tasks))

    @staticmethod
    def _pass_on(semaphore: Semaphore | None) -> None:
        """After the end one permit too many goes round, and shows it to everybody who waits."""
        if semaphore is not None:
            semaphore.release()

    def qsize(self) -> int:
        """How many items there are."""
        return self._qsize()

    def empty(self) -> bool:
        """True when there are none."""
        return not self._qsize()

    def full(self) -> bool:
        """True when there is no room."""
        return 0 < self.maxsize <= self._qsize()

    # What subclasses override, as in the standard library.

    def _init(self, maxsize: int) -> None:
        self.queue: Any = deque()

    def _qsize(self) -> int:
        return len(self.queue)

    def _put(self, item: T) -> None:
        self.queue.append(item)

    def _get(self) -> T:
        item: T = self.queue.popleft()
        return item


class LifoQueue(Queue[T]):
    """As `queue.LifoQueue`: the last item in is the first out."""

    def _get(self) -> T:
        item: T = self.queue.pop()
        return item


class PriorityQueue(Queue[T]):
    """As `queue.PriorityQueue`: the least item is the first out."""

    def _init(self, maxsize: int) -> None:
        self.queue = []

    def _put(self, item: T) -> None:
        heapq.heappush(self.queue, item)

    def _get(self) -> T:
        item: T = heapq.heappop(self.queue)
        return item


def _acquired(permits: Semaphore, block: bool, timeout: float | None) -> bool:
    if not block:
        return permits.acquire(blocking=False)
    if timeout is not None and not 0 <= timeout <= math.inf:
        raise ValueError("'timeout' must be a non-negative number")
    return permits.acquire(timeout=timeout)
