"""SIGUSR2: a new version of the program takes the listeners over, and the old one retires when the new one is ready.

The new version is the same command line, run again. It inherits the listening sockets and one end of a channel; an
environment variable names them. It says on the channel that it is ready; when it ends without having said so, nothing
has changed.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from portside.service.channel import Channel
from portside.service.listeners import Held
from portside.service.systemd import HANDED_OVER


class Successor:
    """The new version, as the old one sees it.

    Args:
        held: the sockets that it inherits.
        folder: where the program was started, for the new version to be started there too.

    Raises:
        OSError: it could not be started.

    Resource handling: one end of a channel, until `close()`; the process is the caller's to wait for.
    """

    def __init__(self, held: Sequence[Held], folder: str) -> None:
        self.channel, theirs = Channel.pair()
        try:
            self._process = subprocess.Popen(
                [sys.executable, *sys.orig_argv[1:]],
                cwd=folder,
                env=os.environ | {HANDED_OVER: _described(held, theirs)},
                pass_fds=(theirs.fileno(), *(each.server.fileno() for each in held)),
            )
        except BaseException:
            self.channel.close()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid

    def exit_code(self) -> int | None:
        """How it has ended; None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """End it."""
        self._process.kill()

    def let_go(self) -> None:
        """It outlives this process: nobody waits for it any more."""
        self._process.returncode = self._process.poll() or 0

    def close(self) -> None:
        """Give the channel back."""
        self.channel.close()


def _described(held: Sequence[Held], channel: Channel) -> str:
    return json.dumps({"channel": channel.fileno(), "listeners": [each.described() for each in held]})


class Predecessor:
    """The old version, as the new one sees it; nobody, where this program was started in any other way.

    Args:
        environment: where the old version has left its message, which is taken out.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        self.listeners: list[Mapping[str, Any]] = []
        self._channel: Channel | None = None
        told = environment.pop(HANDED_OVER, None)
        if told is not None:
            message = json.loads(told)
            self.listeners = message["listeners"]
            self._channel = Channel.inherited(message["channel"])

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
