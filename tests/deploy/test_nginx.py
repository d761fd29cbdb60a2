"""nginx in front of two servers, with the file of deploy/: each sees the client's own address, and one may die."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from portside import Endpoint
from tests.conftest import DEADLINE, wait_until
from tests.crowds import PATIENCE
from tests.deploy.test_haproxy import NAMED, Load, server
from tests.proxies import answers, free_port, installed

FILE = Path(__file__).resolve().parent.parent.parent / "deploy" / "nginx" / "nginx.conf"
MODULES = [Path("/usr/lib/nginx/modules"), Path("/usr/share/nginx/modules")]
ELSEWHERE = "127.0.0.7"  # a client's address, which is not nginx' own


def stream_module() -> Path:
    """nginx' module for connections that are no HTTP; the test is skipped without it."""
    found = [folder / "ngx_stream_module.so" for folder in MODULES if (folder / "ngx_stream_module.so").exists()]
    if not found:
        pytest.skip("nginx has no stream module; on Debian: apt install libnginx-mod-stream")
    return found[0]


def written(folder: Path, port: int, *servers: Endpoint) -> list[str]:
    """The file of deploy/ with these addresses in it; returns how nginx is started with it."""
    program, text = installed("nginx"), FILE.read_text(encoding="utf-8")
    new = [f"server 127.0.0.1:{each.port}" for each in servers]
    for old, now in {
        "modules/ngx_stream_module.so": str(stream_module()),
        "listen 9000": f"listen 127.0.0.1:{port}",
        **dict(zip(["server 10.0.0.11:9000", "server 10.0.0.12:9000"], new, strict=False)),
    }.items():
        assert text.count(old) == 1
        text = text.replace(old, now)
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    places = f"pid {folder}/nginx.pid; error_log {folder}/error.log;"
    return [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", places]


def test_file_is_right(tmp_path: Path) -> None:
    command = [*written(tmp_path, free_port()), "-t"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert "syntax is ok" in done.stderr and "[warn]" not in done.stderr


@contextmanager
def balanced(folder: Path, one: Endpoint, two: Endpoint) -> Iterator[Endpoint]:
    """nginx in the foreground."""
    port = free_port()
    *command, places = written(folder, port, one, two)
    with subprocess.Popen([*command, f"{places} daemon off;"], stderr=subprocess.DEVNULL) as process:
        try:
            assert wait_until(lambda: answers(("127.0.0.1", port)), DEADLINE), (folder / "error.log").read_text()
            yield Endpoint.parse(f"tcp://127.0.0.1:{port}")
        finally:
            process.terminate()


@contextmanager
def two_machines(folder: Path) -> Iterator[tuple["subprocess.Popen[bytes]", Endpoint]]:
    """The first of two servers, and nginx in front of both."""
    stream_module()
    (folder / "named.py").write_text(NAMED, encoding="utf-8")
    with server(folder, "one") as (first, one), server(folder, "two") as (_, two), balanced(folder, one, two) as front:
        yield first, front


def test_clients_own_address_arrives(tmp_path: Path) -> None:
    with two_machines(tmp_path) as (_, front):
        assert front.port
        where = ("127.0.0.1", front.port)
        with socket.create_connection(where, timeout=DEADLINE, source_address=(ELSEWHERE, 0)) as client:
            client.sendall(b"hello\n")
            name, _, rest = client.recv(100).partition(b" ")
    assert (name in (b"one", b"two"), rest) == (True, f"{ELSEWHERE} hello\n".encode())


def test_machine_that_dies_is_left_out(tmp_path: Path) -> None:
    """Who comes after its death is served by the other one, at once."""
    with two_machines(tmp_path) as (first, front):
        first.kill()
        first.wait(PATIENCE)
        with Load(front) as load:
            load.until(b"two", 200)
        assert (load.failures, load.answered[b"one"]) == ([], 0)
