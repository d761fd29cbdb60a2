"""The threads engine: a handler runs in a thread from a bounded, reused pool.

A client for which there is no thread is not accepted: it waits in the system's queue, where waiting costs nothing.
"""

import functools
from typing import TYPE_CHECKING, Any, ClassVar

from portside.core.pool import WorkerPool
from portside.dispatcher import Dispatcher, machine
from portside.roles import Engine

if TYPE_CHECKING:
    from portside.servers import BaseServer as _Server
else:
    _Server = object

# Seconds that `server_close()` gives threads whose handlers are done to leave: they have nothing left to do.
_JOIN_SECONDS = 1.0


class ThreadEngine(Engine):
    """The pool of one server, made when it is first needed: `max_threads` may be set until then."""

    name = "threads"
    holds_up_loop = False

    def __init__(self, server: Any, dispatcher: Dispatcher) -> None:
        super().__init__(server, dispatcher)
        self._pool: WorkerPool | None = None

    def pool(self) -> WorkerPool:
        """The pool; a forked process gets its own, since threads do not survive a fork."""
        if self._pool is None or self._pool.stale:
            self._pool = WorkerPool(limit=self.server.max_threads, on_room=self.dispatcher.lifecycle.wake)
        return self._pool

    def has_room(self) -> bool:
        """True when there is an idle thread, or may be one more."""
        return self.pool().has_room()

    def running(self) -> int:
        """Threads at work."""
        return 0 if self._pool is None or self._pool.stale else self._pool.busy()

    def is_handler(self) -> bool:
        """True in a thread of the pool."""
        return self._pool is not None and self._pool.is_worker()


class ThreadingMixIn(_Server):
    """Mix-in: each request is handled in a thread.

    Attributes:
        daemon_threads: whether the program may end while handlers run.
        block_on_close: whether `server_close()` waits for handlers (at most `drain_timeout` seconds); handlers in
            daemon threads are never waited for, as in the standard library.
        max_threads: handlers that run at once. 10,000 is what the project promises; each thread costs its stack's
            touched pages (about 40 KiB), and a system that allows fewer is noticed and waited for.
    """

    daemon_threads: bool = False
    block_on_close: bool = True
    max_threads: int = 10_000
    _portside_engine: ClassVar[type[Engine]] = ThreadEngine

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """What a handler's thread does: finish the request, report what it raises, close it."""
        machine(self).conclude(request, client_address)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand the request to a thread."""
        task = functools.partial(self.process_request_thread, request, client_address)
        if not machine(self).owns_loop:
            self._threads.wait_for_room()
        self._threads.submit(task, daemon=self.daemon_threads)

    def server_close(self) -> None:
        """Close the listener, and wait for handlers as `block_on_close` says."""
        super().server_close()
        waits = self.block_on_close and not self.daemon_threads
        if waits:
            machine(self).drain(machine(self).patience)
        self._threads.join(_JOIN_SECONDS if waits else 0)

    @property
    def _threads(self) -> WorkerPool:
        """The standard library's name for the threads; `len()` is how many there are."""
        engine = machine(self).engine
        assert isinstance(engine, ThreadEngine)
        return engine.pool()
