"""`portside ctl`, and `portside top` on a terminal and without one, each as a process beside a service that runs."""

import contextlib
import json
import os
import pty
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portside.cli import main
from portside.service.running import Running
from tests.admin.kit import ask, connections, started, talk
from tests.conftest import wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")

SECONDS = 40.0
PORTSIDE = [sys.executable, "-W", "error", "-m", "portside"]


def admin_of(running: Running) -> str:
    assert running.admin is not None
    return str(running.admin.endpoint)


def ctl(running: Running, *words: str) -> int:
    """The command in this process; returns its exit code."""
    return main(["ctl", admin_of(running), *words])


# ctl


def test_what_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with started() as running, talk(running.endpoint):
        for word, part in (("snapshot", "processes"), ("stacks", "processes"), ("health", "ready")):
            assert ctl(running, word) == 0
            assert part in json.loads(capsys.readouterr().out)
        assert ctl(running, "metrics") == 0
        assert "\nportside_connections_open{" in capsys.readouterr().out


def test_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with started() as running, talk(running.endpoint) as client:
        assert ctl(running, "pause") == 0
        assert json.loads(capsys.readouterr().out)["replies"][0]["state"] == "paused"
        assert ctl(running, "health") == 1
        assert capsys.readouterr().err == "portside: not every endpoint accepts clients\n"
        assert ctl(running, "resume") == 0
        assert ctl(running, "close", connections(running)[0]["id"]) == 0
        assert client.socket.recv(1) == b""
        assert ctl(running, "drain", "--seconds", "5") == 0


def test_what_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with started() as running:
        assert ctl(running, "close", "nobody") == 1
        assert capsys.readouterr().err == "portside: no connection has the id 'nobody' any more\n"
        assert ctl(running, "ban", "somebody", "--seconds", "5") == 1
        assert "'somebody' is no host" in capsys.readouterr().err


def test_a_unix_socket(tmp_path: Path) -> None:
    with started(admin=f"unix:{tmp_path}/admin.sock") as running:
        assert ctl(running, "health") == 0


@pytest.mark.parametrize(
    "words", [[], ["explode"], ["close"], ["ban", "h", "--seconds", "0"], ["snapshot", "--limit=x"]]
)
def test_wrong_use(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["ctl", "9100", *words])
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_nobody_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for command in (["ctl", str(port), "pause"], ["top", f"unix:{tmp_path}/none"]):
        assert main(command) == 3
        assert capsys.readouterr().err.startswith("portside: nobody answers at ")


@pytest.mark.parametrize("said", [b"hello\r\n", b"HTTP/1.0 200 OK\r\n\r\nhello", b"HTTP/1.0 200 OK\r\n\r\n[]", b""])
def test_somebody_else_there(said: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(65_536)
                client.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        assert main(["ctl", str(listener.getsockname()[1]), "snapshot"]) == 3
        thread.join()
    assert len(capsys.readouterr().err.splitlines()) == 1


# top


def test_without_a_terminal_it_prints_once() -> None:
    with started("green") as running, talk(running.endpoint) as client:
        done = subprocess.run(
            [*PORTSIDE, "top", admin_of(running)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        first, *_, last = done.stdout.splitlines()
        assert first.startswith("serving · 1 process, up ")
        assert last.split()[0] == f"127.0.0.1:{client.socket.getsockname()[1]}"
        assert "6 B" in last


class Terminal:
    """A process on a terminal of its own, what it has drawn so far, and keys for it."""

    def __init__(self, *words: str) -> None:
        self._master, slave = pty.openpty()
        os.set_blocking(self._master, False)
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "150", "LINES": "40"}
        self._process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, env=environment)
        os.close(slave)
        self._drawn = ""

    def shows(self, pattern: str) -> bool:
        """Wait until something is drawn, from now on."""
        return wait_until(lambda: self._find(pattern), SECONDS)

    def _find(self, pattern: str) -> bool:
        with contextlib.suppress(OSError):  # nothing new, or the process has ended
            self._drawn += os.read(self._master, 1 << 20).decode(errors="replace")
        # Cursor movements and colours stand between what is drawn.
        found = re.search(pattern, re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", self._drawn), re.DOTALL)
        if found:
            self._drawn = ""
        return bool(found)

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def ended(self) -> int | None:
        wait_until(lambda: self._find("(?!)") or self._process.poll() is not None, SECONDS)
        return self._process.poll()

    def close(self) -> None:
        self._process.kill()
        self._process.wait(SECONDS)
        os.close(self._master)


@pytest.fixture
def terminals() -> Iterator[Any]:
    with contextlib.ExitStack() as stack:

        def start(running: Running) -> Terminal:
            made = Terminal(*PORTSIDE, "top", admin_of(running), "--interval", "0.2")
            stack.callback(made.close)
            return made

        yield start


def test_a_live_view_and_its_keys(terminals: Any) -> None:
    with started("green") as running, talk(running.endpoint) as first, talk(running.endpoint) as second:
        port = second.socket.getsockname()[1]
        terminal = terminals(running)
        assert terminal.shows(rf"serving · 1 process.*127\.0\.0\.1:{port}.*kit\.py:\d+ handle.*q quit")
        second.send(b"x" * 1000)
        second.receive()
        assert terminal.shows("1007 B")
        terminal.press("p")
        assert terminal.shows("paused · 1 process")
        assert ask(running, "/readyz").status == 503
        terminal.press("r")
        assert terminal.shows("serving · 1 process")
        terminal.press("\x1b[Bc")
        assert second.socket.recv(1) == b""
        first.send(b"still here")
        assert first.receive() == b"STILL HERE"
        terminal.press("b")
        assert terminal.shows(r"ban 127\.0\.0\.1 for 10 minutes\? \(y/n\)")
        terminal.press("y")
        assert first.socket.recv(1) == b""
        terminal.press("d")
        assert terminal.shows(r"end the service.*\(y/n\)")
        terminal.press("n")
        assert terminal.shows("left as it is")
        terminal.press("q")
        assert terminal.ended() == 0
        assert ask(running, "/readyz").status == 200


def test_a_service_that_ends_is_told(terminals: Any) -> None:
    running = started()
    with running:
        terminal = terminals(running)
        assert terminal.shows("serving")
        terminal.press("d")
        assert terminal.shows("y/n")
        terminal.press("y")
        assert terminal.shows("draining")
    assert terminal.shows("nobody answers")
    terminal.press("q")
    assert terminal.ended() == 0
