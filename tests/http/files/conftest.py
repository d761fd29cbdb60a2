"""A folder on a server, and clients of it that take every byte as it comes."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from portside.http.files.handler import SimpleHTTPRequestHandler
from portside.http.files.options import FileOptions
from portside.http.servers import HTTPServer, ThreadingHTTPServer
from tests.conftest import DEADLINE
from tests.http.kit import running

PAST = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT: no tag of a file so old is weak


class QuietHandler(SimpleHTTPRequestHandler):
    """Keeps connections open, and its log to itself."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Answer(NamedTuple):
    """What a client got."""

    status: int
    head: Any
    body: bytes


class Site(NamedTuple):
    """A folder that is served, and its address."""

    folder: Path
    port: int

    def ask(self, target: str, method: str = "GET", body: Any = None, **fields: str) -> Answer:
        """One request on a connection of its own; `if_range="x"` sends If-Range."""
        with connected(self.port) as client:
            return ask(client, target, method, body, **fields)

    def put(self, name: str, content: bytes = b"", *, modified: float = PAST) -> Path:
        """Write a file that is old enough to have a strong tag."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (modified, modified))
        return path


Serve = Callable[..., Site]


@contextmanager
def connected(port: int) -> Iterator[HTTPConnection]:
    client = HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        yield client
    finally:
        client.close()


def ask(client: HTTPConnection, target: str, method: str = "GET", body: Any = None, **fields: str) -> Answer:
    """One request on a connection that may stay open."""
    client.putrequest(method, target, skip_accept_encoding=True)
    for name, value in fields.items():
        client.putheader(name.replace("_", "-"), value)
    if body is not None:
        client.putheader("Content-Length", str(len(body)))
    client.endheaders(body)
    response: HTTPResponse = client.getresponse()
    return Answer(response.status, response.headers, response.read())


@contextmanager
def served(
    folder: Path,
    handler: type[SimpleHTTPRequestHandler] = QuietHandler,
    server_class: type[HTTPServer] = ThreadingHTTPServer,
    **options: Any,
) -> Iterator[Site]:
    """Serve a folder; `options` are those of `FileOptions`."""
    handler_args = {"directory": folder, "file_options": FileOptions(**options)}
    with running(server_class(("127.0.0.1", 0), handler, handler_args=handler_args)) as server:
        yield Site(folder, server.server_port)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serve a folder of the test's until it is over."""
    folder = tmp_path / "site"
    folder.mkdir()
    with ExitStack() as stack:

        def start(handler: type[SimpleHTTPRequestHandler] = QuietHandler, **options: Any) -> Site:
            return stack.enter_context(served(folder, handler, **options))

        yield start


@pytest.fixture
def site(serve: Serve) -> Site:
    """A folder that is served as it is by default."""
    return serve()
