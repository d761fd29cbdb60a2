"""Processes that tell of themselves as lines of JSON: started, listened to, and ended for certain."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 90.0  # seconds; only what hangs takes as long, on any machine

Told = dict[str, Any]


class Stuck(Exception):
    """Something that was waited for has not come."""


class Process:
    """A module of this package, run in a session of its own, of which nothing outlives the block.

    Args:
        module: which.
        options: its one argument.
        bare: it imports the standard library only, so that `site` need not look for anything else.
        errors: where its standard error goes; None for the runner's own.

    Attributes:
        told: every line so far.
    """

    def __init__(
        self, module: str, options: Mapping[str, Any], *, bare: bool = False, errors: IO[bytes] | None = None
    ) -> None:
        self.told: list[Told] = []
        self._news = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            [sys.executable, *(["-S"] if bare else []), "-m", f"tools.chaos.{module}", json.dumps(options)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.told.append(json.loads(line))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        """Wait until something told makes the condition true.

        Raises:
            Stuck: it has not, or the process has ended before.
        """
        with self._news:
            self._news.wait_for(lambda: self._ended or condition(), seconds)
            if not condition():
                raise Stuck(f"waited {seconds:g} s for {what}, in vain")

    def say(self, command: bytes) -> None:
        """Give it a command on its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + b"\n")
        self.process.stdin.flush()

    def finish(self) -> Told:
        """Let it come to its end; returns the last that it has told.

        Raises:
            Stuck: it does not end.
        """
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.wait(lambda: self._ended, "a process to end")
        self.process.wait(PATIENCE)
        return self.told[-1]

    def end(self) -> None:
        """End whatever is left of it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join()
        for file in (self.process.stdin, self.process.stdout):
            assert file is not None
            with suppress(BrokenPipeError):
                file.close()
