"""The service under test: a program with workers, which tells of its events as lines of JSON.

python -m tools.chaos.program '{"endpoint": "tcp://127.0.0.1:0", "engine": "green"}'
"""

import json
import logging
import mmap
import os
import resource
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import portside
from portside import telemetry
from portside.telemetry.jsonlog import JSONFormatter
from portside.telemetry.logging import attach
from tools.chaos.conversations import PATTERN

PIECE = PATTERN * 4096  # what a bulk answer is written in

TOLD = (
    *(telemetry.WorkerReady, telemetry.WorkerExited, telemetry.WorkerFailed, telemetry.WorkerRestarted),
    *(telemetry.ReloadFinished, telemetry.ReloadFailed, telemetry.HandOverFinished, telemetry.HandOverFailed),
    *(telemetry.AcceptPaused, telemetry.AcceptResumed, telemetry.HandlerFailed),
)


class Talk(portside.StreamRequestHandler):
    """Greets with its process, answers each line in capitals, and `BULK n` with n bytes."""

    def handle(self) -> None:
        self.wfile.write(b"%d\n" % os.getpid())
        for line in self.rfile:
            if line.startswith(b"BULK "):
                self._write_much(int(line[5:]))
            else:
                self.wfile.write(line.upper())

    def _write_much(self, left: int) -> None:
        while left:
            self.wfile.write(PIECE[:left])
            left -= min(left, len(PIECE))


def tell(event: Any) -> None:
    """One line, written at once: several processes share the pipe."""
    fields = {name: value for name, value in vars(event).items() if name in ("pid", "error", "reason", "exit_code")}
    told = {"event": type(event).__name__, "by": os.getpid(), **{name: str(value) for name, value in fields.items()}}
    if isinstance(event, telemetry.WorkerReady):
        told["endpoint"] = str(vars(event)["server"].endpoints[0])  # a supervisor
    os.write(1, (json.dumps(told) + "\n").encode())


def tell_of_the_deaf(event: telemetry.ConnectionClosed) -> None:
    """That a deadline has ended one: its client has no means of seeing it behind all that it has not read."""
    if event.reason is telemetry.CloseReason.TIMED_OUT:
        tell(event)


def set_clock(path: Path) -> None:
    """From now on the clock is wrong by as many seconds as the file says: a double, which may change at any moment."""
    with path.open("r+b") as file:
        wrong = mmap.mmap(file.fileno(), 8)

    def shifted(right: Callable[[], float]) -> Callable[[], float]:
        return lambda: right() + float(struct.unpack("d", wrong)[0])

    time.time = shifted(time.time)
    right_ns = time.time_ns
    time.time_ns = lambda: right_ns() + int(struct.unpack("d", wrong)[0] * 1e9)


def log_to(path: str) -> None:
    """Every connection, as a line in this file; so is what logging itself has to complain of."""
    os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), 2)
    handler = logging.FileHandler(path)
    handler.setFormatter(JSONFormatter())
    logging.basicConfig(level=logging.DEBUG, handlers=[handler])
    attach(verbose=True)


def main(wanted: dict[str, Any]) -> None:
    """Serve what is wanted."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = wanted.pop("descriptors", None) or most
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))
    if clock := wanted.pop("clock", None):
        set_clock(Path(clock))
    if log := wanted.pop("log", None):
        log_to(log)
    telemetry.subscribe(tell, *TOLD)
    if wanted.pop("tells_of_the_deaf", False):
        telemetry.subscribe(tell_of_the_deaf, telemetry.ConnectionClosed)
    tls = wanted.pop("tls", None)
    portside.serve(
        "tools.chaos.program:Talk",
        wanted.pop("endpoint"),
        workers=portside.Workers(count=wanted.pop("workers")),
        limits=portside.Limits(**wanted.pop("limits", {})),
        tls=tls and portside.TLS(tls),
        **wanted,
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
