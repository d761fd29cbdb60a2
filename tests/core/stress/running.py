"""A run of the stress test: a green server in this process, clients in another, and what is left without them."""

import gc
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from greenlet import greenlet

import portside
from portside.telemetry import HandlerFailed, subscribe
from tests.conftest import descriptors, wait_until
from tests.core.stress.serving import Book, Failure, Handler

ROOT = Path(__file__).parents[3]
SETTLE = 30.0  # seconds that the handlers of clients that left have to notice it
GIVE_UP = 300.0  # seconds beyond its own time after which the clients' process hangs
SPARE_GREENLETS = 64  # what a hub keeps for the next tasks


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What the server's process holds while it has no clients.

    Attributes:
        descriptors, tasks, greenlets: how many.
        blocks: pieces of memory in use by the interpreter's allocator: the figure that shows a leak.
        kibibytes: of resident memory, which also has what the C library keeps for later.
    """

    descriptors: int
    tasks: int
    greenlets: int
    blocks: int
    kibibytes: int

    @classmethod
    def take(cls, hubs: Iterable[Any]) -> "Footprint":
        """Measure now."""
        gc.collect()
        return cls(
            descriptors=len(descriptors()),
            tasks=sum(hub.living for hub in hubs),
            greenlets=sum(isinstance(each, greenlet) for each in gc.get_objects()),
            blocks=sys.getallocatedblocks(),
            kibibytes=psutil.Process().memory_info().rss // 1024,
        )

    def __str__(self) -> str:
        return (
            f"{self.descriptors} descriptors, {self.tasks} tasks, {self.greenlets} greenlets, "
            f"{self.blocks:,} blocks, {self.kibibytes:,} KiB"
        )


@dataclass(frozen=True, kw_only=True)
class Round:
    """One wave of clients that came and went.

    Attributes:
        conversations: how many there were.
        wrong: what was wrong with them, a sentence each.
        left: what the server held afterwards.
    """

    conversations: int
    wrong: list[str]
    left: Footprint


class Stress:
    """A server under stress.

    Args:
        seed: of everything that is drawn.
        at_once: conversations side by side.
    """

    def __init__(self, seed: int, at_once: int) -> None:
        self.seed = seed
        self.at_once = at_once
        self.book = Book()
        self._next = 0
        self._addresses = ""

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Within the block the server runs, with two hubs: one for TCP and one for a Unix socket."""
        handler = type("BookedHandler", (Handler,), {"book": self.book})
        with (
            tempfile.TemporaryDirectory() as folder,
            subscribe(self._failed, HandlerFailed),
            quiet(logging.getLogger("portside")),
            portside.start(handler, "tcp://127.0.0.1:0", f"unix://{folder}/socket", engine="green") as running,
        ):
            self._addresses = json.dumps([server.server_address for server in running.servers])
            yield

    def _failed(self, event: HandlerFailed) -> None:
        if not isinstance(event.error, Failure):
            self.book.unexpected.append(f"server: a handler failed with {event.error!r}")

    def round(self, conversations: int, seconds: float) -> Round:
        """Let clients come for so many conversations, or seconds, and go."""
        arguments = [self._addresses, self.seed, self._next, conversations, seconds, self.at_once]
        done = subprocess.run(
            [sys.executable, "-m", "tests.core.stress.attacking", *map(str, arguments)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            timeout=seconds + GIVE_UP,
            check=True,
        )
        report = json.loads(done.stdout)
        self._next += conversations
        wait_until(self._is_quiet, SETTLE)
        wrong, self.book.unexpected = [*report["wrong"], *self.book.unexpected], []
        return Round(conversations=report["count"], wrong=wrong, left=Footprint.take(self.book.hubs))

    def _is_quiet(self) -> bool:
        return all(hub.living == 1 for hub in self.book.hubs)  # the accept loop's task


@contextmanager
def quiet(logger: logging.Logger) -> Iterator[None]:
    """Within the block the logger says nothing: thousands of handlers fail on purpose."""
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
