"""HTTP in greenlets: what is the green engine's own. `conftest.ON_BOTH_ENGINES` runs whole modules on it."""

import http.client
import os
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

import portside
from portside.http.cgi.handler import CGIHTTPRequestHandler
from portside.http.cgi.options import CGIOptions
from portside.http.files.handler import SimpleHTTPRequestHandler
from portside.http.server import GreenHTTPServer, GreenHTTPSServer
from portside.http.wsgi.handler import wsgi_handler
from tests.conftest import DEADLINE, Connect
from tests.http.conftest import Dial, Serve
from tests.http.kit import Client, get, post, trusting
from tests.http.test_handler import Hello

pytestmark = pytest.mark.usefixtures("no_leaks")

LARGE = 3 * 1024 * 1024 + 7  # more than several pieces of any kind


class Files(SimpleHTTPRequestHandler):
    """Serves files in silence."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Scripts(Files, CGIHTTPRequestHandler):
    """Runs scripts in silence."""

    cgi_options = CGIOptions(user=None, silence=DEADLINE, seconds=DEADLINE, grace=0.1)


@pytest.fixture
def large(tmp_path: Path) -> bytes:
    """What `large.bin` in the folder holds."""
    data = os.urandom(LARGE)
    (tmp_path / "large.bin").write_bytes(data)
    return data


def test_large_file(tmp_path: Path, large: bytes, serve: Serve, dial: Dial) -> None:
    client = dial(serve(Files, GreenHTTPServer, handler_args={"directory": str(tmp_path)}))
    client.send(get("/large.bin"), get("/large.bin", fields="Range: bytes=-100000\r\n"))
    assert client.response().body == large
    assert client.response().body == large[-100_000:]


def test_large_file_over_tls(
    tmp_path: Path, large: bytes, serve: Serve, connect: Connect, certificate: dict[str, Any]
) -> None:
    server = serve(Files, GreenHTTPSServer, **certificate, handler_args={"directory": str(tmp_path)})
    client = shake_hands(certificate, connect, server)
    client.send(get("/large.bin"))
    assert client.response().body == large
    client.close()


def test_large_bodies_both_ways(serve: Serve, dial: Dial) -> None:
    client = dial(serve(Hello, GreenHTTPServer))
    client.send(post(b"x" * LARGE), get("/a"))
    assert len(client.response().body) > LARGE
    assert client.response().body == b"hello /a"


def test_pipelined_requests_are_answered_in_order(serve: Serve, dial: Dial) -> None:
    client = dial(serve(Hello, GreenHTTPServer))
    client.send(b"".join(get(f"/{number // 3}") for number in range(300)))
    answers = [client.response().body for _ in range(300)]
    assert answers == [b"hello /%d" % (number // 3) for number in range(300)]


def test_silent_clients_hold_nobody_up(serve: Serve, connect: Connect, certificate: dict[str, Any]) -> None:
    server = serve(Hello, GreenHTTPSServer, **certificate)
    silent = [connect(server.server_address) for _ in range(5)]
    client = shake_hands(certificate, connect, server)
    client.send(get("/a"), post(b"x" * 300_000), get("/b", fields="Connection: close\r\n"))
    assert [len(client.response().body) for _ in range(3)] == [8, 300_004, 8]
    assert client.rest() == b""
    client.close()
    for sock in silent:
        sock.close()


def test_client_without_a_handshake_is_let_go(serve: Serve, connect: Connect, certificate: dict[str, Any]) -> None:
    hurried = type("Hurried", (GreenHTTPSServer,), {"handshake_timeout": 0.1})
    client = connect(serve(Hello, hurried, **certificate).server_address)
    assert client.recv(100) == b""


def test_scripts_run_side_by_side(tmp_path: Path, serve: Serve, dial: Dial) -> None:
    """The first one waits for what its client sends after the second has been answered."""
    script(tmp_path, "waits", "read line", "echo Content-Type: text/plain; echo; echo got $line")
    script(tmp_path, "quick", "echo Content-Type: text/plain; echo; echo quick")
    server = serve(Scripts, GreenHTTPServer, handler_args={"directory": str(tmp_path)})
    first, second = dial(server), dial(server)
    first.send(post(b"late\n", path="/cgi-bin/waits")[:-4])
    second.send(get("/cgi-bin/quick"))
    assert second.response().body == b"quick\n"
    first.send(b"ate\n")
    assert first.response().body == b"got late\n"


def test_script_that_ignores_its_end_holds_nobody_up(tmp_path: Path, serve: Serve, dial: Dial) -> None:
    script(tmp_path, "stubborn", "trap '' TERM", "while :; do :; done")
    server = serve(
        type("Hurried", (Scripts,), {"cgi_options": CGIOptions(user=None, silence=0.2, grace=0.2)}),
        GreenHTTPServer,
        handler_args={"directory": str(tmp_path)},
    )
    client = dial(server)
    client.send(get("/cgi-bin/stubborn"))
    assert client.response().status == 504


def test_wsgi() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["REQUEST_METHOD"].encode(), b" ", body]

    with portside.start(wsgi_handler(application), 0, engine="green") as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.endpoint.port, timeout=DEADLINE)
        for body in (b"", b"abc", b"x" * 200_000):
            connection.request("POST", "/", body)
            assert connection.getresponse().read() == b"POST " + body
        connection.close()


def test_wsgi_file_goes_through_the_kernel(tmp_path: Path, large: bytes) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return environ["wsgi.file_wrapper"]((tmp_path / "large.bin").open("rb"))

    with portside.start(wsgi_handler(application), 0, engine="green") as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.endpoint.port, timeout=DEADLINE)
        connection.request("GET", "/")
        assert connection.getresponse().read() == large
        connection.close()


def test_clients_wait_in_greenlets(serve: Serve, dial: Dial) -> None:
    seen: set[int] = set()

    class Tells(Hello):
        def do_GET(self) -> None:
            seen.add(threading.get_ident())
            super().do_GET()

    server = serve(Tells, GreenHTTPServer)
    clients = [dial(server) for _ in range(50)]
    for _ in range(3):
        for client in clients:
            client.send(get("/a"))
        assert [client.response().body for client in clients] == [b"hello /a"] * 50
    assert len(seen) == 1


def script(folder: Path, name: str, *lines: str) -> None:
    path = folder / "cgi-bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)


def shake_hands(certificate: dict[str, Any], connect: Connect, server: Any) -> Client:
    context: ssl.SSLContext = trusting(certificate)
    return Client(context.wrap_socket(connect(server.server_address), server_hostname="localhost"))
