"""Wakes a thread that waits in a selector: a socket pair, since a socket is what every platform's selector takes.

One byte is one wish. The pair is inherited by forked children, so a handler that runs in a child can still ask the
server in the parent to stop.
"""

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from enum import Enum


class Wish(bytes, Enum):
    """What the woken loop is asked to do."""

    LOOK = b"l"  # something changed: look again
    STOP = b"s"  # leave the loop


class _End(socket.socket):
    """One end. It closes itself, without a warning, with a server that a program has dropped without closing it."""

    def __del__(self) -> None:
        self.close()


class Waker:
    """One end to wait on (`fileno`), one to send wishes to.

    Resource handling: two descriptors from construction to `close()`.
    """

    def __init__(self) -> None:
        self._waiting, self._waking = (_End(fileno=end.detach()) for end in socket.socketpair())
        for end in (self._waiting, self._waking):
            end.setblocking(False)

    def fileno(self) -> int:
        """The descriptor that becomes readable when somebody has a wish."""
        return self._waiting.fileno()

    def wake(self, wish: Wish = Wish.LOOK) -> None:
        """Send a wish, from any thread, process or signal handler; to a waker that was closed, nothing happens."""
        # A full pair (BlockingIOError) already has a wish waiting; a closed one (OSError) has nobody to wake.
        with contextlib.suppress(OSError):
            self._waking.send(wish.value)

    def collect(self) -> bool:
        """Read all wishes; True when one of them was to stop. Never waits."""
        wishes = b""
        with contextlib.suppress(OSError):
            wishes = self._waiting.recv(4096)
        return Wish.STOP.value in wishes

    @contextlib.contextmanager
    def rung_by_signals(self) -> Iterator[None]:
        """In the main thread, within the block: a signal ends a wait, whenever and in whichever thread it comes.

        Signal handlers written in Python run in the main thread between two instructions. A signal that comes after the
        last instruction before a wait, or that the kernel gives to another thread, would not be seen until something
        else ends the wait. A wake-up descriptor that somebody else has set (asyncio) stays theirs.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        ours = self._waking.fileno()
        before = signal.set_wakeup_fd(ours, warn_on_full_buffer=False)
        if before != -1:
            signal.set_wakeup_fd(before)
        try:
            yield
        finally:
            if before == -1 and (now := signal.set_wakeup_fd(-1)) != ours:
                signal.set_wakeup_fd(now)  # set by somebody else meanwhile: an asyncio loop that got a signal handler

    def close(self) -> None:
        """Give the descriptors back."""
        self._waiting.close()
        self._waking.close()
