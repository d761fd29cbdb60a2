"""Waits for clients: the listener, the waker and what an engine adds, in one selector, with pauses.

The acceptor knows no server and no hook. It answers one question, `wait() -> is somebody at the door?`, and sleeps
without end while the answer is no: an idle server costs nothing.
"""

import selectors
import time
from collections.abc import Iterable
from typing import Protocol, Self, cast

from portside.lifecycle import Run
from portside.policy.accepting import Backoff
from portside.spare import SpareDescriptor


class HasFileno(Protocol):
    """Whatever a selector takes."""

    def fileno(self) -> int:
        """The descriptor to watch."""


class Acceptor:
    """Watches one listener on behalf of one run.

    Args:
        listener: watched for clients, except while accepting is paused or the engine has no room.
        run: its waker ends a wait.
        extras: further descriptors that end a wait (the forks engine's children).

    Attributes:
        failing: True when the last accept failed for want of something.
        spare: for turning clients away when there is no other descriptor.

    Resource handling: a selector and a spare descriptor from construction to `close()`.
    """

    def __init__(self, listener: HasFileno, run: Run, extras: Iterable[HasFileno] = ()) -> None:
        self._listener = listener
        self._run = run
        self._watched = -1  # the listener's descriptor, while it is watched
        self.failing = False
        self._failures = 0
        self._resume_at: float | None = None
        self.spare = SpareDescriptor()
        self._backoff = Backoff()
        self._selector = selectors.DefaultSelector()
        for each in (run.waker, *extras):
            self._selector.register(each, selectors.EVENT_READ)

    def fileno(self) -> int:
        """The selector's own descriptor: another event loop can watch this one instead (epoll, kqueue)."""
        return cast(HasFileno, self._selector).fileno()

    def wait(self, timeout: float | None, *, accepting: bool) -> bool:
        """Sleep until something happens.

        Args:
            timeout: seconds at most, or None for no limit.
            accepting: False leaves the listener alone, and its clients in the system's queue.

        Returns:
            True when a client may be at the door.
        """
        self._watch_listener(accepting and not self.paused)
        ready = self._selector.select(self._earliest(timeout))
        fileobjs = [key.fileobj for key, _ in ready]
        if self._run.waker in fileobjs:
            self._run.look()
        return self._watched in fileobjs

    @property
    def paused(self) -> bool:
        """True until the pause that `failed` began has passed."""
        return self._resume_at is not None and time.monotonic() < self._resume_at

    def failed(self) -> float:
        """An accept failed for want of something: pause, longer each time.

        Returns:
            The pause, in seconds.
        """
        self.failing = True
        self._failures += 1
        pause = self._backoff.seconds(self._failures)
        self._resume_at = time.monotonic() + pause
        return pause

    def succeeded(self) -> None:
        """An accept went well again."""
        self.failing = False
        self._failures = 0
        self._resume_at = None

    def remaining(self) -> float | None:
        """Seconds until the pause is over, or None where there is none."""
        return None if self._resume_at is None else max(0.0, self._resume_at - time.monotonic())

    def close(self) -> None:
        """Give the selector and the spare descriptor back; what was watched stays open."""
        self._selector.close()
        self.spare.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _earliest(self, timeout: float | None) -> float | None:
        limits = [each for each in (timeout, self.remaining() if self.paused else None) if each is not None]
        return min(limits, default=None)

    def _watch_listener(self, wanted: bool) -> None:
        descriptor = self._listener.fileno() if wanted else -1
        if descriptor == self._watched:
            return
        if self._watched >= 0:
            self._selector.unregister(self._watched)
        if wanted:
            self._selector.register(descriptor, selectors.EVENT_READ)
        self._watched = descriptor
