"""Threads that are used again: a bounded pool that hands a task to an idle thread, or starts one.

The hand-over is one lock a thread, released by whoever submits: no queue between them, so that nothing can pile up in
it, and the thread that rested last works first, while its stack is still in the processor's cache.
"""

import contextvars
import itertools
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable

# Seconds that a thread without work stays: trio's thread cache keeps them 10 s.
IDLE_SECONDS = 10.0

Task = Callable[[], object]

_numbers = itertools.count(1)
_pools: "weakref.WeakSet[WorkerPool]" = weakref.WeakSet()


class _Worker:
    """One thread, and the lock that starts its next task."""

    def __init__(self, pool: "WorkerPool", task: Task, name: str) -> None:
        self._pool = pool
        self._baton = threading.Lock()
        self._baton.acquire()
        self.task: Task | None = task
        self.thread = threading.Thread(target=self._run, name=f"{name}-{next(_numbers)}")

    def start(self, *, daemon: bool) -> None:
        self.thread.daemon = daemon
        self.thread.start()

    def hand(self, task: Task | None) -> None:
        """Give an idle worker its next task; None sends it home."""
        self.task = task
        self._baton.release()

    def wait(self) -> bool:
        """Rest until a task is handed over; False when none came in time."""
        return self._baton.acquire(timeout=IDLE_SECONDS)

    def _run(self) -> None:
        while self.task is not None:
            _perform(self.task)
            self.task = None  # what a client left behind is not kept while the thread rests
            self._pool.rest(self)


def _perform(task: Task) -> None:
    """Run one task as a new thread would: in an empty context, and with exceptions going to the thread's hook."""
    try:
        contextvars.Context().run(task)
    except BaseException:
        kind, value, trace = sys.exc_info()
        threading.excepthook(threading.ExceptHookArgs((kind, value, trace, threading.current_thread())))


class WorkerPool:
    """At most `limit` threads that run tasks.

    Args:
        limit: threads at most.
        on_room: called, from a worker's thread, when there is room again after `has_room` was False.
        name: what the threads' names begin with.

    Resource handling: threads are started when needed and leave after `IDLE_SECONDS` without work, at `close()`, and
    when the interpreter ends; none of them keeps a program alive while it rests.
    """

    def __init__(
        self, *, limit: int, on_room: Callable[[], None] = lambda: None, name: str = "portside-handler"
    ) -> None:
        self._limit = limit
        self._name = name
        self._on_room = on_room
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._workers: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._waiting: deque[Task] = deque()  # tasks for which no thread could be started: at most one an accept loop
        self._starved = False
        self._closed = False
        self.stale = False  # True in a forked child, which has the pool but not its threads
        _pools.add(self)

    def __len__(self) -> int:
        """Threads, busy and idle."""
        return len(self._workers)

    def busy(self) -> int:
        """Threads at work, the calling one not counted."""
        with self._lock:
            working = len(self._workers) - len(self._idle) + len(self._waiting)
            own = any(worker.thread is threading.current_thread() for worker in self._workers)
        return working - own

    def has_room(self) -> bool:
        """True when another task would start at once; once False, `on_room` is called when that has changed."""
        with self._lock:
            room = self._roomy()
            self._starved = not room
        return room

    def wait_for_room(self) -> None:
        """Block until another task would start at once: for accept loops that cannot be told not to accept."""
        with self._room:
            self._room.wait_for(self._roomy)

    def is_worker(self) -> bool:
        """True when the calling thread is one of the pool's."""
        # Without the lock: shutdown() asks from signal handlers, which may have interrupted whoever holds it.
        return any(worker.thread is threading.current_thread() for worker in list(self._workers))

    def submit(self, task: Task, *, daemon: bool) -> None:
        """Have `task()` run by an idle thread, or by a new one.

        Where neither can be had the task waits for the next thread that becomes free: ask `has_room` before.

        Args:
            task: what to run; what it raises goes to `threading.excepthook`.
            daemon: for a thread that has to be started.

        Raises:
            RuntimeError: no thread could be started, and there is none that could become free.
        """
        with self._lock:
            if self._idle:
                self._idle.pop().hand(task)
                return
            if len(self._workers) >= self._limit:
                self._waiting.append(task)
                return
            worker = _Worker(self, task, self._name)
            self._workers.add(worker)  # before it starts: an interrupt (Ctrl-C) may come in between
        self._start(worker, task, daemon)

    def _roomy(self) -> bool:
        return bool(self._idle) or (len(self._workers) < self._limit and not self._waiting)

    def _start(self, worker: _Worker, task: Task, daemon: bool) -> None:
        # Without the lock, which a short task needs at its end: or nobody would be idle when the next one comes.
        try:
            worker.start(daemon=daemon)
        except BaseException as error:
            with self._lock:
                if worker.thread.ident is None:
                    self._workers.discard(worker)
                if not isinstance(error, RuntimeError) or not self._workers:
                    raise
                if self._idle:
                    self._idle.pop().hand(task)
                else:
                    self._waiting.append(task)  # the system has no more threads for us

    def rest(self, worker: _Worker) -> None:
        """For a worker whose task is done: returns with its next task, or with None when it should leave."""
        with self._lock:
            starved, self._starved = self._starved, False
            self._room.notify()
            if self._waiting:
                worker.task = self._waiting.popleft()
            elif not self._closed:
                self._idle.append(worker)
            else:
                self._workers.discard(worker)
            resting = worker.task is None and not self._closed
        if starved:
            self._on_room()
        if resting and not worker.wait():
            self._leave(worker)

    def _leave(self, worker: _Worker) -> None:
        with self._lock:
            if worker in self._idle:
                self._idle.remove(worker)
                self._workers.discard(worker)
                return
        worker.wait()  # somebody took it from the idle ones just now: its task is on the way

    def close(self) -> None:
        """Send idle threads home now and busy ones when they are done; waits for none. May be called again."""
        with self._lock:
            self._closed = True
            dismissed, self._idle = self._idle, []
            self._workers.difference_update(dismissed)
            for worker in dismissed:
                worker.hand(None)

    def join(self, seconds: float) -> None:
        """Close, and wait up to `seconds` for the threads to end (the caller's own is not waited for)."""
        threads = [worker.thread for worker in list(self._workers | set(self._idle))]
        self.close()
        deadline = time.monotonic() + seconds
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))


def _dismiss_all() -> None:
    for pool in list(_pools):
        if not pool.stale:
            pool.close()


def _mark_stale() -> None:
    for pool in list(_pools):
        pool.stale = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_mark_stale)


# Threads that are no daemons are joined when the interpreter ends, before atexit's callbacks run: only this hook comes
# earlier, and the standard library's concurrent.futures relies on it as well. Where it is missing, the end of a
# program waits up to IDLE_SECONDS for idle threads.
_register = getattr(threading, "_register_atexit", None)
if _register is not None:
    _register(_dismiss_all)
