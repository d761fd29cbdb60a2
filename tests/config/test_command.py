"""`portside run` and `portside check`, as processes."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from portside import Endpoint
from tests.conftest import DEADLINE, wait_until

PORTSIDE = [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-m", "portside"]
PATIENCE = 60.0  # seconds; only what hangs takes as long

TALK = """
import portside

class Talk(portside.StreamRequestHandler):
    def __init__(self, *given, word="hello", **named):
        self.word = word
        super().__init__(*given, **named)

    def handle(self):
        self.wfile.write(self.word.encode())

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A current directory with a handler, and a file that serves it."""
    (tmp_path / "talk.py").write_text(TALK, encoding="utf-8")
    write(tmp_path)
    return tmp_path


def write(folder: Path, text: str = "", handler: str = 'handler = "talk:Talk"\nendpoints = 0') -> None:
    (folder / "portside.toml").write_text(f"{handler}\n{text}\n", encoding="utf-8")


def ran(folder: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*PORTSIDE, *arguments],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


class Served:
    """A process that serves, and what it has said on standard error."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self._log = log

    def said(self, pattern: str, count: int = 1) -> list[str]:
        """Wait until it has been said so often."""
        assert wait_until(lambda: len(self._found(pattern)) >= count, PATIENCE), self._log.read_text()
        return self._found(pattern)

    def _found(self, pattern: str) -> list[str]:
        return re.findall(pattern, self._log.read_text(encoding="utf-8"))

    def endpoints(self, count: int = 1) -> list[Endpoint]:
        return [*map(Endpoint.parse, self.said(r"serving \S+ at (\S+) ", count))]


@contextmanager
def served(folder: Path, *arguments: str, **variables: str) -> Iterator[Served]:
    """`portside run`, which SIGTERM ends well."""
    log = folder / "stderr.txt"
    with (
        open(log, "wb") as errors,
        subprocess.Popen(
            [*PORTSIDE, "run", *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | variables,
            stdin=subprocess.DEVNULL,
            stderr=errors,
        ) as process,
    ):
        try:
            yield Served(process, log)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0, log.read_text()
        finally:
            process.kill()


def heard(endpoint: Endpoint) -> bytes:
    with endpoint.connect(DEADLINE) as client:
        return b"".join(iter(lambda: client.recv(1000), b""))


# check


def test_check_says_what_a_start_would_do(folder: Path) -> None:
    write(folder, 'engine = "green"\nworkers = 2\nadmin = "unix:admin.sock"')
    done = ran(folder, "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "Talk: green, 2 workers, drained within 30 s",
        "  serves talk:Talk",
        "  at tcp://127.0.0.1:0 (127.0.0.1, port chosen by the system)",
        "  admin at unix:admin.sock?mode=600",
        "portside.toml is right",
    ]


def test_check_tells_all_that_is_wrong_and_where(folder: Path) -> None:
    write(folder, "drain = true\n[limits]\nper_hots = 5")
    done = ran(folder, "check", "portside.toml")
    assert (done.returncode, done.stdout) == (1, "")
    first, second, last = done.stderr.splitlines()
    assert first.startswith("portside.toml:3: drain = true is not accepted; accepted is ")
    assert second == "portside.toml:5: limits.per_hots is no option; did you mean per_host?"
    assert last == "portside: 2 mistakes"


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        ('handler = "absent:Talk"', "1: there is no module 'absent'"),
        ('handler = "talk:Absent"', "1: the module 'talk' "),
        ('handler = "broken:Talk"', "1: Talk cannot be loaded: ZeroDivisionError: division by zero"),
        ('handler = "talk:Talk"\nengine = "async"', "1: engine='async' needs `async def handle(self)`"),
        ('folder = "absent"', "1: folder = 'absent' is no folder"),
        ('wsgi = "talk:__name__"', "1: talk:__name__: "),
        ('folder = "."\naccess_log = "absent/x.log"', "access_log: 'absent/x.log' cannot be written"),
    ],
)
def test_check_looks_at_what_is_served(folder: Path, handler: str, said: str) -> None:
    (folder / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    write(folder, handler=f"{handler}\nendpoints = 0")
    done = ran(folder, "check")
    assert done.returncode == 1
    assert done.stderr.startswith((f"portside.toml:{said}", said))


def test_check_resolves_names(folder: Path) -> None:
    write(folder, handler='handler = "talk:Talk"\nendpoints = "tcp://no-such-host.invalid:1"')
    done = ran(folder, "check")
    assert (done.returncode, done.stderr.startswith("portside.toml:1: tcp://no-such-host.invalid:1")) == (1, True)


@pytest.mark.parametrize("arguments", [["--no-such-option"], ["absent.toml"]])
def test_wrong_use(folder: Path, arguments: list[str]) -> None:
    assert ran(folder, "check", *arguments).returncode == 2


def test_file_that_is_no_text(folder: Path) -> None:
    (folder / "portside.toml").write_bytes(b"\xff")
    done = ran(folder, "check")
    assert done.stderr == "portside: portside.toml is no TOML, which is UTF-8: byte 0 is not\n"


# run


def test_run_refuses_before_anything_is_bound(folder: Path) -> None:
    write(folder, "drain = -1", handler='handler = "talk:Talk"\nendpoints = "unix:x.sock"')
    done = ran(folder, "run", "portside.toml")
    assert done.returncode == 2
    assert done.stderr.splitlines()[1:] == ["portside: nothing was started: 1 mistake"]
    assert not (folder / "x.sock").exists()


def test_run_serves(folder: Path) -> None:
    with served(folder) as service:
        assert heard(*service.endpoints()) == b"hello"
        service.process.send_signal(signal.SIGHUP)
        service.said("SIGHUP does nothing without workers")


def test_last_word_is_the_command_lines(folder: Path) -> None:
    write(folder, '[handler_args]\nword = "file"')
    with served(folder, "--engine", "serial", PORTSIDE_ENGINE="forks", PORTSIDE_DRAIN="1s") as service:
        assert heard(*service.endpoints()) == b"file"
        service.said(r"\(serial\)")


def test_run_without_a_file(folder: Path) -> None:
    (folder / "portside.toml").unlink()
    with served(folder, "--endpoints", "0", PORTSIDE_HANDLER="talk:Talk", PORTSIDE_LOGGING="info") as service:
        assert heard(*service.endpoints()) == b"hello"


def test_run_several(folder: Path) -> None:
    pytest.importorskip("httptools")
    services = '[services.talk]\nhandler = "talk:Talk"\n[services.web]\nwsgi = "talk:app"\n'
    write(folder, handler='access_log = "web.log"\nendpoints = 0\n' + services + '[services.files]\nfolder = "."')
    with served(folder) as service:
        talk, web, files = service.endpoints(3)
        service.said("serving web at ")
        assert heard(talk) == b"hello"
        for each in (web, files):
            with each.connect(DEADLINE) as client:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert client.recv(100).split()[1] == b"200"
    assert (folder / "web.log").read_text(encoding="utf-8").count("GET /") == 2


def test_several_of_which_one_cannot_be_bound(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        write(folder, handler=f'handler = "talk:Talk"\n[services.a]\nendpoints = 0\n[services.b]\nendpoints = {port}')
        done = ran(folder, "run")
    assert (done.returncode, "in use" in done.stderr) == (1, True)


def test_environment_names_the_file(folder: Path) -> None:
    (folder / "portside.toml").rename(folder / "other.toml")
    done = ran(folder, "check", PORTSIDE_CONFIG="other.toml")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "other.toml is right")


# Reload


def test_reload_reads_the_file_anew(folder: Path) -> None:
    write(folder, "workers = 1\n[logging]\nlevel = 'info'\n[handler_args]\nword = 'old'")
    with served(folder) as service:
        [endpoint] = service.endpoints()
        assert heard(endpoint) == b"old"
        write(folder, "workers = 1\ndrian = 5")
        service.process.send_signal(signal.SIGHUP)
        service.said("portside.toml:4: drian is no option; did you mean drain?")
        write(folder, "workers = 2")
        service.process.send_signal(signal.SIGHUP)
        service.said("workers cannot change in a reload: send SIGUSR2")
        assert heard(endpoint) == b"old"
        write(folder, "workers = 1\n[handler_args]\nword = 'new'")
        service.process.send_signal(signal.SIGHUP)
        assert wait_until(lambda: heard(endpoint) == b"new", PATIENCE)
