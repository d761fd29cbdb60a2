"""A service with workers in a process of its own, which tells of its events; and clients that check every answer."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from portside import Endpoint
from tests.crowds import Crowd

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 60.0  # seconds; only what hangs takes as long, on any machine
VERSION = "one"
UNCACHED = {"PYTHONDONTWRITEBYTECODE": "1"}  # a module that is changed within its second is read anew
# 3.12 and later do not raise what they have to say of a fork() beside threads, but they say it.
PYTHON = [sys.executable, "-W", "error", "-W", "always:This process:DeprecationWarning"]

# The handler greets with its process and its version, and answers each line.
MODULE = """
import os
import portside

VERSION = "one"

class Talk(portside.StreamRequestHandler):
    def handle(self):
        self.wfile.write(f"{os.getpid()} {VERSION}\\n".encode())
        for line in self.rfile:
            self.wfile.write(line.upper())

class AsyncTalk(portside.AsyncStreamRequestHandler):
    async def handle(self):
        self.writer.write(f"{os.getpid()} {VERSION}\\n".encode())
        async for line in self.reader:
            self.writer.write(line.upper())

class Datagrams(portside.DatagramRequestHandler):
    def handle(self):
        self.wfile.write(str(os.getpid()).encode())
"""

PROGRAM = """
import json, os, sys
import portside
from portside import telemetry
from portside.service.supervision import supervisor

def tell(event):
    fields = {name: value for name, value in vars(event).items() if name != "server"}
    where = [str(each) for each in event.server.endpoints]
    told = {"event": type(event).__name__, "by": os.getpid(), "where": where, **fields}
    os.write(1, (json.dumps(told) + "\\n").encode())

OF_SUPERVISORS = [
    telemetry.WorkerStarted, telemetry.WorkerReady, telemetry.WorkerFailed, telemetry.WorkerRestarted,
    telemetry.WorkerWorn, telemetry.WorkerExited, telemetry.ReloadStarted, telemetry.ReloadFinished,
    telemetry.ReloadFailed, telemetry.HandOverStarted, telemetry.HandOverFinished, telemetry.HandOverFailed,
]
supervisor._START_TIMES = float(os.environ.get("START_TIMES", supervisor._START_TIMES))
telemetry.subscribe(tell, *OF_SUPERVISORS)
wanted = json.loads(sys.argv[1])
handler, endpoints, workers = wanted.pop("handler"), wanted.pop("endpoints"), portside.Workers(**wanted.pop("workers"))
portside.serve(handler, *endpoints, workers=workers, **wanted)
os.write(1, b'{"event": "returned"}\\n')
"""

Event = dict[str, Any]


class Served:
    """The program above, and what it has told of so far."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.events: list[Event] = []
        self.complaints = b""
        self._news = threading.Condition()
        self._ended = False
        self.readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_complaints)]
        for each in self.readers:
            each.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.events.append(json.loads(line))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _read_complaints(self) -> None:
        assert self.process.stderr is not None
        self.complaints = self.process.stderr.read()

    def of(self, kind: str, **fields: Any) -> list[Event]:
        """The events of a kind, with these fields."""
        return [each for each in list(self.events) if each["event"] == kind and fields.items() <= each.items()]

    def wait(self, kind: str, count: int = 1, **fields: Any) -> list[Event]:
        """Wait until there have been so many events."""
        self._until(lambda: len(self.of(kind, **fields)) >= count, f"{count} times {kind} {fields}")
        return self.of(kind, **fields)

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        with self._news:
            self._news.wait_for(lambda: self._ended or condition(), PATIENCE)
            assert condition(), f"waited for {what}, and there was {self.events}"

    @property
    def endpoint(self) -> Endpoint:
        """The first endpoint, once a worker is ready."""
        return Endpoint.parse(self.wait("WorkerReady")[0]["where"][0])

    def workers(self) -> list[int]:
        """The process ids of the workers that were ready first."""
        return [each["pid"] for each in self.events if each["event"] == "WorkerReady"]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def outcome(self) -> tuple[int, bytes]:
        """The exit code, and what was complained of."""
        code = self.process.wait(PATIENCE)
        for each in self.readers:
            each.join(PATIENCE)
        return code, self.complaints


@contextmanager
def served(
    folder: Path, handler: str = "talk:Talk", *endpoints: str, env: dict[str, str] | None = None, **options: Any
) -> Iterator[Served]:
    """The program, in its own session, of which nothing outlives the block."""
    wanted = {"handler": handler, "endpoints": endpoints or ["tcp://127.0.0.1:0"], **options}
    with subprocess.Popen(
        [*PYTHON, "-c", PROGRAM, json.dumps(wanted)],
        cwd=folder,
        env=os.environ | UNCACHED | (env or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        running = Served(process)
        try:
            yield running
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            for each in running.readers:
                each.join(PATIENCE)


# Clients


def converse(endpoint: Endpoint, text: bytes = b"hello\n") -> list[str]:
    """One short conversation, checked; returns what the handler's greeting says: its process and its version."""
    with endpoint.connect(timeout=PATIENCE) as client, client.makefile("rb") as heard:
        greeting = heard.readline()
        assert greeting, "the connection was closed before a word was said"
        client.sendall(text)
        answer = heard.readline()
        assert answer == text.upper(), (greeting, answer)
        return greeting.decode().split()


class Talker:
    """One connection that stays."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.socket = endpoint.connect(timeout=PATIENCE)
        self.heard = self.socket.makefile("rb")
        self.pid, self.version = self.heard.readline().decode().split()

    def ask(self, text: bytes = b"hello\n") -> bytes:
        self.socket.sendall(text)
        return self.heard.readline()

    def close(self) -> None:
        self.heard.close()
        self.socket.close()


class Load(Crowd):
    """Clients that talk one after the other, several at a time, until the block's end.

    Attributes:
        greeted: how many conversations each process had.
        failures: what went wrong, each with the process that had greeted, where one had.
    """

    def __init__(self, endpoint: Endpoint, clients: int = 4) -> None:
        super().__init__(clients)
        self._endpoint = endpoint
        self._news = threading.Condition()
        self.greeted: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()
        self.failures: list[tuple[str, str]] = []

    def wait(self, count: int) -> None:
        """Until there were so many further conversations."""
        start = self.greeted.total()
        with self._news:
            assert self._news.wait_for(lambda: self.greeted.total() - start >= count, PATIENCE), self.failures

    def visit(self) -> None:
        pid, version = self._one()
        with self._news:
            self.greeted[pid] += 1
            self.versions[version] += 1
            self._news.notify_all()

    def _one(self) -> tuple[str, str]:
        pid, version = "", ""
        try:
            with self._endpoint.connect(timeout=PATIENCE) as client, client.makefile("rb") as heard:
                pid, version = heard.readline().decode().split()
                client.sendall(b"hello\n")
                answer = heard.readline()
                if answer != b"HELLO\n":
                    raise ConnectionError(f"the answer was {answer!r}")
                client.shutdown(socket.SHUT_WR)
        except (OSError, ValueError) as error:
            self.failures.append((pid, repr(error)))
        return pid, version
