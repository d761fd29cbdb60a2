"""Child processes that tell when they have ended: a process descriptor each, in one selector.

No signal handler is set (SIGCHLD belongs to the program) and only our own children are waited for.
"""

import contextlib
import os
import selectors
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from portside.acceptor import HasFileno

# Seconds between two looks at children on a system without process descriptors, and only while there are children.
LOOK_SECONDS = 0.1


@dataclass(kw_only=True, slots=True)
class Child:
    """One child.

    Attributes:
        pid: its process id.
        pidfd: readable once it has ended; -1 where the system has none (before Linux 5.3, and elsewhere).
        connection: the parent's own descriptor of the client's connection, for drains; None for datagrams.
        report: where the child tells what it found at the gates, see `portside.engines.reports`; -1 without gates.
    """

    pid: int
    pidfd: int
    connection: socket.socket | None
    report: int = -1

    def close(self) -> None:
        """Give the descriptors back."""
        for descriptor in (self.pidfd, self.report):
            if descriptor >= 0:
                os.close(descriptor)
        if self.connection is not None:
            self.connection.close()


class Children:
    """All children of one server.

    Resource handling: a selector from construction, up to three descriptors a child until it is collected; `close()`
    gives the selector back.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, Child] = {}
        self._lock = threading.Lock()
        self._untold = 0  # children without a process descriptor

    def __len__(self) -> int:
        return len(self._children)

    def fileno(self) -> int:
        """Readable when a child has ended."""
        return cast(HasFileno, self._selector).fileno()

    def tells(self) -> bool:
        """False while some child can end without `fileno()` becoming readable: then somebody has to look."""
        return self._untold == 0

    def add(self, pid: int, connection: socket.socket | None, report: int = -1) -> None:
        """Watch a child that was just forked; `connection` and `report` are closed when it has ended."""
        pidfd = _pidfd_open(pid)
        self._children[pid] = Child(pid=pid, pidfd=pidfd, connection=connection, report=report)
        if pidfd >= 0:
            self._selector.register(pidfd, selectors.EVENT_READ, pid)
        else:
            self._untold += 1

    def ended(self, *, blocking: bool = False) -> list[tuple[Child, int]]:
        """Collect the children that have ended, or with `blocking` all of them, each as soon as it ends.

        Returns:
            Each with its exit code, which is negative (the signal's number) for one that was killed. The caller
            closes them.
        """
        # Several threads may look at once (loops, a drain): one of them collects, and who would wait for it need not.
        if not self._lock.acquire(blocking=blocking):
            return []
        try:
            candidates = list(self._children.values()) if blocking or not self.tells() else self._told()
            return list(self._collected(candidates, blocking))
        finally:
            self._lock.release()

    def _collected(self, candidates: list[Child], blocking: bool) -> Iterator[tuple[Child, int]]:
        for child in candidates:
            code = _exit_code(child.pid, blocking=blocking)
            if code is not None:
                self._forget(child)
                yield child, code

    def kill(self) -> None:
        """SIGKILL to each; they still have to be collected."""
        for pid in list(self._children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def wait(self) -> None:
        """Sleep until a child may have ended."""
        self._selector.select(None if self.tells() else LOOK_SECONDS)

    def close(self) -> None:
        """Give every descriptor back, those of children that still run too: nobody will collect them."""
        for child in self._children.values():
            child.close()
        self._children.clear()
        self._selector.close()

    def _told(self) -> list[Child]:
        return [self._children[key.data] for key, _ in self._selector.select(0)]

    def _forget(self, child: Child) -> None:
        del self._children[child.pid]
        if child.pidfd >= 0:
            self._selector.unregister(child.pidfd)
        else:
            self._untold -= 1


def _pidfd_open(pid: int) -> int:
    if not hasattr(os, "pidfd_open"):
        return -1
    try:
        return os.pidfd_open(pid)
    except OSError:  # an old kernel, or no descriptor left
        return -1


def _exit_code(pid: int, *, blocking: bool) -> int | None:
    """None while it runs; 0 for one that somebody else has waited for (or SIGCHLD is ignored), since nobody knows."""
    try:
        waited, status = os.waitpid(pid, 0 if blocking else os.WNOHANG)
    except ChildProcessError:
        return 0
    return os.waitstatus_to_exitcode(status) if waited else None
