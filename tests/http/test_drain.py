"""What clients of HTTP see of a drain, on every engine: the idle ones end at once, others after their next answer."""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from portside.connections import Connection
from portside.engines import ForkingMixIn, SerialMixIn
from portside.http.servers import GreenHTTPServer, HTTPServer, ThreadingHTTPServer
from tests.conftest import DEADLINE, wait_until
from tests.http.conftest import Dial, Serve
from tests.http.kit import get, running
from tests.http.test_handler import Hello
from tests.pains.serving import LOOPBACK, queue_is


class SerialHTTPServer(SerialMixIn, HTTPServer):
    """One at a time."""


class ForkingHTTPServer(ForkingMixIn, HTTPServer):
    """Each in a child process."""


SERVERS = [SerialHTTPServer, ThreadingHTTPServer, ForkingHTTPServer, GreenHTTPServer]
every_engine = pytest.mark.parametrize("kind", SERVERS, ids=["serial", "threads", "forks", "green"])


@contextmanager
def draining(server: Any) -> Iterator[None]:
    """A drain is under way in the block, and over after it; nobody is woken for being quiet."""
    server._portside.quiet = math.inf
    thread = threading.Thread(target=server.shutdown, kwargs={"drain": 4 * DEADLINE})
    thread.start()
    yield
    thread.join(DEADLINE)
    assert not thread.is_alive()


def the_record(server: Any) -> Connection:
    assert wait_until(lambda: len(server._portside.connections) == 1)
    found: Connection = server._portside.connections.all()[0]
    return found


@every_engine
def test_idle_connection_ends_at_once(kind: type[HTTPServer], serve: Serve, dial: Dial) -> None:
    server = serve(Hello, kind)
    client = dial(server)
    client.send(get("/a"))
    assert client.response().body == b"hello /a"
    record = the_record(server)
    assert wait_until(lambda: record.idle)
    with draining(server):
        assert client.rest() == b""


@every_engine
def test_next_answer_says_that_it_is_the_last(kind: type[HTTPServer], serve: Serve, dial: Dial) -> None:
    server = serve(Hello, kind)
    client = dial(server)
    client.send(get("/a"))
    assert "Connection" not in client.response().headers
    client.send(get(method="POST", fields="Content-Length: 4\r\n"), b"ab")
    record = the_record(server)
    assert wait_until(lambda: not record.idle)
    with draining(server):
        assert wait_until(lambda: record.ending)
        client.send(b"cd")
        response = client.response()
        assert (response.headers["Connection"], response.body) == ("close", b"got abcd")
        assert client.rest() == b""


@every_engine
def test_who_was_not_accepted_yet_gets_one_answer(kind: type[HTTPServer], no_leaks: None, dial: Dial) -> None:
    server: Any = type("Server", (kind,), {"daemon_threads": False, "drain_timeout": DEADLINE})(LOOPBACK, Hello)
    server._portside.accept(False)
    with running(server):
        clients = [dial(server) for _ in range(3)]
        for client in clients:
            client.send(get("/late"))
        assert queue_is(server, len(clients))
        with draining(server):
            for client in clients:
                response = client.response()
                assert (response.headers["Connection"], response.body) == ("close", b"hello /late")
                assert client.rest() == b""
