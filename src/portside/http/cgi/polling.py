"""Waits for several descriptors at once: by poll(2) in a thread; in a green task without holding the others up."""

import math
import select
from typing import Any

from portside.core.waiting import running_hub

# epoll(7) has the numbers of poll(2), and is itself a descriptor that a hub can watch.
_NUMBERS = select.POLLIN | select.POLLOUT | select.POLLHUP | select.POLLERR


class Poller:
    """Descriptors, and what is waited for; made where it is used, in the task or thread.

    Resource handling: in a task one descriptor, until `close()`.
    """

    def __init__(self) -> None:
        self._is_green = running_hub() is not None
        self._poll: Any = select.epoll() if self._is_green else select.poll()

    def register(self, descriptor: int, events: int) -> None:
        """Wait for these events of a descriptor from now on; its end and its errors are told unasked."""
        self._poll.register(descriptor, events & _NUMBERS)

    def unregister(self, descriptor: int) -> None:
        """Wait for nothing of a descriptor any more."""
        self._poll.unregister(descriptor)

    def poll(self, seconds: float) -> dict[int, int]:
        """Wait, at most so many seconds; which descriptors are ready, and what for."""
        if not self._is_green:
            return dict(self._poll.poll(math.ceil(seconds * 1000)))
        if seconds > 0:
            from portside.core.hub import wait_readable  # compiled: where there is a task, it is there

            wait_readable(self._poll.fileno(), seconds)
        return dict(self._poll.poll(0))

    def close(self) -> None:
        """Give the descriptor back, where there is one; may be called again."""
        if self._is_green:
            self._poll.close()
