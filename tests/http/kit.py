"""A server with a handler, and a client that writes bytes and reads responses one by one."""

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from portside.http.servers import HTTPServer, ThreadingHTTPServer
from tests.conftest import DEADLINE


@contextlib.contextmanager
def running(server: Any) -> Iterator[Any]:
    """Serve in a thread; at the end of the block the handlers finish, and the server closes."""
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown(drain=DEADLINE)
            thread.join()


@contextlib.contextmanager
def serving(handler: Any, server_class: type[HTTPServer] = ThreadingHTTPServer, **options: Any) -> Iterator[Any]:
    """A server of `handler` on a free port of the loopback, in a thread."""
    server_class = type(server_class.__name__, (server_class,), {"daemon_threads": False, "drain_timeout": DEADLINE})
    with running(server_class(("127.0.0.1", 0), handler, **options)) as server:
        yield server


@dataclass(frozen=True, kw_only=True)
class Response:
    """A response as a client of HTTP/1.1 reads it; an interim one too."""

    status: int
    reason: str
    headers: http.client.HTTPMessage
    body: bytes


def trusting(certificate: dict[str, Any]) -> ssl.SSLContext:
    """What a client of a server with this certificate checks it by."""
    return ssl.create_default_context(cafile=str(certificate["certfile"]))


class Client:
    """A connection on which bytes go out as they are, and responses come in."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.file = sock.makefile("rb")

    def send(self, *pieces: bytes) -> None:
        """Send bytes, in as many calls."""
        for piece in pieces:
            self.sock.sendall(piece)

    def end(self) -> None:
        """Say that nothing more comes."""
        self.sock.shutdown(socket.SHUT_WR)

    def response(self, method: str = "GET") -> Response:
        """Read one response to its end, strictly."""
        line = self.file.readline()
        assert line.startswith(b"HTTP/1."), line
        _, status, reason = line.decode("latin-1").rstrip("\r\n").split(" ", 2)
        headers = http.client.parse_headers(self.file)
        code = int(status)
        empty = method == "HEAD" or code < 200 or code in (204, 304)
        return Response(status=code, reason=reason, headers=headers, body=b"" if empty else self._body(headers))

    def _body(self, headers: http.client.HTTPMessage) -> bytes:
        assert not ("Content-Length" in headers and "Transfer-Encoding" in headers), str(headers)
        if "Transfer-Encoding" in headers:
            return b"".join(iter(self._chunk, b""))
        if "Content-Length" in headers:
            body = self.file.read(int(headers["Content-Length"]))
            assert len(body) == int(headers["Content-Length"]), "the body is shorter than its Content-Length"
            return body
        return self.file.read()

    def _chunk(self) -> bytes:
        size = int(self.file.readline().rstrip(b"\r\n"), 16)
        chunk = self.file.read(size)
        assert self.file.read(2) == b"\r\n", "a chunk does not end where it should"
        return chunk

    def rest_of_chunks(self) -> bytes:
        """A chunked body whose head was read already, in part."""
        return self._body(http.client.parse_headers(self.file))

    def rest(self) -> bytes:
        """Everything up to the connection's end."""
        return self.file.read()

    def close(self) -> None:
        """Leave."""
        self.file.close()
        self.sock.close()


def get(path: str = "/", *, version: str = "HTTP/1.1", fields: str = "", method: str = "GET") -> bytes:
    """A request without a body."""
    return f"{method} {path} {version}\r\nHost: test\r\n{fields}\r\n".encode("latin-1")


def post(body: bytes, *, path: str = "/", fields: str = "") -> bytes:
    """A request with a body and its length."""
    return get(path, method="POST", fields=f"Content-Length: {len(body)}\r\n{fields}") + body
