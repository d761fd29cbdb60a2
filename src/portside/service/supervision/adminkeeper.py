"""The supervisor's hold on the admin endpoint: its socket, and the process that serves there, which it keeps alive."""

import contextlib
import functools
import importlib
import os
import selectors
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from portside.endpoints import Endpoint
from portside.framing import FrameError
from portside.policy.accepting import Backoff
from portside.service.admin.options import Admin
from portside.service.supervision.channel import Channel, Message
from portside.service.supervision.crew import exit_code, unwatch
from portside.service.supervision.forking import forked
from portside.service.supervision.listeners import Held, Listeners
from portside.telemetry import ProcessRole, WorkerExited, emit
from portside.telemetry.exposition import Ledger

# Pauses before it is started again, in seconds. One that has served for a minute is sound, and the count begins anew.
_RESTARTS = Backoff(first=0.1, factor=2.0, limit=30.0)
_STABLE_SECONDS = 60.0

# Seconds that it has to end what it is saying, when all else has ended.
_END_SECONDS = 3.0


class AdminKeeper:
    """Keeps the admin endpoint of a service with workers.

    Args:
        admin: where it is; None is nowhere.
        inherited: the socket, from a predecessor of this program.
        server: what events name.

    Attributes:
        endpoint: what was bound; None where there is nothing.

    Raises:
        OSError: the endpoint cannot be bound; the message says what to do about it.
        ImportError: HTTP's extra is not installed.

    Resource handling: the socket from construction, the process and a channel from `start`, to `close()`.
    """

    def __init__(self, admin: Admin | None, inherited: Sequence[Mapping[str, Any]], server: object) -> None:
        if admin is not None:
            importlib.import_module("portside.service.admin.handler")  # what is not installed is told now
        self._admin = admin
        self._server = server
        self._listeners = Listeners(() if admin is None else (admin.endpoint,), inherited=inherited)
        self.endpoint: Endpoint | None = next(iter(self._listeners.endpoints), None)
        self._pid: int | None = None
        self._channel: Channel | None = None
        self._selector: selectors.BaseSelector | None = None
        self._wanted = False
        self._failures = 0
        self._began = 0.0
        self._not_before = 0.0

    def begin(
        self,
        selector: selectors.BaseSelector,
        hear: Callable[[Message], object],
        leave: Callable[[], object],
        ledger: Ledger,
    ) -> None:
        """Serve from now on; `mind` does it.

        Args:
            selector: where the process's messages are waited for; the data of a key is what to call then.
            hear: called with each message.
            leave: called in the process: closes what is the supervisor's.
            ledger: what was counted by workers that have ended.
        """
        self._selector, self._hear, self._leave, self._ledger = selector, hear, leave, ledger
        self._wanted = self._admin is not None

    def mind(self, now: float) -> None:
        """Start the process where there is none, and see whether it has ended."""
        if self._pid is not None and (code := exit_code(self._pid)) is not None:
            self._mourn(code, now)
        if self._wanted and self._pid is None and self._not_before <= now:
            self._start(now)

    @property
    def next_due(self) -> float | None:
        """When `mind` has to be called although nothing happens."""
        return self._not_before if self._wanted and self._pid is None else None

    def held(self) -> list[Held]:
        """What a successor of this program inherits."""
        return self._listeners.all()

    def tell(self, **message: Any) -> None:
        """Send a message; to nobody, where there is no process."""
        if self._channel is None:
            return
        try:
            self._channel.offer(message)
        except FrameError as error:
            self._channel.offer({**message, "replies": [{"pid": os.getpid(), "error": str(error)}]})
        self._watch()

    def stop(self) -> None:
        """Serve no more; the process says what it has begun to say."""
        self._wanted = False
        if self._pid is not None and self._channel is not None:
            self.tell(stop=True)
            _wait_for_end(self._channel)
            _kill(self._pid)
            exit_code(self._pid, blocking=True)
            self._forget()

    def close(self, *, unlink: bool = True) -> None:
        """Give everything back.

        Args:
            unlink: remove a Unix socket's file, too; not when a successor goes on with it.
        """
        self.stop()
        self._listeners.close(unlink=unlink)

    def become_worker(self) -> None:
        """In a forked worker: this is none of its business."""
        if self._channel is not None:
            self._channel.close()
        for held in self.held():
            held.server.socket.close()

    def _start(self, now: float) -> None:
        from portside.service.supervision.adminprocess import live

        ours, theirs = Channel.pair()
        try:
            self._pid = forked(functools.partial(live, functools.partial(self._job, ours), theirs), theirs)
        except OSError:  # no room for another process: as if it had died
            ours.close()
            self._set_back(now)
            return
        self._channel, self._began = ours, now
        self._watch()

    def _job(self, ours: Channel) -> Any:
        """In the process: let go of what is the supervisor's, and say what there is to do."""
        from portside.service.supervision.adminprocess import AdminJob

        ours.close()
        self._leave()
        assert self._admin is not None
        _, listeners = self._listeners.take(0, 1)
        return AdminJob(admin=self._admin, listeners=listeners, ledger=self._ledger)

    def _watch(self) -> None:
        """Wait for messages, and for room where something has to wait for it."""
        assert self._selector is not None and self._channel is not None
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._channel.is_full else 0)
        unwatch(self._selector, self._channel)
        self._selector.register(self._channel, events, self._turn)

    def _turn(self) -> None:
        if self._channel is None:
            return
        self._channel.offer_rest()
        messages, more = self._channel.arrived()
        for message in messages:
            self._hear(message)
        self._watch()
        if not more and self._selector is not None:  # it is about to end
            unwatch(self._selector, self._channel)

    def _mourn(self, code: int, now: float) -> None:
        pid, lived = self._pid or 0, now - self._began
        self._forget()
        self._failures = 0 if lived >= _STABLE_SECONDS else self._failures
        self._set_back(now)
        emit(WorkerExited(server=self._server, pid=pid, exit_code=code, role=ProcessRole.ADMIN))

    def _set_back(self, now: float) -> None:
        self._failures += 1
        self._not_before = now + _RESTARTS.seconds(self._failures)

    def _forget(self) -> None:
        if self._channel is not None and self._selector is not None:
            unwatch(self._selector, self._channel)
            self._channel.close()
        self._pid = self._channel = None


def _wait_for_end(channel: Channel) -> None:
    """Until the other end is closed, or its time is up; what it says meanwhile is heard by nobody."""
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        while selector.select(_END_SECONDS):
            if not channel.arrived()[1]:
                return


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
