"""A connection's two ends have a short cut, and clients' header fields are remembered: nobody sees either."""

import io
from typing import Any

import pytest

from portside.handlers import StreamRequestHandler
from portside.http.limits import HTTPLimits
from tests.http.conftest import Dial, Serve
from tests.http.kit import get
from tests.http.test_handler import Hello, Quiet

OLD = get("/a", version="HTTP/1.0")


def test_one_connection_a_request(serve: Serve, dial: Dial) -> None:
    class Old(Hello):
        protocol_version = "HTTP/1.0"

    server = serve(Old)
    for request in [get("/a"), OLD, get("/a"), get("/a", fields="X: 1\r\n")] * 2:
        client = dial(server)
        client.send(request)
        assert client.response().body == b"hello /a"
        assert client.rest() == b""


# Who has a say in the two ends


def test_a_mix_in_that_comes_behind_is_not_passed_over(dial: Dial) -> None:
    calls: list[str] = []

    class Mixed(StreamRequestHandler):
        def setup(self) -> None:
            calls.append("setup")
            super().setup()

        def finish(self) -> None:
            super().finish()
            calls.append("finish")

    class Both(Hello, Mixed):
        def do_GET(self) -> None:
            calls.append("do_GET")
            super().do_GET()

    client = dial(Both)
    client.send(get("/a", fields="Connection: close\r\n"))
    assert client.rest().endswith(b"hello /a")
    assert calls[:2] == ["setup", "do_GET"]


def test_a_base_whose_setup_is_patched(dial: Dial, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    original = StreamRequestHandler.setup
    server = serve(Hello)
    first = dial(server)
    first.send(get())
    first.response()

    def setup(self: Any) -> None:
        calls.append("setup")
        original(self)

    monkeypatch.setattr(StreamRequestHandler, "setup", setup)
    second = dial(server)
    second.send(get())
    second.response()
    assert calls == ["setup"]


@pytest.mark.parametrize("name", ["connection", "request"])
def test_a_socket_under_a_property_of_the_program(dial: Dial, name: str) -> None:
    seen: list[Any] = []

    class Keeps(Hello):
        pass

    def remember(self: Any, sock: Any) -> None:
        seen.append(sock)
        self._socket = self.kept = sock

    setattr(Keeps, name, property(lambda self: self.kept, remember))
    client = dial(Keeps)
    client.send(get("/a"))
    assert client.response().body == b"hello /a"
    assert seen


def test_files_are_closed_when_the_handler_has_finished(dial: Dial) -> None:
    closed: list[bool] = []

    class Looks(Hello):
        def finish(self) -> None:
            reader, writer = self.rfile, self.wfile
            closed.extend((reader.closed, writer.closed))
            super().finish()
            closed.extend((reader.closed, writer.closed))

    client = dial(Looks)
    client.send(OLD)
    client.rest()
    assert closed == [False, False, True, True]


def test_files_of_the_programs_own(dial: Dial) -> None:
    made: list[Any] = []

    class Brings(Hello):
        def setup(self) -> None:
            super().setup()
            self.rfile, self.wfile = io.BytesIO(get("/a")), io.BytesIO()
            made.extend((self.rfile, self.wfile))

        def finish(self) -> None:
            self.connection.sendall(self.wfile.getvalue())
            super().finish()

    client = dial(Brings)
    assert client.rest().endswith(b"hello /a")
    assert [file.closed for file in made] == [True, True]


def test_a_client_that_leaves_before_its_answer(serve: Serve, dial: Dial) -> None:
    server = serve(Hello)
    for _ in range(20):
        client = dial(server)
        client.send(get() * 20)
        client.close()
    client = dial(server)
    client.send(get("/a"))
    assert client.response().body == b"hello /a"


def test_a_head_leaves_before_the_socket_is_looked_at(dial: Dial) -> None:
    class Raw(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.request.sendall(b"by hand")

    client = dial(Raw)
    client.send(get())
    answer = client.rest()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nby hand")


# What is remembered of other clients


class Tells(Quiet):
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        said = self.headers["X"]
        del self.headers["X"]
        self.headers["Y"] = "mine"
        self.answer(f"{said} {self.request_version}".encode())


def test_fields_of_another_client(serve: Serve, dial: Dial) -> None:
    server = serve(Tells)
    for number in [*range(70), *range(70)]:  # more than are remembered
        for version in ("HTTP/1.0", "HTTP/1.1"):
            client = dial(server)
            client.send(get(fields=f"X: {number}\r\n", version=version))
            assert client.response().body == f"{number} {version}".encode()
            client.close()


def test_limits_are_the_handlers_and_not_those_of_the_client_before(serve: Serve, dial: Dial) -> None:
    class Strict(Hello):
        def setup(self) -> None:
            if strict:
                self.http_limits = HTTPLimits(header_count=2)
            super().setup()

    strict: list[bool] = []
    server = serve(Strict)
    for expected in (200, 431, 200):
        client = dial(server)
        client.send(get(fields="X: 1\r\nY: 2\r\n"))
        assert client.response().status == expected
        strict[:] = [] if strict else [True]


def test_the_same_fields_with_and_without_a_body_of_the_programs_own(dial: Dial) -> None:
    class Wraps(Quiet):
        def do_GET(self) -> None:
            self.answer(repr((self.headers["X"], self.close_connection)).encode())

        def handle_one_request(self) -> None:
            usual = self.rfile
            if next(turns) % 3 == 1:
                self.rfile = io.BytesIO(get(fields="X: wrapped\r\n"))
            super().handle_one_request()
            self.rfile = usual

    turns = iter(range(100))
    client = dial(Wraps)
    found = []
    for number in range(6):
        if number % 3 != 1:
            client.send(get(fields="X: plain\r\n"))
        found.append(client.response().body)
    assert found == [repr((word, False)).encode() for word in ("plain", "wrapped", "plain") * 2]
