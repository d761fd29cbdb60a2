"""The usual way of a request is a short cut: whatever a program puts on it, and however requests repeat, none shows."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from portside.http.handler import BaseHTTPRequestHandler
from portside.telemetry import RequestServed, subscribe
from tests.http.conftest import Dial, Serve
from tests.http.kit import Client, get, post
from tests.http.test_handler import Hello, Quiet

CLOSE = "Connection: close\r\n"


def answers(client: Client, *requests: bytes) -> list[tuple[int, bytes]]:
    """Status and body of each request's answer, one after the other."""
    found = []
    for request in requests:
        client.send(request)
        response = client.response()
        found.append((response.status, response.body))
    return found


# Heads that are like the one before, and that are not


def test_heads_that_differ_in_anything(dial: Dial) -> None:
    class Tells(Quiet):
        def do_GET(self) -> None:
            said = (self.command, self.path, self.request_version, self.requestline, self.raw_requestline)
            self.answer(repr((*said, self.headers["X"], self.close_connection)).encode())

        do_POST = do_PUT = do_GET

    client = dial(Tells)
    chance = random.Random(5)
    for _ in range(300):
        method, path = chance.choice(("GET", "POST", "PUT")), chance.choice(("/", "/a", "/a?b=c", "//a", "/%41\xe9"))
        version = chance.choice(("HTTP/1.1", "HTTP/1.1", "HTTP/1.0"))
        fields = chance.choice(("", "X: 1\r\n", "X: 2\r\n"))
        kept = "" if version == "HTTP/1.1" else "Connection: keep-alive\r\n"
        client.send(get(path, method=method, version=version, fields=fields + kept))
        line = f"{method} {path} {version}"
        seen = path.replace("//", "/")
        value = fields[3:4] or None
        expected = method, seen, version, line, f"{line}\r\n".encode("latin-1"), value, False
        assert client.response().body == repr(expected).encode()


def test_what_a_handler_changes_is_as_it_was_in_the_next_request(dial: Dial) -> None:
    class Changes(Quiet):
        def do_GET(self) -> None:
            seen = self.command, self.path, self.requestline, self.headers["Host"], self.rfile.read()
            self.answer(repr(seen).encode())
            self.command, self.path, self.requestline = "HEAD", "/changed", "nothing"
            del self.headers["Host"]
            self.rfile.close()

    expected = repr(("GET", "/", "GET / HTTP/1.1", "test", b"")).encode()
    assert answers(dial(Changes), *[get()] * 4) == [(200, expected)] * 4


def test_bodies_between_equal_heads(dial: Dial) -> None:
    requests = [get("/a"), post(b"one"), get("/a"), post(b"two"), post(b"six"), get("/a")]
    bodies = [b"hello /a", b"got one", b"hello /a", b"got two", b"got six", b"hello /a"]
    assert [body for _, body in answers(dial(Hello), *requests)] == bodies


def test_equal_heads_in_one_piece_and_in_many(dial: Dial) -> None:
    client = dial(Hello)
    client.send(get("/a") * 50 + get("/a")[:20])
    assert {client.response().body for _ in range(50)} == {b"hello /a"}
    client.send(get("/a")[20:], get("/b") + get("/a", fields=CLOSE) + get("/never"))
    assert [client.response().body for _ in range(3)] == [b"hello /a", b"hello /b", b"hello /a"]
    assert client.rest() == b""


def test_a_protocol_version_that_changes(dial: Dial) -> None:
    class Ages(Hello):
        def do_GET(self) -> None:
            super().do_GET()
            self.protocol_version = "HTTP/1.0"

    client = dial(Ages)
    client.send(get(), get())
    assert client.response().status == 200
    assert client.rest().startswith(b"HTTP/1.0 200 OK\r\n")


@pytest.mark.parametrize("bad", [b"GET /a\x01 HTTP/1.1", b"GET /a HTTP/2.0", b"GET  /a HTTP/1.1", b"G@T /a HTTP/1.1"])
def test_a_bad_line_behind_a_good_one_with_the_same_fields(dial: Dial, bad: bytes) -> None:
    client = dial(Hello)
    good = get("/a")
    (first, *_), second = answers(client, good, good), bad + good[good.index(b"\r\n") :]
    client.send(second)
    assert first == (200, b"hello /a")
    assert client.response().status in {400, 505}


# Overrides

HOOKS = ("send_response_only", "version_string", "date_time_string", "flush_headers", "log_request", "send_header")


def recording(name: str, calls: list[str]) -> Callable[..., Any]:
    """A method that notes that it was called, and does what the handler's does."""

    def method(self: Any, *args: Any) -> Any:
        calls.append(name)
        return getattr(Hello, name)(self, *args)

    return method


@pytest.mark.parametrize("name", [*HOOKS, "parse_request", "handle_one_request", "send_response", "end_headers"])
def test_an_override_is_called(dial: Dial, name: str) -> None:
    calls: list[str] = []
    client = dial(type("Overrides", (Hello,), {name: recording(name, calls)}))
    assert answers(client, *[get("/a")] * 3) == [(200, b"hello /a")] * 3
    assert len(calls) >= 3


@pytest.mark.parametrize("name", HOOKS)
def test_a_class_that_is_patched_while_it_serves(dial: Dial, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Patched(Hello):
        pass

    calls: list[str] = []
    client = dial(Patched)
    answers(client, get(), get())
    original = getattr(Hello, name)

    def method(self: Any, *args: Any) -> Any:
        calls.append(name)
        return original(self, *args)

    monkeypatch.setattr(Hello, name, method)  # a base
    answers(client, get())
    assert name in calls


@pytest.mark.parametrize("name", [*HOOKS, "handle_one_request"])
def test_a_handler_with_a_method_of_its_own(dial: Dial, name: str) -> None:
    calls: list[str] = []

    class Own(Hello):
        def setup(self) -> None:
            super().setup()
            original = getattr(self, name)

            def method(*args: Any) -> Any:
                calls.append(name)
                return original(*args)

            setattr(self, name, method)

    answers(dial(Own), get(), get())
    assert len(calls) >= 2


@pytest.mark.parametrize("name", ["path", "command", "wfile", "_headers_buffer", "close_connection", "requestline"])
def test_a_class_with_a_default_for_what_a_request_brings(dial: Dial, name: str) -> None:
    client = dial(type("Defaults", (Hello,), {name: None}))
    assert answers(client, get("/a"), get("/a")) == [(200, b"hello /a")] * 2


def test_a_handler_that_watches_its_attributes(dial: Dial) -> None:
    seen: set[str] = set()

    class Watches(Hello):
        def __setattr__(self, name: str, value: Any) -> None:
            seen.add(name)
            super().__setattr__(name, value)

    answers(dial(Watches), get(), get())
    assert {"path", "command", "close_connection"} <= seen


def test_what_a_request_brings_is_missing_before_it() -> None:
    handler = BaseHTTPRequestHandler.__new__(BaseHTTPRequestHandler)
    for name in ("path", "command", "requestline", "request_version", "rfile", "wfile", "_headers_buffer"):
        assert not hasattr(handler, name)
    handler.path = "/a"
    assert handler.path == "/a"


# Answers


@pytest.mark.parametrize("length", ["5", 5, " 5 ", "05"], ids=repr)
def test_lengths_as_programs_write_them(dial: Dial, length: Any) -> None:
    class Counts(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-LENGTH", length)
            self.end_headers()
            self.wfile.write(b"hello and more than that")

    client = dial(Counts)
    client.send(get())
    assert client.rest().endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize("length", ["-1", "1e3", "", "0x10", "five", 1.5])
def test_lengths_that_are_none(dial: Dial, length: Any) -> None:
    class Refused(Quiet):
        def do_GET(self) -> None:
            with pytest.raises(ValueError, match="Content-Length is a number"):
                self.send_header("Content-Length", length)
            self.answer(b"fine")

    assert answers(dial(Refused), get()) == [(200, b"fine")]


def test_the_buffer_of_a_head_is_the_programs_too(dial: Dial) -> None:
    class Adds(Quiet):
        def do_GET(self) -> None:
            self.send_response(200, "Fine")
            self._headers_buffer.append(b"X-Added: yes\r\n")
            self.send_header("X-Name", "caf\xe9")
            self.send_header("Content-Length", "2")
            self.end_headers()
            assert self._headers_buffer == []
            self.wfile.write(b"o")
            self.wfile.write(bytearray(b"k"))

    client = dial(Adds)
    for _ in range(2):
        client.send(get())
        response = client.response()
        assert (response.reason, response.headers["X-Added"], response.body) == ("Fine", "yes", b"ok")
        assert response.headers["X-Name"] == "caf\xe9"


def test_large_and_small_pieces_of_one_body(dial: Dial) -> None:
    pieces = [b"a", b"b" * 20_000, b"c" * 100_000, b"", b"d"]

    class Pieces(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(sum(map(len, pieces[int(self.path[1:]) :]))))
            self.end_headers()
            for piece in pieces[int(self.path[1:]) :]:
                self.wfile.write(piece)

    found = answers(dial(Pieces), *(get(f"/{first}") for first in range(5)))
    assert [body for _, body in found] == [b"".join(pieces[first:]) for first in range(5)]


def test_old_clients_are_told_that_the_connection_stays(dial: Dial) -> None:
    client = dial(Hello)
    for _ in range(3):
        client.send(get(version="HTTP/1.0", fields="Connection: keep-alive\r\n"))
        assert client.response().headers["Connection"] == "keep-alive"


def test_who_asks_later_is_told_of_requests(serve: Serve, dial: Dial) -> None:
    server = serve(Hello)
    client = dial(server)
    told: list[RequestServed] = []

    def tell(event: RequestServed) -> None:
        if event.server is server:
            told.append(event)

    answers(client, get("/a"), get("/a"))
    with subscribe(tell, RequestServed):
        answers(client, get("/a"))
        client.send(get("/b", fields=CLOSE))
        client.rest()
    assert [(event.request_line, event.status, event.bytes_out) for event in told] == [
        ("GET /a HTTP/1.1", 200, 8),
        ("GET /b HTTP/1.1", 200, 8),
    ]
