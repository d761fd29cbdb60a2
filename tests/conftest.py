"""What tests of every module share: a client with a deadline, and a check that a test leaves nothing behind."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, AnyStr

import psutil
import pytest
from hypothesis import HealthCheck, settings

DEADLINE = 30.0  # seconds; no answer on the loopback takes as long, so a wait that reaches it is a failure
SETTLE = 30.0  # seconds that a server's threads and children have to go once its test is over
TICK = 0.01  # seconds between two looks
PRESS_SECONDS = 8.0  # after which a signal is sent once more

Address = tuple[Any, ...] | str
Connect = Callable[[Address], socket.socket]

# A slow machine is no failure of a property, so nothing is timed; all else stays as Hypothesis chose, here or for CI.
settings.register_profile("house", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "fuzz",
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "20000")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("house")


@dataclass(frozen=True, kw_only=True)
class Holdings:
    """What a process holds of the operating system's: descriptors with what they refer to, threads and children."""

    descriptors: dict[int, str]
    threads: frozenset[threading.Thread]
    children: frozenset[psutil.Process]

    def beyond(self, start: "Holdings") -> list[str]:
        """Name what is held now and was not at the start."""
        return [
            *(str(thread) for thread in self.threads - start.threads),
            *(str(child) for child in self.children - start.children),
            *self._descriptors_beyond(start),
        ]

    def _descriptors_beyond(self, start: "Holdings") -> list[str]:
        # The number decides, as a test may replace what it found open; the names only tell which.
        if len(self.descriptors) <= len(start.descriptors):
            return []
        new = self.descriptors.items() - start.descriptors.items()
        return [f"descriptor {number}: {target}" for number, target in sorted(new)]


def descriptors() -> dict[int, str]:
    """The open descriptors of this process, each with what it refers to."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one that listed the folder is closed by now
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def holdings() -> Holdings:
    """What this process holds now; a child that ended and was not waited for counts as held."""
    return Holdings(
        descriptors=descriptors(),
        threads=frozenset(threading.enumerate()),
        children=frozenset(psutil.Process().children(recursive=True)),
    )


class StillClock:
    """Stands in for the module `time`, where only the test moves the time."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def wait_until(condition: Callable[[], bool], seconds: float = SETTLE) -> bool:
    """Look until the condition holds, for that many seconds at most; for what has no event to wait for."""
    deadline = time.monotonic() + seconds
    while not (held := condition()) and time.monotonic() < deadline:
        threading.Event().wait(TICK)
    return held


def send_offload_home() -> None:
    """Idle threads of `offload` stay for a while, for whoever calls it next: have them leave now."""
    if "portside.core.offloading" in sys.modules:
        offloading = sys.modules["portside.core.offloading"]
        offloading.limit_offloading(offloading.THREADS)


def pressed(process: "subprocess.Popen[AnyStr]", number: int, seconds: float) -> tuple[AnyStr, AnyStr]:
    """Send a signal until it is heard, and wait for the process to end; returns what it has written.

    A process that is about to wait in a system call when the signal comes hears of it only when the call returns: the
    interpreter looks for signals between two of its instructions, and has looked already.
    """
    for _ in range(max(1, int(seconds // PRESS_SECONDS))):
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=PRESS_SECONDS)
    raise AssertionError(f"{process.args!r} goes on in spite of signal {number}")


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Fail a test that leaves descriptors, threads or children; for a module: `pytest.mark.usefixtures("no_leaks")`."""
    start = holdings()
    yield
    send_offload_home()
    wait_until(lambda: not holdings().beyond(start))
    if left := holdings().beyond(start):
        pytest.fail("left behind: " + "; ".join(left))


@pytest.fixture
def connect() -> Iterator[Connect]:
    """A client: `connect(address)` is a stream socket with a deadline, closed with the test at the latest.

    The address is a server's `server_address`: a tuple for TCP over IPv4 or IPv6, a path for a Unix socket.
    """
    with ExitStack() as stack:

        def connect(address: Address) -> socket.socket:
            return stack.enter_context(_connected(address))

        yield connect


def _connected(address: Address) -> socket.socket:
    if not isinstance(address, str):
        return socket.create_connection(address[:2], timeout=DEADLINE)
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(DEADLINE)
    client.connect(address)
    return client


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that a user without rights can come into: pytest keeps its own for the one who runs it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
