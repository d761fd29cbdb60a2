"""A green connection's later requests are served in whichever greenlet is free; nobody but the clock may notice."""

import contextvars
import io
import os
import sys
import threading
from typing import Any

import greenlet
import pytest

from portside.core import dump, hub
from portside.core.sync import Event
from portside.http.limits import HTTPLimits
from portside.http.servers import GreenHTTPServer, GreenHTTPSServer
from portside.service.whereabouts import described, stacks
from portside.telemetry import CloseReason, ConnectionClosed, subscribe
from tests.conftest import DEADLINE, Connect, wait_until
from tests.http.conftest import Dial, Serve
from tests.http.kit import Client, get, post
from tests.http.test_green import shake_hands
from tests.http.test_handler import Quiet

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def server_class() -> type[GreenHTTPServer]:
    return GreenHTTPServer


class Home(Quiet):
    """Says whether a request is served where its connection began."""

    def setup(self) -> None:
        super().setup()
        self.home = greenlet.getcurrent()
        self.task = hub.current_task()

    def is_away(self) -> bool:
        assert hub.current_task() is self.task
        return greenlet.getcurrent() is not self.home

    def do_GET(self) -> None:
        self.answer(b"away" if self.is_away() else b"home")


def ask(client: Client, path: str = "/") -> bytes:
    client.send(get(path))
    return client.response().body


def test_same_task_elsewhere(serve: Serve, dial: Dial) -> None:
    server = serve(Home)
    clients = [dial(server) for _ in range(20)]
    seen = [ask(client) for _ in range(10) for client in clients]
    assert seen[:20] == [b"home"] * 20
    assert seen[20:].count(b"away") >= 170  # the last who waited goes on where it is


def test_same_task_elsewhere_over_tls(serve: Serve, connect: Connect, certificate: dict[str, Any]) -> None:
    server = serve(Home, GreenHTTPSServer, **certificate)
    clients = [shake_hands(certificate, connect, server) for _ in range(20)]
    seen = [ask(client) for _ in range(10) for client in clients]
    assert seen[:20] == [b"home"] * 20
    assert seen[40:].count(b"away") >= 150  # the second is still waited for at home: there may be more to say of keys
    for client in clients:
        client.send(get()[:5])  # half of a request in a record of its own
    for client in clients:
        client.send(get()[5:], get() * 10)
        assert {client.response().body for _ in range(11)} <= {b"home", b"away"}
        client.close()


def test_requests_that_wait_do_not_hold_up_others(serve: Serve, dial: Dial) -> None:
    gate: list[Event] = []

    class Waits(Home):
        def do_GET(self) -> None:
            if self.path == "/wait":
                assert self.is_away()
                gate.append(Event())
                gate[-1].wait()
                assert self.is_away()
            super().do_GET()

        def do_POST(self) -> None:
            for each in gate:
                each.set()
            self.answer(self.rfile.read())

    server = serve(Waits)
    waiting = [dial(server) for _ in range(10)]
    other = dial(server)
    for client in (*waiting, other):
        ask(client)
    for client in waiting:
        client.send(get("/wait"))
    wait_until(lambda: len(gate) == 10)
    assert [ask(other) for _ in range(5)]
    other.send(post(b"go"))
    assert other.response().body == b"go"
    assert [client.response().body for client in waiting] == [b"away"] * 10
    assert {ask(client) for client in waiting} <= {b"away", b"home"}


def test_slow_heads_and_bodies_and_requests_in_a_row(serve: Serve, dial: Dial) -> None:
    class Echo(Home):
        def do_POST(self) -> None:
            self.answer(self.rfile.read())

    server = serve(Echo)
    one, other = dial(server), dial(server)
    for client in (one, other):
        ask(client)
    for _ in range(3):
        whole = post(b"a body in pieces")
        for place in range(0, len(whole), 7):
            one.send(whole[place : place + 7])
            ask(other)
        assert one.response().body == b"a body in pieces"
    one.send(get() * 300)
    assert {one.response().body for _ in range(300)} <= {b"home", b"away"}
    assert ask(other)


def test_context_stays_with_its_connection(serve: Serve, dial: Dial) -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    class Remembers(Home):
        def do_GET(self) -> None:
            self.answer(variable.get().encode())
            if self.path != "/":
                variable.set(self.path)

    server = serve(Remembers)
    clients = [dial(server) for _ in range(5)]
    for client in clients:
        assert ask(client) == b"unset"
    for number, client in enumerate(clients):
        assert ask(client, f"/{number}") == b"unset"
    for _ in range(2):
        for number, client in enumerate(clients):
            assert ask(client) == b"/%d" % number


def test_failure_is_told_once(serve: Serve, dial: Dial) -> None:
    class Fails(Home):
        def do_GET(self) -> None:
            if self.path == "/fail":
                assert self.is_away()
                raise ValueError("on purpose")
            super().do_GET()

    failures: list[BaseException | None] = []
    server = serve(Fails)
    server.handle_error = lambda *_: failures.append(sys.exception())
    one, other = dial(server), dial(server)
    for client in (one, other):
        ask(client)
    one.send(get("/fail"))
    assert one.response().status == 500
    assert one.rest() == b""
    assert ask(other)
    wait_until(lambda: bool(failures))
    assert [repr(failure) for failure in failures] == ["ValueError('on purpose')"]


def test_handler_that_exits_ends_its_connection_only(serve: Serve, dial: Dial) -> None:
    class Exits(Home):
        def do_GET(self) -> None:
            if self.path == "/exit":
                raise greenlet.GreenletExit
            super().do_GET()

    server = serve(Exits)
    one, other = dial(server), dial(server)
    for client in (one, other):
        ask(client)
    one.send(get("/exit"))
    assert one.rest() == b""
    assert ask(other)


def test_silence_ends_a_connection(serve: Serve, dial: Dial) -> None:
    class Impatient(Home):
        http_limits = HTTPLimits(keep_alive=0.3)

    closed: list[Any] = []
    with subscribe(closed.append, ConnectionClosed):
        server = serve(Impatient)
        clients = [dial(server) for _ in range(5)]
        for client in clients * 2:
            ask(client)
        assert [client.rest() for client in clients] == [b""] * 5
        wait_until(lambda: len(closed) == 5)
    assert {event.reason for event in closed} == {CloseReason.DONE}


def test_clients_that_leave_and_say_so(serve: Serve, dial: Dial) -> None:
    server = serve(Home)
    one, other, third = dial(server), dial(server), dial(server)
    for client in (one, other, third) * 2:
        ask(client)
    one.close()
    other.send(get(fields="Connection: close\r\n"))
    other.response()
    assert other.rest() == b""
    assert ask(third)


def test_method_that_is_put_in_while_it_waits(serve: Serve, dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    class Patched(Home):
        pass

    def handle_one_request(self: Any) -> None:
        calls.append(self.path)
        Home.handle_one_request(self)

    calls: list[str] = []
    server = serve(Patched)
    one, other = dial(server), dial(server)
    for client in (one, other) * 2:
        ask(client)
    monkeypatch.setattr(Patched, "handle_one_request", handle_one_request)
    for client in (one, other) * 3:
        assert ask(client) in (b"home", b"away")
    assert calls


def test_where_it_stands(serve: Serve, dial: Dial) -> None:
    gate: list[Event] = []

    class Waits(Home):
        def do_GET(self) -> None:
            if self.path == "/wait":
                self.wait_here()
            super().do_GET()

        def wait_here(self) -> None:
            gate.append(Event())
            gate[-1].wait()

        def do_POST(self) -> None:
            gate[0].set()
            self.answer(b"")

    server = serve(Waits)
    one, other, third = dial(server), dial(server), dial(server)
    for client in (one, other, third):
        ask(client)
    one.send(get("/wait"))
    wait_until(lambda: bool(gate))
    ask(other)
    ask(third)
    found = [described(stack) for stack in stacks([server]).values()]
    assert len(found) == 3
    assert sum(each["at"].endswith("wait_here") for each in found) == 1
    dump(text := io.StringIO())
    assert text.getvalue().count("in wait_here") == 1
    assert text.getvalue().count("in finish_request") == 3
    other.send(post(b""))
    assert other.response().status == 200
    assert one.response().body == b"away"


def test_end_while_all_wait_elsewhere(serve: Serve, dial: Dial) -> None:
    server = serve(Home)
    clients = [dial(server) for _ in range(30)]
    for client in clients * 2:
        ask(client)
    stopping = threading.Thread(target=server.shutdown, kwargs={"drain": DEADLINE})
    stopping.start()
    assert [client.rest() for client in clients] == [b""] * 30
    stopping.join()


def test_child_that_is_forked_by_a_request(serve: Serve, dial: Dial) -> None:
    class Forks(Home):
        def do_GET(self) -> None:
            if self.path == "/fork":
                child = os.fork()
                if child == 0:
                    self.answer(b"child")
                    self.close_connection = True
                    return
                os.waitpid(child, 0)
                self.close_connection = True
                return
            super().do_GET()

    server = serve(Forks)
    one, other = dial(server), dial(server)
    for client in (one, other) * 2:
        ask(client)
    assert ask(one, "/fork") == b"child"
    assert one.rest() == b""
    assert ask(other)


# What connections share


def test_equal_heads_of_many_connections_are_their_own(serve: Serve, dial: Dial) -> None:
    class Changes(Quiet):
        def do_GET(self) -> None:
            said = self.command, self.path, self.requestline, self.headers["X"], self.headers["Host"]
            self.headers["X"] = "changed"
            del self.headers["Host"]
            self.path = "/changed"
            self.answer(repr(said).encode())

    server = serve(Changes)
    expected = repr(("GET", "/a", "GET /a HTTP/1.1", "1", "test")).encode()
    for _ in range(3):
        client = dial(server)
        for _ in range(3):
            client.send(get("/a", fields="X: 1\r\n"))
            assert client.response().body == expected


def test_other_limits_understand_a_head_anew(serve: Serve, dial: Dial) -> None:
    class Narrow(Quiet):
        http_limits = HTTPLimits(header_count=3)

        def do_GET(self) -> None:
            self.answer(b"let in")

    class Wide(Narrow):
        http_limits = HTTPLimits(header_count=20)

    many = get(fields="".join(f"X-{number}: 1\r\n" for number in range(5)))
    for handler, status in ((Wide, 200), (Narrow, 431), (Wide, 200)):
        client = dial(serve(handler))
        client.send(many)
        assert client.response().status == status


def test_more_heads_than_are_kept(serve: Serve, dial: Dial) -> None:
    class Says(Quiet):
        def do_GET(self) -> None:
            self.answer(self.path.encode() + str(self.headers["X"]).encode())

    server = serve(Says)
    for number in range(300):
        client = dial(server)
        client.send(get(f"/{number}", fields=f"X: {number}\r\n"))
        assert client.response().body == b"/%d%d" % (number, number)
        client.close()
