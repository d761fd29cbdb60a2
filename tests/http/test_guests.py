"""A server's limits, as HTTP's clients see them."""

import functools
from collections.abc import Iterator
from typing import Any

import pytest

import portside
from portside import Access, Limits
from portside.http.server import BaseHTTPRequestHandler
from portside.http.servers import GreenHTTPServer, HTTPSServer, ThreadingHTTPServer
from portside.telemetry import CloseReason, ConnectionClosed, ConnectionRefused, RefusalReason, subscribe
from tests.conftest import DEADLINE, Connect, wait_until
from tests.http.kit import Client, running

pytestmark = pytest.mark.usefixtures("no_leaks")


class Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = repr(self.peer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.readline()
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def told() -> Iterator[list[Any]]:
    events: list[Any] = []
    with subscribe(events.append, ConnectionRefused, ConnectionClosed):
        yield events


@pytest.mark.parametrize("server_class", [ThreadingHTTPServer, GreenHTTPServer])
def test_who_is_turned_away_reads_503(server_class: Any, connect: Connect, told: list[Any]) -> None:
    guarded = type("Server", (server_class,), {"limits": Limits(connections=1), "drain_timeout": DEADLINE})
    with running(guarded(("127.0.0.1", 0), Hello)) as server:
        first = Client(connect(server.server_address))
        first.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert first.response().status == 200
        second = Client(connect(server.server_address))
        second.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = second.response()
        assert (answer.status, answer.headers["Connection"], answer.headers["Retry-After"]) == (503, "close", "1")
        assert second.file.read() == b""
        assert [event.reason for event in told] == [RefusalReason.CONNECTIONS]


@pytest.mark.parametrize("engine", ["threads", "green", "serial"])
def test_the_modern_face_knows_the_protocol_of_its_handler(engine: Any, connect: Connect) -> None:
    handler = functools.partial(Hello)
    access = Access(deny=["127.0.0.0/8"])
    with portside.start(handler, "tcp://127.0.0.1:0", engine=engine, access=access) as server:
        client = Client(connect(server.servers[0].server_address))
        assert client.response().status == 503


@pytest.mark.parametrize("engine", ["threads", "green"])
def test_a_body_may_have_longer_lines_than_a_stream(engine: Any, connect: Connect) -> None:
    limits = Limits(line_bytes=100)
    with portside.start(Hello, "tcp://127.0.0.1:0", engine=engine, limits=limits) as server:
        client = Client(connect(server.servers[0].server_address))
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n", bytes(5_000))
        assert client.response().status == 200


@pytest.mark.parametrize("engine", ["threads", "green"])
def test_a_connection_ends_when_its_time_is_over(engine: Any, connect: Connect, told: list[Any]) -> None:
    with portside.start(Hello, "tcp://127.0.0.1:0", engine=engine, limits=Limits(total_seconds=0.1)) as server:
        client = Client(connect(server.servers[0].server_address))
        client.send(b"GET / HTTP/1.1\r\n")
        assert client.file.read(1) in (b"", b"H")
        assert wait_until(lambda: bool(told))
    assert [event.reason for event in told] == [CloseReason.TIMED_OUT]


def are_shaking(server: Any, number: int) -> bool:
    """Whether so many handshakes are under way."""
    admission = server._portside.admission
    return admission is not None and len(admission._shaking) == number


def test_the_oldest_handshake_makes_room(certificate: Any, connect: Connect, told: list[Any]) -> None:
    bases = (type("Threading", (portside.socketserver.ThreadingMixIn, HTTPSServer), {}),)
    guarded: Any = type("Server", bases, {"limits": Limits(handshakes=2), "drain_timeout": DEADLINE})
    with running(guarded(("127.0.0.1", 0), Hello, **certificate)) as server:
        silent = []
        for number in (1, 2, 2):
            silent.append(connect(server.server_address))
            assert wait_until(functools.partial(are_shaking, server, number))
        assert silent[0].recv(1) == b""
        assert wait_until(lambda: len(told) == 2)
        for client in silent[1:]:
            client.close()
    assert told[0].reason is RefusalReason.HANDSHAKES
    assert CloseReason.TIMED_OUT in [event.reason for event in told if isinstance(event, ConnectionClosed)]
