"""What the conformance suite measures with: a journal and a gate that also work across processes.

A handler of the forks engine runs in a child, where it can neither append to a list of the test's nor wait for its
event. A pipe does both, in every engine alike.
"""

import asyncio
import dataclasses
import functools
import json
import os
import select
import time
from collections.abc import Iterator
from typing import Any

from portside import telemetry
from portside.core import hub
from tests.conftest import DEADLINE

BULK = 8 * 1024 * 1024  # bytes that a large transfer moves each way: far more than the kernel's buffers hold
PIECE = 65_536  # bytes of it at a time


@functools.cache
def pattern(size: int) -> bytes:
    """That many bytes which show when some are lost, doubled or swapped; 251 is a prime."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the journal."""

    kind: str
    pid: int
    fields: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.fields[name]
        except KeyError as error:
            raise AttributeError(name) from error


class Journal:
    """Notes from any thread, task or forked child, in the order in which they were made."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        self._rest = b""
        self._log: list[Entry] = []
        self._untaken: list[Entry] = []

    def note(self, kind: str, **fields: Any) -> None:
        """Write a line; one write below PIPE_BUF, which no other can divide."""
        line = json.dumps({"kind": kind, "pid": os.getpid(), "fields": fields}, default=_simple) + "\n"
        os.write(self._writing, line.encode())

    def listen(self, *types: type[telemetry.Event]) -> telemetry.Subscription:
        """Note every event of those types (of all where none is given), without its server."""
        return telemetry.subscribe(self._told, *types)

    def _told(self, event: telemetry.Event) -> None:
        fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
        del fields["server"]
        self.note(type(event).__name__, **fields)

    def next(self, kind: str) -> Entry:
        """The first line of that kind which was not taken yet; waits for it."""
        deadline = time.monotonic() + DEADLINE
        while True:
            self._read(0)
            for entry in self._untaken:
                if entry.kind == kind:
                    self._untaken.remove(entry)
                    return entry
            assert time.monotonic() < deadline, f"no {kind}, only {self._log}"
            self._read(deadline - time.monotonic())

    def all(self, *kinds: str) -> list[Entry]:
        """Every line of those kinds so far, taken or not; of all kinds where none is given."""
        self._read(0)
        return [entry for entry in self._log if not kinds or entry.kind in kinds]

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._reading)
        os.close(self._writing)

    def _read(self, seconds: float) -> None:
        while readable(self._reading, seconds):
            *lines, self._rest = (self._rest + os.read(self._reading, PIECE)).split(b"\n")
            entries = [Entry(**json.loads(line)) for line in lines]
            self._log += entries
            self._untaken += entries
            seconds = 0


def _simple(value: object) -> str:
    return type(value).__name__ if isinstance(value, BaseException) else repr(value)


def readable(descriptor: int, seconds: float) -> bool:
    """Wait until there is something to read, at most that long."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


class Gate:
    """Closed at first; once it is opened, everybody who waits or comes later passes, in every process.

    Args:
        patience: seconds after which waiting fails.
    """

    def __init__(self, patience: float = DEADLINE) -> None:
        self._patience = patience
        self._reading, self._writing = os.pipe()

    def open(self) -> None:
        """Let everybody pass. The byte is never read, so that the pipe stays readable."""
        os.write(self._writing, b".")

    def wait(self) -> None:
        """Block until the gate is open."""
        own = os.dup(self._reading)  # a thread left behind may outlive the test
        try:
            wait = hub.wait_readable if hub.running_hub() else readable  # a greenlet must not hold up its thread
            assert wait(own, self._patience), "nobody opened the gate"
        finally:
            os.close(own)

    async def opened(self) -> None:
        """The same in an event loop, which watches a descriptor once only: each has its own."""
        own = os.dup(self._reading)
        loop = asyncio.get_running_loop()
        passed = asyncio.Event()
        loop.add_reader(own, passed.set)
        try:
            await asyncio.wait_for(passed.wait(), self._patience)
        finally:
            loop.remove_reader(own)
            os.close(own)

    def close(self) -> None:
        """Let everybody pass, and give the pipe back."""
        self.open()
        os.close(self._writing)
        os.close(self._reading)


def by_process(entries: list[Entry]) -> Iterator[tuple[bool, list[Entry]]]:
    """The entries of each process: whether it is this one, and what it noted."""
    for pid in dict.fromkeys(entry.pid for entry in entries):
        yield pid == os.getpid(), [entry for entry in entries if entry.pid == pid]


def name_of(handler: Any) -> bytes:
    """Who a handler talks to, as it sees it: the client, the proxy's own host, and what the proxy calls the client."""
    told = handler.proxy and (handler.proxy.address and handler.proxy.address[0], handler.proxy.header.authority)
    return f"{handler.client_address!r} {told!r} ".encode()
