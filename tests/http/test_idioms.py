"""What programs written for `http.server` do with it: their habits go on working with one import changed."""

import http.client
import http.server
import io
import socketserver
from pathlib import Path
from typing import Any

import pytest

import portside.http.server
import portside.socketserver
from tests.conftest import DEADLINE
from tests.pains.serving import LOOPBACK, serving

pytestmark = pytest.mark.usefixtures("no_leaks")

HTTP: dict[str, Any] = {"stdlib": http.server, "ours": portside.http.server}
SOCKETSERVER: dict[str, Any] = {"stdlib": socketserver, "ours": portside.socketserver}
OURS_AND_THEIRS = [("ours", "ours"), ("ours", "stdlib"), ("stdlib", "ours")]
QUIET = {"log_message": lambda *_: None}


def served(server: Any, path: str) -> tuple[int, bytes]:
    """What a client is answered, by a server that is there for it alone."""
    with serving(server, 0.01) as running:
        host, port = running.server_address[:2]
        client = http.client.HTTPConnection(host, port, timeout=DEADLINE)
        client.request("GET", path)
        response = client.getresponse()
        body = response.read()
        client.close()
    return response.status, body


@pytest.mark.parametrize(("below", "above"), OURS_AND_THEIRS)
@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer", "ForkingTCPServer"])
def test_handler_on_a_server_of_streams(kind: str, below: str, above: str, tmp_path: Path) -> None:
    """`socketserver.TCPServer(("", 8000), SimpleHTTPRequestHandler)` stands in the documentation of http.server."""
    (tmp_path / "a.txt").write_bytes(b"hello")
    base = HTTP[above].SimpleHTTPRequestHandler

    def at_folder(self: Any, *args: Any, **kwargs: Any) -> None:
        base.__init__(self, *args, directory=str(tmp_path), **kwargs)

    handler = type("Handler", (base,), {**QUIET, "__init__": at_folder})
    assert served(getattr(SOCKETSERVER[below], kind)(LOOPBACK, handler), "/a.txt") == (200, b"hello")


@pytest.mark.parametrize(("below", "above"), OURS_AND_THEIRS)
def test_server_with_a_mix_in(below: str, above: str) -> None:
    """`class Server(ThreadingMixIn, HTTPServer)` is older than ThreadingHTTPServer."""
    members = {"do_GET": lambda self: self.send_error(404, "nothing"), "error_message_format": "%(message)s"}
    handler = type("Handler", (HTTP[above].BaseHTTPRequestHandler,), {**QUIET, **members})
    bases = (SOCKETSERVER[below].ThreadingMixIn, HTTP[above].HTTPServer)
    assert served(type("Server", bases, {"daemon_threads": True})(LOOPBACK, handler), "/") == (404, b"nothing")


class Recorded:
    """What tests of programs pass for a connection: a request that is there, and room for the answer."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.answer = b""

    def makefile(self, mode: str, buffering: int) -> io.BytesIO:
        return io.BytesIO(self._request)

    def sendall(self, data: bytes) -> None:
        self.answer += data


@pytest.mark.parametrize("name", HTTP)
def test_handler_without_a_socket_and_a_server(name: str) -> None:
    def greet(self: Any) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    recorded = Recorded(b"GET / HTTP/1.0\r\n\r\n")
    handler: Any = type("Handler", (HTTP[name].BaseHTTPRequestHandler,), {**QUIET, "do_GET": greet})
    handler(recorded, ("127.0.0.1", 1), None)
    assert recorded.answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert recorded.answer.endswith(b"\r\n\r\nhello")
