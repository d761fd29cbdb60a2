"""Limits and deadlines, on the wire: each passed one is answered with its status, and ends the connection."""

import threading
import time
from contextlib import suppress
from typing import Any

import pytest

from portside.http.limits import HTTPLimits
from tests.conftest import DEADLINE, wait_until
from tests.http.conftest import Dial
from tests.http.kit import get, post
from tests.http.test_handler import Hello

SHORT = 0.1  # seconds of a deadline that a test wants to see pass


def limited(**limits: Any) -> type[Hello]:
    return type("Limited", (Hello,), {"http_limits": HTTPLimits(**limits)})


@pytest.mark.parametrize("field", ["request_line", "header_seconds", "body_bytes"])
@pytest.mark.parametrize("value", [0, -1, "8", None])
def test_limits_are_checked(field: str, value: Any) -> None:
    if field == "body_bytes" and value is None:
        assert HTTPLimits().body_bytes is None
        return
    with pytest.raises(ValueError, match=f"HTTPLimits\\({field}="):
        HTTPLimits(**{field: value})


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (b"GET /" + b"a" * 100_000, 414),
        (b"A" * 100_000, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"X" * 100_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 20_000, 431),
        (get(fields="X: a\r\n" * 100), 431),
        (get(fields="X: " + "a" * 16_384 + "\r\n"), 431),
        (get("/" + "a" * 8192), 414),
    ],
)
def test_size_of_a_head(dial: Dial, wire: bytes, status: int) -> None:
    client = dial(Hello)
    client.send(wire)
    assert client.response().status == status
    assert client.rest() == b""


def test_refused_head_is_logged_with_its_line(dial: Dial) -> None:
    lines = list[str]()

    class Logs(Hello):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            lines.append(f"{self.command} {self.path} {code}")

    client = dial(Logs)
    client.send(b"GET /here HTTP/1.1\r\nX: " + b"a" * 20_000)
    client.response()
    assert lines == ["GET /here 431"]


@pytest.mark.parametrize("pieces", [(b"G",), (b"GET / HTTP/1.1\r\n",), (b"GET / HTTP/1.1\r\nHost: a\r\n", b"X")])
def test_slow_head(dial: Dial, pieces: tuple[bytes, ...]) -> None:
    client = dial(limited(header_seconds=SHORT))
    client.send(*pieces)
    assert client.response().status == 408
    assert client.rest() == b""


def test_head_that_keeps_trickling_is_ended(dial: Dial) -> None:
    client = dial(limited(header_seconds=SHORT))
    client.send(b"GET / HTTP/1.1\r\n")
    client.sock.settimeout(SHORT / 5)
    answer = bytearray()

    def trickle() -> bool:
        with suppress(TimeoutError):
            client.send(b"X: y\r\n")
            answer.extend(client.sock.recv(100))
        return bool(answer)

    assert wait_until(trickle, DEADLINE)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_silent_connection_is_closed_without_a_word(dial: Dial) -> None:
    assert dial(limited(header_seconds=SHORT)).rest() == b""


def test_idle_connection_is_closed_without_a_word(dial: Dial) -> None:
    client = dial(limited(keep_alive=SHORT))
    client.send(get())
    client.response()
    assert client.rest() == b""


def test_programs_own_timeout_counts_instead(dial: Dial) -> None:
    errors = list[str]()

    class Impatient(Hello):
        timeout = SHORT

        def log_error(self, format: str, *args: object) -> None:
            errors.append(format % args)

    client = dial(Impatient)
    assert client.rest() == b""
    assert "Request timed out" in errors[0]


@pytest.mark.parametrize("fields", ["Content-Length: 1000\r\n", "Transfer-Encoding: chunked\r\n"])
def test_slow_body(dial: Dial, fields: str) -> None:
    client = dial(limited(body_grace=SHORT, body_rate=1_000_000))
    client.send(get(method="POST", fields=fields), b"3\r\nabc\r\n")
    assert client.response().status == 408
    assert client.rest() == b""


def test_waiting_handler_does_not_count_against_a_body(dial: Dial) -> None:
    go = threading.Event()

    class Late(Hello):
        http_limits = HTTPLimits(body_grace=SHORT, body_rate=1_000_000)

        def do_POST(self) -> None:
            first = self.rfile.read(1)
            began = time.monotonic()
            assert wait_until(lambda: time.monotonic() > began + 3 * SHORT)
            go.set()
            self.answer(first + self.rfile.read())

    client = dial(Late)
    client.send(get(method="POST", fields="Content-Length: 10\r\n") + b"w")
    assert go.wait(DEADLINE)
    client.send(b"hole body")
    assert client.response().body == b"whole body"


def test_size_of_a_body(dial: Dial) -> None:
    client = dial(limited(body_bytes=10))
    client.send(post(b"x" * 10) + post(b"x" * 11))
    assert client.response().status == 200
    assert client.response().status == 413
    assert client.rest() == b""


def test_size_of_a_chunked_body(dial: Dial) -> None:
    client = dial(limited(body_bytes=100))
    client.send(get(method="POST", fields="Transfer-Encoding: chunked\r\n") + b"3\r\nabc\r\n" * 100 + b"0\r\n\r\n")
    assert client.response().status == 413
    assert client.rest() == b""


def test_client_that_takes_nothing_is_cut_off(dial: Dial) -> None:
    errors = list[str]()

    class Sends(Hello):
        http_limits = HTTPLimits(send_seconds=SHORT)

        def do_GET(self) -> None:
            self.answer(b"x" * 50_000_000)

        def log_error(self, format: str, *args: object) -> None:
            errors.append(format % args)

    client = dial(Sends)
    client.send(get())
    client.file.readline()
    assert wait_until(lambda: bool(errors), DEADLINE)
    assert "Request timed out" in errors[0]
    assert len(client.rest()) < 50_000_000
