"""The watchdog: tells when a task keeps its hub, and with it everybody else, for too long.

One thread watches one hub. While the hub sleeps, so does the thread, without end: the hub's `sentinel` wakes it. While
the hub is at work, the thread looks a few times a second whether tasks still give way to each other; nothing that a
task does pays for that. A hub that sleeps between two messages is at work: whenever this thread gets the interpreter's
lock, such a hub seems to sleep, and waking each other for each message would cost both of them more than the message.
"""

import contextlib
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING

from portside.telemetry import HubBlocked, emit

if TYPE_CHECKING:
    from portside.core.hub import Hub

# Looks within the time after which a hub counts as blocked: a report comes at most a quarter of it late.
_LOOKS = 4


class Watchdog:
    """Watches the hub of the thread that makes it, in a thread of its own, for the servers that live in that hub.

    Args:
        hub: the hub.
        patience: seconds that a task may keep the hub.
    """

    def __init__(self, hub: "Hub", patience: float) -> None:
        self._hub = hub
        self._patience = patience
        self._thread = threading.get_ident()
        self._servers: list[object] = []
        self._turns = -1
        self._since = 0.0
        self._told = False
        # Its `put` is compiled: the hub calls it between two tasks, where no signal handler of Python's may run.
        self._bell: queue.SimpleQueue[object] = queue.SimpleQueue()

    def add(self, server: object) -> None:
        """Watch for another server; the first starts the thread."""
        self._servers.append(server)
        if len(self._servers) == 1:
            threading.Thread(target=self._watch, name="portside-watchdog", daemon=True).start()

    def remove(self, server: object) -> bool:
        """Watch for it no more; without any server the thread ends by itself. Returns whether that was the last."""
        self._servers.remove(server)
        if not self._servers:
            self._hub.sentinel = None
            self._bell.put(None)
        return not self._servers

    def _watch(self) -> None:
        while self._servers:
            if self._hub.idle and self._hub.turns == self._turns:  # and so it was since the last look
                self._sleep()
            else:
                self._look()
                self._rest(self._patience / _LOOKS)

    def _sleep(self) -> None:
        """Until the hub is awake, or there is nothing left to watch."""
        self._hub.sentinel = self._bell.put
        if self._hub.idle and self._servers:  # or it woke up just before, and calls nobody
            self._rest(None)
        self._turns = -1  # whatever comes now has just begun

    def _rest(self, seconds: float | None) -> None:
        with contextlib.suppress(queue.Empty):
            self._bell.get(timeout=seconds)

    def _look(self) -> None:
        now = time.monotonic()
        if self._hub.idle or self._hub.turns != self._turns:
            self._turns, self._since, self._told = self._hub.turns, now, False
        elif not self._told and now - self._since >= self._patience:
            self._tell(now - self._since)

    def _tell(self, seconds: float) -> None:
        stack = _stack_of(self._thread)
        if self._is_blocked() and self._servers:  # still, so that this is the stack of the one who blocks it
            self._told = True
            emit(HubBlocked(server=self._servers[0], seconds=seconds, stack=stack))

    def _is_blocked(self) -> bool:
        return self._hub.turns == self._turns and not self._hub.idle


def _stack_of(thread: int) -> str:
    frame = sys._current_frames().get(thread)
    return "" if frame is None else "".join(traceback.format_stack(frame))


_dogs: "dict[Hub, Watchdog]" = {}


@contextlib.contextmanager
def watched(hub: "Hub", server: object, patience: float | None) -> Iterator[None]:
    """Have this thread's hub watched during the block, and `HubBlocked` emitted once for each time that it is blocked.

    Several servers may live in one hub; it is watched once, with the patience of the first, and that one is told of.

    Args:
        hub: the hub.
        server: the server whose handlers run in it.
        patience: seconds that a task may keep the hub; None watches nothing.
    """
    if patience is None:
        yield
        return
    dog = _dogs.setdefault(hub, Watchdog(hub, patience))
    dog.add(server)
    try:
        yield
    finally:
        if dog.remove(server):
            _dogs.pop(hub, None)


def _after_fork_in_child() -> None:
    """The threads were not copied, and nobody is to be woken."""
    for hub in _dogs:
        hub.sentinel = None
    _dogs.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
