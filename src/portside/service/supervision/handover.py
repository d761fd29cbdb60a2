"""SIGUSR2: a new version of the program takes the listeners over, and the old one retires when the new one is ready.

The new version is the same command line, run again. It inherits the listening sockets and one end of a channel; an
environment variable names them. It says on the channel that it is ready; when it ends without having said so, nothing
has changed.
"""

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

from portside.service.supervision.channel import Channel
from portside.service.supervision.crew import ending, unwatch
from portside.service.supervision.listeners import Held
from portside.service.systemd import HANDED_OVER
from portside.telemetry import HandOverFailed, HandOverFinished, HandOverStarted, emit


class HandOver:
    """The old version's side: at most one new version at a time.

    Args:
        selector: where its messages are waited for; the data of a key is what to call then.
        server: what the events name.
        taken_over: called with its process id when it is ready.

    Attributes:
        done: it has taken over.
        deadline: when it is killed unless it has; None while there is none.

    Resource handling: a process and one end of a channel, until `close()`.
    """

    def __init__(self, selector: selectors.BaseSelector, server: object, taken_over: Callable[[int], object]) -> None:
        self._selector = selector
        self._server = server
        self._taken_over = taken_over
        self._folder = os.getcwd()  # where the program was started: the new version is to be, too
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self.done = False
        self.deadline: float | None = None

    def begin(self, held: Mapping[str, Sequence[Held]], deadline: float) -> None:
        """Start a new version, unless there is one.

        Args:
            held: the sockets that it inherits, by what they are for: "listeners", "admin".
            deadline: when it has to be ready, in seconds.
        """
        if self._process is not None:
            return
        self._channel, theirs = Channel.pair()
        try:
            self._process = _started(held, theirs, self._folder)
        except OSError as error:
            self._channel.close()
            emit(HandOverFailed(server=self._server, pid=0, error=str(error)))
            return
        finally:
            theirs.close()
        self.deadline = deadline
        self._selector.register(self._channel, selectors.EVENT_READ, self._listen)
        emit(HandOverStarted(server=self._server, pid=self._process.pid))

    def look(self, now: float) -> None:
        """See whether it has failed; kill it when its time is up."""
        if self._process is None or self.done:
            return
        if self.deadline is not None and self.deadline <= now:
            self.deadline = None
            self._process.kill()
        code = self._process.poll()
        if code is not None:
            emit(HandOverFailed(server=self._server, pid=self._process.pid, error=ending(code)))
            self.close()

    def cancel(self) -> None:
        """The service ends before the new version was ready: it is not wanted any more."""
        if self._process is not None and not self.done:
            self._process.kill()
            self._process.wait()
            self.close()

    def close(self) -> None:
        """Give the channel back, and let the process go."""
        if self._channel is not None:
            unwatch(self._selector, self._channel)
            self._channel.close()
        if self._process is not None and self._process.returncode is None:
            self._process.returncode = 0  # it outlives this process: nobody waits for it
        self._process, self._channel, self.deadline = None, None, None

    def become_worker(self) -> None:
        """In a forked worker: what is the supervisor's is none of its business."""
        if self._channel is not None:
            self._channel.close()

    def _listen(self) -> None:
        assert self._channel is not None and self._process is not None
        messages, more = self._channel.arrived()
        if not more:
            unwatch(self._selector, self._channel)
        if {"ready": True} in messages:
            self.done, self.deadline = True, None
            emit(HandOverFinished(server=self._server, pid=self._process.pid))
            self._taken_over(self._process.pid)


def _started(held: Mapping[str, Sequence[Held]], channel: Channel, folder: str) -> "subprocess.Popen[bytes]":
    message = {use: [each.described() for each in several] for use, several in held.items()}
    return subprocess.Popen(
        [sys.executable, *sys.orig_argv[1:]],
        cwd=folder,
        env=os.environ | {HANDED_OVER: json.dumps({"channel": channel.fileno(), **message})},
        pass_fds=(channel.fileno(), *(each.server.fileno() for several in held.values() for each in several)),
    )


class Predecessor:
    """The old version, as the new one sees it; nobody, where this program was started in any other way.

    Args:
        environment: where the old version has left its message, which is taken out.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        self.listeners: list[Mapping[str, Any]] = []
        self.admin: list[Mapping[str, Any]] = []
        self._channel: Channel | None = None
        told = environment.pop(HANDED_OVER, None)
        if told is not None:
            message = json.loads(told)
            self.listeners, self.admin = message["listeners"], message["admin"]
            self._channel = Channel.inherited(message["channel"])

    @property
    def is_there(self) -> bool:
        """Whether there is one that serves."""
        return self._channel is not None

    def retire(self) -> None:
        """Tell it that this version is ready, once."""
        if self._channel is not None:
            self._channel.offer({"ready": True})
            self.close()

    def close(self) -> None:
        """Let it go on, unless it was told to retire."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
