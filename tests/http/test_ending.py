"""The end of a server with connections that are kept open; on every engine."""

import math
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from portside import drain
from portside.connections import Connection
from portside.telemetry import CloseReason, ConnectionClosed, DrainFinished, subscribe
from tests.conftest import DEADLINE, wait_until
from tests.http.conftest import Dial, Serve
from tests.http.kit import get
from tests.http.test_handler import Hello, Quiet

Finished = list[DrainFinished]


@pytest.fixture
def finished(monkeypatch: pytest.MonkeyPatch) -> Iterator[Finished]:
    """The ends of drains, in which nobody is woken because it is quiet, or late: only who is idle, or cut."""
    monkeypatch.setattr(drain, "QUIET", math.inf)
    monkeypatch.setattr(drain, "INSIST", math.inf)
    heard: Finished = []
    with subscribe(heard.append, DrainFinished):
        yield heard


@contextmanager
def ending(server: Any) -> Iterator[None]:
    """A drain is under way in the block, and over after it."""
    thread = threading.Thread(target=server.shutdown, kwargs={"drain": DEADLINE})
    thread.start()
    yield
    thread.join()


def the_record(server: Any) -> Callable[[], Connection]:
    return lambda: server._portside.connections.all()[0]


def test_idle_connections_end_at_once(serve: Serve, dial: Dial, finished: Finished) -> None:
    server = serve(Hello)
    clients = [dial(server) for _ in range(3)]
    for client in clients:
        client.send(get("/a"))
        assert client.response().body == b"hello /a"
    assert wait_until(lambda: all(each.idle for each in server._portside.connections.all()))
    with ending(server):
        assert [client.rest() for client in clients] == [b""] * 3
    assert [(each.cut, each.abandoned) for each in finished] == [(0, 0)]


def test_head_that_has_begun_is_waited_for(serve: Serve, dial: Dial, finished: Finished) -> None:
    server = serve(Hello)
    client = dial(server)
    client.send(get("/a"))
    client.response()
    record = the_record(server)()
    assert wait_until(lambda: record.idle)
    client.send(b"GET /b HTTP/1.1\r\n")
    assert wait_until(lambda: not record.idle)
    with ending(server):
        assert wait_until(lambda: record.ending)
        client.send(b"Host: test\r\n\r\n")
        assert client.response().body == b"hello /b"
    assert [each.cut for each in finished] == [0]


def test_no_100_after_the_answer_has_begun(dial: Dial) -> None:
    class Early(Quiet):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"ab")
            self.rfile.read(4)
            self.wfile.write(b"cd")

    client = dial(Early)
    client.send(get(method="POST", fields="Content-Length: 4\r\nExpect: 100-continue\r\n"))
    assert client.file.readline() == b"HTTP/1.1 200 OK\r\n"
    client.send(b"body")
    assert client.rest().endswith(b"\r\n\r\nabcd")


def test_client_that_falls_silent_has_timed_out(serve: Serve, dial: Dial) -> None:
    class Bare(Quiet):
        def handle(self) -> None:
            self.connection.recv(1)
            raise TimeoutError

    closed: list[ConnectionClosed] = []
    with subscribe(closed.append, ConnectionClosed):
        client = dial(serve(Bare))
        client.send(b"x")
        assert client.rest() == b""
        assert wait_until(lambda: closed != [])
    assert closed[0].reason is CloseReason.TIMED_OUT


def test_the_kernels_own_deadline_is_one() -> None:
    one, other = socket.socketpair()
    with one, other:
        record = Connection(one, "")
        assert not record.has_deadline()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 5, 0))
        assert record.has_deadline()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 0))
        assert not record.has_deadline()
