"""The service under test, from outside: its events, its processes, the signals that it is sent."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

import psutil

from tools.chaos.processes import PATIENCE, Process, Stuck, Told


class Service(Process):
    """`program`, with workers below a supervisor, at a port of its own.

    Args:
        options: for `program`.
        errors: where its log goes.

    Attributes:
        supervisor: the process id of the present one, which a hand-over changes.
        port: where it listens.
    """

    def __init__(self, options: dict[str, Any], errors: IO[bytes]) -> None:
        super().__init__("program", {"endpoint": "tcp://127.0.0.1:0", **options}, errors=errors)
        self.supervisor = self.process.pid
        try:
            self.wait_for("WorkerReady", options["workers"])
        except BaseException:
            self.end()
            raise
        self.port = int(self.of("WorkerReady")[0]["endpoint"].rpartition(":")[2])

    def of(self, kind: str) -> list[Told]:
        """The events of a kind."""
        return [each for each in list(self.told) if each["event"] == kind]

    def wait_for(self, kind: str, count: int = 1) -> list[Told]:
        """Wait until there have been so many of a kind; returns them."""
        self.wait(lambda: len(self.of(kind)) >= count, f"{count} times {kind}")
        return self.of(kind)

    def workers(self) -> list[int]:
        """The process ids of the workers that accept, the longest-serving first."""
        gone = {each["pid"] for each in self.of("WorkerExited")}
        return [int(each["pid"]) for each in self.of("WorkerReady") if each["pid"] not in gone]

    def signal(self, number: int) -> None:
        """Send one to the supervisor."""
        os.kill(self.supervisor, number)

    def reload(self) -> None:
        """Replace the workers, and wait until that is done."""
        count = len(self.of("ReloadFinished"))
        self.signal(signal.SIGHUP)
        self.wait_for("ReloadFinished", count + 1)

    def hand_over(self) -> None:
        """Have a new version of the program take over, and wait until it has."""
        count = len(self.of("HandOverFinished"))
        self.signal(signal.SIGUSR2)
        self.supervisor = int(self.wait_for("HandOverFinished", count + 1)[-1]["pid"])

    def processes(self) -> list[psutil.Process]:
        """The supervisor and everything below it."""
        with suppress(psutil.NoSuchProcess):
            present = psutil.Process(self.supervisor)
            return [present, *present.children(recursive=True)]
        return []


def settle(reached: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Look until something that has no event is so.

    Raises:
        Stuck: it is not.
    """
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            raise Stuck(f"waited {seconds:g} s for {what}, in vain")
        nap(0.1)


def nap(seconds: float) -> None:
    """Let time pass: an attack has to last for some."""
    threading.Event().wait(seconds)
