"""A server for clients that people use: files, uploads, answers of other kinds; each test runs on all of SERVERS."""

import os
import shutil
import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from portside.http.files.options import FileOptions
from portside.http.servers import (
    GreenHTTPServer,
    GreenHTTPSServer,
    HTTPSServer,
    ThreadingHTTPServer,
    ThreadingHTTPSServer,
)
from portside.telemetry import CloseReason, ConnectionClosed, ConnectionOpened, HandlerFailed, subscribe
from tests.http.files.conftest import PAST, QuietHandler
from tests.http.kit import running, trusting

SERVERS: dict[str, type[Any]] = {
    "threads": ThreadingHTTPServer,
    "threads-tls": ThreadingHTTPSServer,
    "green": GreenHTTPServer,
    "green-tls": GreenHTTPSServer,
}
SMALL = b"a small file\n"
TEXT = b"text that packs well " * 1000
CONTENT = os.urandom(3_000_000)
PIECES = [b"piece %d\n" % number for number in range(100)]

# How connections may end where nobody did anything wrong. Some clients just go, without TLS's goodbye.
GOOD_ENDS = {CloseReason.DONE, CloseReason.CLIENT_LEFT}


def needs(command: str, package: str = "") -> pytest.MarkDecorator:
    """Skip a module where a command is missing, and say what brings it."""
    reason = f"there is no {command} command; on Debian: apt install {package or command}"
    return pytest.mark.skipif(shutil.which(command) is None, reason=reason)


class Everything(QuietHandler):
    """A folder that takes uploads; `/pieces`, whose length is not known; `/echo`, which gives a body back."""

    file_options = FileOptions(uploads=True, upload_limit=len(CONTENT))

    def do_GET(self) -> None:
        if self.path != "/pieces":
            super().do_GET()
            return
        self.send_response(200)
        self.end_headers()
        for piece in PIECES:
            self.wfile.write(piece)

    def do_POST(self) -> None:
        if self.path != "/echo":
            super().do_POST()
            return
        body = self.rfile.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@dataclass(frozen=True, kw_only=True)
class Site:
    """A folder that is served, where it is, and what happened at the server."""

    folder: Path
    url: str
    certificate: dict[str, Any]
    seen: Counter[str] = field(default_factory=Counter)

    def put(self, name: str, content: bytes) -> None:
        """Write a file that is old enough to have a strong tag."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (PAST, PAST))

    @property
    def authority(self) -> str:
        """The file by which clients know the server's certificate; empty without TLS."""
        return str(self.certificate.get("certfile", ""))

    @property
    def trust(self) -> ssl.SSLContext | bool:
        """The same, for libraries; True without TLS."""
        return trusting(self.certificate) if self.certificate else True


@pytest.fixture(params=SERVERS)
def site(request: pytest.FixtureRequest, tmp_path: Path, no_leaks: None) -> Iterator[Site]:
    """A server with some files; that no handler failed, and no connection ended badly, is checked when it has ended."""
    server_class = SERVERS[request.param]
    secure = issubclass(server_class, HTTPSServer)
    certificate: dict[str, Any] = request.getfixturevalue("certificate") if secure else {}
    folder, closed, failed = tmp_path / "site", list[ConnectionClosed](), list[HandlerFailed]()
    with ExitStack() as stack:
        stack.enter_context(subscribe(closed.append, ConnectionClosed))
        stack.enter_context(subscribe(failed.append, HandlerFailed))
        server = server_class(("127.0.0.1", 0), Everything, handler_args={"directory": folder}, **certificate)
        stack.enter_context(running(server))
        scheme = "https" if secure else "http"
        site = Site(folder=folder, url=f"{scheme}://127.0.0.1:{server.server_port}", certificate=certificate)
        stack.enter_context(subscribe(lambda event: site.seen.update(["opened"]), ConnectionOpened))
        for name, content in (("small.txt", SMALL), ("text.txt", TEXT), ("content.bin", CONTENT)):
            site.put(name, content)
        yield site
    assert failed == []
    assert [each for each in closed if each.reason not in GOOD_ENDS] == []
