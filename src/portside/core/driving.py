"""Event loops that drive a hub: asyncio's (uvloop's too) and gevent's.

A hub is a descriptor that becomes readable when there is something to do (`Hub.fileno()`). The loop watches it, and
each time lets the hub take one turn, in which everything that is ready runs until it waits again.
"""

import asyncio
import contextvars
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from portside.core.hub import Hub, Task

_here = threading.local()


class Driver:
    """A loop that drives the hub of this thread, for as long as it has users.

    Args:
        loop: the event loop.

    Attributes:
        name: the loop's, for a person.
        loop: the event loop.
        hub: the hub that it drives.
    """

    name: ClassVar[str]

    def __init__(self, loop: Any) -> None:
        from portside.core.hub import get_hub

        self.loop = loop
        self.hub: Hub = get_hub()
        self._users = 0

    def spawn(self, work: Callable[[], Any]) -> "Task":
        """Run `work()` in a task, which has a copy of the caller's context variables. From the hub's thread."""
        task = self.hub.spawn(work, context=contextvars.copy_context())
        self.ring()
        return task

    def ring(self) -> None:
        """Let the loop take a turn soon: what is done between two turns is not seen by itself."""
        self.hub.call_from_thread(_nothing)

    def join(self) -> None:
        """One more user."""
        self._users += 1

    def leave(self) -> None:
        """One user less. With the last one the hub ends, and with it what still runs there."""
        self._users -= 1
        if not self._users:
            _here.driver = None
            self.stop()

    def is_over(self) -> bool:
        """True when the loop was closed without a word."""
        return False

    def stop(self) -> None:
        """Drive no longer, and close the hub."""


class AsyncioDriver(Driver):
    """An asyncio loop. What a turn raises goes where an event loop's callbacks' exceptions go."""

    name = "asyncio"

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        loop.add_reader(self.hub.fileno(), self.turn)

    def turn(self) -> None:
        """The hub's descriptor is readable."""
        self.hub.turn()

    def is_over(self) -> bool:
        """True when the loop was closed without a word."""
        closed: bool = self.loop.is_closed()
        return closed

    def stop(self) -> None:
        """Drive no longer, and close the hub."""
        if not self.is_over():
            self.loop.remove_reader(self.hub.fileno())
        self.hub.close()


class GeventDriver(Driver):
    """gevent's loop. A greenlet of its own takes the turns.

    A handler that calls something of gevent's which waits switches to gevent's hub in the middle of a turn. Then that
    turn pauses, and nobody takes another: gevent's greenlets run on, and the other handlers wait for the one.
    """

    name = "gevent"

    def __init__(self, loop: Any) -> None:
        import gevent

        super().__init__(loop)
        self._stopping = False
        self._greenlet = gevent.spawn(self._drive)

    def turn(self) -> None:
        """The hub's descriptor is readable."""
        try:
            self.hub.turn()
        except BaseException:
            self.loop.handle_error(self._greenlet, *sys.exc_info())

    def stop(self) -> None:
        """Drive no longer, and close the hub."""
        self._stopping = True
        self.ring()
        self._greenlet.join()

    def _drive(self) -> None:
        watcher = self.loop.loop.io(self.hub.fileno(), 1)  # for reading
        try:
            while not self._stopping:
                self.loop.wait(watcher)
                self.turn()
        finally:
            watcher.close()
            self.hub.close()  # in this greenlet, which is the parent of the hub's


def driver_here() -> Driver | None:
    """What drives the hub of this thread, or None."""
    driver: Driver | None = getattr(_here, "driver", None)
    if driver is not None and driver.is_over():
        _here.driver = None
        driver.stop()
        return None
    return driver


def driven_by(kind: type[Driver], loop: Any) -> Driver:
    """Have the hub of this thread driven by a loop; the caller is a user, and has to `leave()`.

    Raises:
        RuntimeError: another loop drives the hub.
    """
    driver = driver_here()
    if driver is None:
        driver = _here.driver = kind(loop)
    elif driver.loop is not loop:
        raise RuntimeError(
            f"another loop ({driver.name}) drives the hub of this thread already: serve there, or in another thread"
        )
    driver.join()
    return driver


def _nothing() -> None:
    """Rings the hub's bell, and that is all."""
