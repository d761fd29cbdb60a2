"""The command line's workers: `portside serve`, `wsgi`, `http` and the rest with `--workers`."""

import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from portside import Endpoint
from tests.conftest import wait_until
from tests.workers.kit import PATIENCE, PYTHON, converse

pytestmark = pytest.mark.usefixtures("no_leaks")

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""


@contextmanager
def command(folder: Path, *arguments: str) -> Iterator[tuple["subprocess.Popen[bytes]", Endpoint]]:
    with subprocess.Popen([*PYTHON, "-m", "portside", *arguments], cwd=folder, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline().decode()
            found = re.fullmatch(r"serving \S+ at (\S+) \((\w+), 2 workers\)\n", said)
            assert found, said
            yield process, Endpoint.parse(found[1])
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def got(endpoint: Endpoint, path: str = "/") -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}{path}", timeout=PATIENCE) as answer:
        body: bytes = answer.read()
    return body


def test_serve(folder: Path) -> None:
    with command(folder, "serve", "talk:Talk", "0", "--workers", "2", "--engine", "green") as (_, endpoint):
        assert converse(endpoint)


def test_echo(folder: Path) -> None:
    options = ["--workers", "2", "--balance", "reuseport", "--max-connections-per-worker", "9", "--max-memory", "1G"]
    with command(folder, "echo", "0", *options) as (_, endpoint), endpoint.connect(PATIENCE) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a start as root")
def test_http_without_the_rights_of_root(open_folder: Path) -> None:
    (open_folder / "page.txt").write_text("hello", encoding="utf-8")
    with command(open_folder, "http", "0", "--workers", "2", "--user", "nobody") as (process, endpoint):
        assert got(endpoint, "/page.txt") == b"hello"
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        assert re.search(r"^Uid:\s65534\s65534\s65534\s65534$", status, re.MULTILINE)
        assert re.search(r"^Groups:\s65534 $", status, re.MULTILINE)


def test_wsgi_with_an_access_log(folder: Path) -> None:
    (folder / "shop.py").write_text(APP, encoding="utf-8")
    log = folder / "access.log"
    with command(folder, "wsgi", "shop:app", "0", "--workers", "2", "--access-log", str(log)) as (_, endpoint):
        assert got(endpoint) == b"hello"
        assert wait_until(lambda: "GET / HTTP/1.1" in log.read_text(encoding="utf-8"), PATIENCE)


def ended(folder: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [*PYTHON, "-m", "portside", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("serve nothing:Talk 0 --workers 1", 3, "there is no module 'nothing'"),
        ("serve talk:Nobody 0 --workers 1", 3, "has no 'Nobody'"),
        ("wsgi talk:VERSION 0 --workers 1", 3, "'one'"),
        ("serve talk:Talk 0 --balance shared", 2, "--balance: this is for workers: give --workers, too"),
        ("serve talk:Talk 0 --user nobody-at-all", 2, "user='nobody-at-all' is nobody"),
        ("serve talk:Talk systemd:", 2, "is not among the sockets that systemd has passed"),
        ("serve talk:Talk 0 --workers 0", 2, "accepted is a whole number from 1 on"),
        ("serve talk:Talk 0 --max-memory 5T", 2, "accepted is a number of bytes, as 536870912, 512M or 2G"),
    ],
)
def test_what_cannot_be(arguments: str, code: int, said: str, folder: Path) -> None:
    found, complaint = ended(folder, *arguments.split())
    assert (found, said in complaint) == (code, True), complaint
    assert "Traceback" not in complaint
