"""The failings of the standard library's HTTP servers, each shown on its class, and gone from ours.

The numbers are the project's own list of failings: docs/differences.md tells what each is about.
"""

import contextlib
import gzip
import http.server as stdlib
import inspect
import os
import socket
import ssl
import sys
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from portside.http import server as ours
from portside.http.cgi.options import CGIOptions
from portside.http.files.options import FileOptions
from tests.conftest import DEADLINE
from tests.http import conftest as http_fixtures
from tests.http.kit import trusting
from tests.pains.serving import LOOPBACK, client_of, read_all, serving

pytestmark = pytest.mark.usefixtures("no_leaks")

certificate = http_fixtures.certificate

FACES: dict[str, Any] = {"http.server": stdlib, "portside.http.server": ours}
STDLIB, OURS = FACES
A_WHILE = 0.3  # seconds in which something does not happen
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def both(failing: Any, gone: Any) -> pytest.MarkDecorator:
    """The same experiment on both faces: what is seen on the standard library's, and on ours."""
    rows = [pytest.param(STDLIB, failing, id="stdlib"), pytest.param(OURS, gone, id="ours")]
    return pytest.mark.parametrize(("name", "seen"), rows)


@contextlib.contextmanager
def served(name: str, kind: str, **members: Any) -> Iterator[Any]:
    """A server of either face, with a handler that is made of its class and these members."""
    face = FACES[name]
    quiet = {"protocol_version": "HTTP/1.1", "log_message": lambda *_: None}
    handler = type(kind, (getattr(face, kind),), quiet | members)
    with serving(face.ThreadingHTTPServer(LOOPBACK, handler), 0.01) as server:
        yield server


@contextlib.contextmanager
def folder(name: str, path: Path, kind: str = "SimpleHTTPRequestHandler", **members: Any) -> Iterator[Any]:
    """A folder that is served by either face."""
    init = getattr(FACES[name], kind).__init__

    def at_path(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, directory=str(path), **kwargs)

    with served(name, kind, __init__=at_path, **members) as server:
        yield server


def ask(server: Any, method: str, target: str, body: bytes | None = None, **fields: str) -> tuple[HTTPResponse, bytes]:
    """One request, on a connection of its own, and its answer to the end."""
    client = HTTPConnection("127.0.0.1", server.server_address[1], timeout=DEADLINE)
    try:
        client.request(method, target, body, {key.replace("_", "-"): value for key, value in fields.items()})
        response = client.getresponse()
        return response, response.read()
    finally:
        client.close()


def sent(server: Any, *pieces: bytes) -> bytes:
    """What a client reads until the server closes, which sends these bytes and waits for nothing."""
    with client_of(server) as client:
        for piece in pieces:
            client.sendall(piece)
        return read_all(client)


# 6: what is one request to the client is one to the server


def ignores_the_body(handler: Any) -> None:
    """As handlers do that refuse a request at its first look."""


def reads_the_length(handler: Any) -> None:
    """As every handler does."""
    handler.rfile.read(int(handler.headers.get("Content-Length", 0)))


@pytest.mark.parametrize(
    ("look", "head", "before"),
    [
        (ignores_the_body, b"Content-Length: %d\r\n" % len(SMUGGLED), b""),
        (reads_the_length, b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(SMUGGLED), b""),
        (reads_the_length, b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"%x\r\n" % len(SMUGGLED)),
    ],
    ids=["unread body", "two lengths", "both lengths"],
)
@both(True, False)
def test_06_a_request_in_a_body(name: str, seen: bool, look: Any, head: bytes, before: bytes) -> None:
    asked: list[str] = []

    def answer(self: Any) -> None:
        asked.append(self.path)
        look(self)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    with served(name, "BaseHTTPRequestHandler", do_POST=answer, do_GET=answer) as server, client_of(server) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n" + before + SMUGGLED + b"\r\n0\r\n\r\n")
        client.shutdown(socket.SHUT_WR)  # the server closes when it has served what it takes for requests
        read_all(client)
    assert ("/smuggled" in asked) is seen


# 12 to 15: files


@both(False, True)
def test_07_a_silent_client_beside_a_handshake(name: str, seen: bool, certificate: dict[str, Any]) -> None:
    """The recipe of every tutorial shakes hands while it accepts."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate["certfile"], certificate["keyfile"])
    members = {"do_GET": lambda self: self.send_error(204)}
    handler = type("Quiet", (FACES[name].BaseHTTPRequestHandler,), {"log_message": lambda *_: None, **members})
    server = FACES[name].ThreadingHTTPServer(LOOPBACK, handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server, 0.01), client_of(server) as silent, client_of(server) as talks:
        talks.settimeout(DEADLINE if seen else A_WHILE)
        stalls = contextlib.nullcontext() if seen else pytest.raises(TimeoutError)
        with stalls, trusting(certificate).wrap_socket(talks, server_hostname="localhost") as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.0 204"
        silent.close()  # or the standard library's server never ends


@both((200, b"content"), (206, b"ont"))
def test_12_a_range(name: str, seen: tuple[int, bytes], tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"content")
    with folder(name, tmp_path) as server:
        response, body = ask(server, "GET", "/a.bin", Range="bytes=1-3")
    assert (response.status, body) == seen


@both((501, []), (201, ["a.bin"]))
def test_13_an_upload(name: str, seen: tuple[int, list[str]], tmp_path: Path) -> None:
    with folder(name, tmp_path, file_options=FileOptions(uploads=True)) as server:
        response, _ = ask(server, "PUT", "/a.bin", b"content")
    assert (response.status, [path.name for path in tmp_path.iterdir()]) == seen


@both((None, False), ("gzip", True))
def test_14_compression(name: str, seen: tuple[str | None, bool], tmp_path: Path) -> None:
    text = b"text " * 1000
    (tmp_path / "a.txt").write_bytes(text)
    with folder(name, tmp_path) as server:
        response, body = ask(server, "GET", "/a.txt", Accept_Encoding="gzip")
    assert (response.headers["Content-Encoding"], len(body) < len(text)) == seen
    assert (gzip.decompress(body) if seen[1] else body) == text


@both((501, None), (204, "https://app.example"))
def test_15_another_origin(name: str, seen: tuple[int, str | None], tmp_path: Path) -> None:
    with folder(name, tmp_path, file_options=FileOptions(cors_origins=("https://app.example",))) as server:
        response, _ = ask(server, "OPTIONS", "/", Origin="https://app.example", Access_Control_Request_Method="GET")
    assert (response.status, response.headers["Access-Control-Allow-Origin"]) == seen


@both(sys.version_info >= (3, 15), True)
def test_15_headers_of_ones_own(name: str, seen: bool) -> None:
    arguments = inspect.signature(FACES[name].SimpleHTTPRequestHandler).parameters
    assert ("extra_response_headers" in arguments) is seen


# 20: scripts

SCRIPTS = {"refuses": "echo 'Status: 404 Not Found'; echo", "fails": "exit 1"}


@pytest.fixture
def environment() -> Iterator[None]:
    """The standard library's CGI handler copies `os.environ` in a way that sets what it changes for this process, too.

    Whatever is started later would find it: the C library's variables are those of the interpreter again afterwards.
    """
    yield
    for name in CGI_VARIABLES - os.environ.keys():
        os.unsetenv(name)


# What that handler sets (http.server, run_cgi).
CGI_VARIABLES = frozenset(
    [
        "SERVER_SOFTWARE",
        "SERVER_NAME",
        "GATEWAY_INTERFACE",
        "SERVER_PROTOCOL",
        "SERVER_PORT",
        "REQUEST_METHOD",
        "PATH_INFO",
        "PATH_TRANSLATED",
        "SCRIPT_NAME",
        "QUERY_STRING",
        "REMOTE_ADDR",
        "REMOTE_HOST",
        "AUTH_TYPE",
        "REMOTE_USER",
        "CONTENT_TYPE",
        "CONTENT_LENGTH",
        "REFERER",
        "HTTP_ACCEPT",
        "HTTP_USER_AGENT",
        "HTTP_COOKIE",
    ]
)


@pytest.mark.usefixtures("environment")
@pytest.mark.filterwarnings("ignore:.*CGIHTTPRequestHandler:DeprecationWarning")
@pytest.mark.parametrize(("script", "status"), [("refuses", 404), ("fails", 502)])
@both(False, True)
def test_20_the_status_of_a_script(name: str, seen: bool, script: str, status: int, tmp_path: Path) -> None:
    if not hasattr(FACES[name], "CGIHTTPRequestHandler"):
        pytest.skip("this Python's http.server runs no scripts any more")
    path = tmp_path / "cgi-bin" / "script"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{SCRIPTS[script]}\n", encoding="ascii")
    path.chmod(0o755)
    members = {"have_fork": False, "cgi_options": CGIOptions(user=None), "protocol_version": "HTTP/1.0"}
    with folder(name, tmp_path, "CGIHTTPRequestHandler", **members) as server:
        response, _ = ask(server, "GET", "/cgi-bin/script")
    assert response.status == (status if seen else 200)


# 21, 22: heads


@both((200, "stolen=1"), (500, None))
def test_21_a_line_break_in_a_value(name: str, seen: tuple[int, str | None]) -> None:
    def answer(self: Any) -> None:
        self.send_response(200)
        self.send_header("X-Name", unquote(self.path.partition("?")[2]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    with served(name, "BaseHTTPRequestHandler", do_GET=answer) as server:
        server.handle_error = lambda *_: None
        response, _ = ask(server, "GET", "/?a%0d%0aSet-Cookie:%20stolen=1")
    assert (response.status, response.headers["Set-Cookie"]) == seen


@both(False, True)
def test_22_the_end_of_a_response_without_a_length(name: str, seen: bool) -> None:
    """Where neither the head tells the end nor the connection closes, a client waits for ever for more."""

    def answer(self: Any) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"content")

    request = b"GET / HTTP/1.1\r\nHost: x\r\n"
    with served(name, "BaseHTTPRequestHandler", do_GET=answer) as server:
        answers = sent(server, request + b"\r\n", request + b"Connection: close\r\n\r\n")
    first = answers[: answers.index(b"content")].lower()
    assert answers.count(b"HTTP/1.1 200 OK") == 2  # the connection stays open after the first
    assert (b"content-length:" in first or b"transfer-encoding: chunked" in first) is seen


# 24, 25: what is not for clients


@both((200, b"secret"), (404, None))
def test_24_a_link_that_leads_out(name: str, seen: tuple[int, bytes | None], tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "link").symlink_to("../secret")
    with folder(name, tmp_path / "site") as server:
        response, body = ask(server, "GET", "/link")
    assert response.status == seen[0]
    assert body == seen[1] or b"secret" not in body


@pytest.mark.parametrize(
    ("line", "fields", "refused"),
    [(b"GET /" + b"x" * 60_000, b"", b" 414 "), (b"GET /", (b"X-Long: " + b"x" * 15_000 + b"\r\n") * 90, b" 431 ")],
    ids=["line", "fields"],
)
@both(False, True)
def test_25_a_head_of_great_length(name: str, seen: bool, line: bytes, fields: bytes, refused: bytes) -> None:
    """The standard library takes a line of 64 KiB, and a hundred of them."""

    def answer(self: Any) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    with served(name, "BaseHTTPRequestHandler", do_GET=answer) as server:
        first = first_line(server, line + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + fields + b"\r\n")
    assert (refused if seen else b" 200 ") in first


def first_line(server: Any, request: bytes) -> bytes:
    """The first line of an answer that may come before the request was sent."""
    with client_of(server) as client, client.makefile("rb") as stream:
        with contextlib.suppress(OSError):  # refused while it is sent
            client.sendall(request)
        return stream.readline()
