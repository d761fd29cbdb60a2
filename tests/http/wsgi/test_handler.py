"""Applications on servers: the rules checked by `wsgiref.validate`, over real connections, on every engine that can."""

import http.client
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest

import portside
from portside import telemetry
from portside.http.wsgi.handler import METHODS, wsgi_handler
from portside.telemetry import ConnectionClosed, HandlerFailed, RequestServed
from tests.conftest import DEADLINE, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")

PLAIN = [("Content-Type", "text/plain")]
ENGINES: list[Any] = ["serial", "threads", "forks"]

Start = Callable[..., Any]
Environ = dict[str, Any]


def ask(server: Any, *requests: bytes) -> bytes:
    """Send requests at once, and read until the server ends the connection."""
    with server.endpoint.connect(DEADLINE) as client:
        client.sendall(b"".join(requests))
        return b"".join(iter(lambda: client.recv(65536), b""))


def get(target: str = "/", *fields: str, method: str = "GET", version: str = "1.1", last: bool = True) -> bytes:
    lines = [f"{method} {target} HTTP/{version}", "Host: x", *fields, *(["Connection: close"] if last else [])]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


# Applications


def shows(name: str) -> Callable[[Environ, Start], list[bytes]]:
    def application(environ: Environ, start_response: Start) -> list[bytes]:
        start_response("200 OK", list(PLAIN))
        return [repr(environ.get(name)).encode()]

    return application


def echo(environ: Environ, start_response: Start) -> Iterator[bytes]:
    start_response("200 OK", list(PLAIN))
    while data := environ["wsgi.input"].read(1000):
        yield data


def hello(_: Environ, start_response: Start) -> list[bytes]:
    start_response("200 OK", [*PLAIN, ("Content-Length", "5")])
    return [b"hello"]


def failing(_: Environ, __: Start) -> list[bytes]:
    raise LookupError("no cheese")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("application", [hello, echo, shows("PATH_INFO")])
def test_rules_are_kept(application: Any, engine: Any) -> None:
    failures: list[HandlerFailed] = []
    with (
        telemetry.subscribe(failures.append, HandlerFailed),
        portside.start(wsgi_handler(validator(application)), 0, engine=engine) as server,
    ):
        for request in (get(), get(method="HEAD"), get(version="1.0", last=False)):
            assert ask(server, request)[9:15] == b"200 OK"
    assert failures == []


@pytest.mark.parametrize(
    ("engine", "threads", "processes"), [("serial", False, False), ("threads", True, False), ("forks", False, True)]
)
def test_application_is_told_how_it_runs(engine: Any, threads: bool, processes: bool) -> None:
    for name, value in (("wsgi.multithread", threads), ("wsgi.multiprocess", processes), ("wsgi.run_once", False)):
        with portside.start(wsgi_handler(shows(name)), 0, engine=engine) as server:
            assert body(ask(server, get())) == repr(value).encode()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REQUEST_METHOD", "GET"),
        ("SCRIPT_NAME", ""),
        ("PATH_INFO", "/a b"),
        ("QUERY_STRING", "c=%20"),
        ("SERVER_NAME", "127.0.0.1"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_SOFTWARE", "Portside"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("HTTP_HOST", "x"),
        ("HTTP_X_A", "1,2"),
        ("CONTENT_TYPE", None),
        ("CONTENT_LENGTH", None),
        ("wsgi.version", (1, 0)),
        ("wsgi.url_scheme", "http"),
        ("wsgi.input_terminated", True),
    ],
)
def test_environ(name: str, value: Any) -> None:
    with portside.start(wsgi_handler(shows(name)), 0) as server:
        assert body(ask(server, get("/a%20b?c=%20", "X-A: 1", "X-A: 2", "X_A: 3"))) == repr(value).encode()


def test_environ_over_a_unix_socket(tmp_path: Path) -> None:
    for name, value in (("SERVER_NAME", "localhost"), ("SERVER_PORT", "80"), ("REMOTE_ADDR", None)):
        with portside.start(wsgi_handler(shows(name)), f"unix:{tmp_path}/socket") as server:
            assert body(ask(server, get())) == repr(value).encode()


def test_environ_belongs_to_its_request() -> None:
    def application(environ: Environ, start_response: Start) -> list[bytes]:
        seen = environ.get("mine"), environ.pop("HTTP_X_A", None)
        environ["mine"] = 1
        start_response("200 OK", [*PLAIN, ("Content-Length", "12")])
        return [repr(seen).encode().ljust(12)]

    with portside.start(wsgi_handler(application), 0) as server:
        got = ask(server, *[get("/", "X-A: 1", last=False)] * 2, get("/"))
    assert got.count(b"(None, '1') ") == 2
    assert got.count(b"(None, None)") == 1


# Methods, connections


@pytest.mark.parametrize("method", ["GET", *METHODS])
def test_every_method_reaches_the_application(method: str) -> None:
    with portside.start(wsgi_handler(shows("REQUEST_METHOD")), 0) as server:
        got = ask(server, get(method=method))
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert method == "HEAD" or body(got) == repr(method).encode()


def test_pipelined_requests_are_answered_in_order() -> None:
    with portside.start(wsgi_handler(shows("PATH_INFO")), 0) as server:
        got = ask(server, *(get(f"/{number}", last=number == 9) for number in range(10)))
    places = [got.index(f"'/{number}'".encode()) for number in range(10)]
    assert places == sorted(places)


def test_old_clients() -> None:
    with portside.start(wsgi_handler(echo), 0) as server:
        got = ask(server, get(version="1.0", last=False))
        assert got.startswith(b"HTTP/1.0 200 OK\r\n")
        assert b"Transfer-Encoding" not in got
    with portside.start(wsgi_handler(hello), 0) as server:
        stays = get("/", "Connection: keep-alive", version="1.0", last=False)
        got = ask(server, stays, get(version="1.0"))
        assert got.count(b"hello") == 2
        assert got.count(b"Connection: keep-alive\r\n") == 1


@pytest.mark.parametrize("fields", [(b"Content-Length: 200000",), (b"Transfer-Encoding: chunked",)])
def test_body_that_the_application_leaves_unread(fields: tuple[bytes, ...]) -> None:
    data = os.urandom(200_000)
    sent = data if fields[0].startswith(b"C") else b"30d40\r\n" + data + b"\r\n0\r\n\r\n"
    request = get("/", *(field.decode() for field in fields), method="POST", last=False) + sent
    with portside.start(wsgi_handler(hello), 0) as server:
        assert ask(server, request, get()).count(b"hello") == 2


@pytest.mark.parametrize("chunked", [False, True])
def test_body_of_a_request(chunked: bool) -> None:
    data = os.urandom(300_000)
    with portside.start(wsgi_handler(validator(echo)), 0) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.endpoint.port, timeout=DEADLINE)
        for _ in range(2):
            client.request("POST", "/", iter([data[:7], data[7:]]) if chunked else data)
            assert client.getresponse().read() == data
        client.close()


def test_client_that_asks_before_it_sends() -> None:
    with portside.start(wsgi_handler(echo), 0) as server, server.endpoint.connect(DEADLINE) as client:
        client.sendall(get("/", "Content-Length: 5", "Expect: 100-continue", method="POST", last=False))
        with client.makefile("rb") as answers:
            assert [answers.readline() for _ in range(2)] == [b"HTTP/1.1 100 Continue\r\n", b"\r\n"]
            client.sendall(b"hello" + get())
            rest = answers.read()
    assert rest.count(b"HTTP/1.1 200 OK") == 2  # and the connection went on


def test_client_that_asks_and_is_not_told_to_send() -> None:
    with portside.start(wsgi_handler(hello), 0) as server:
        got = ask(server, get("/", "Content-Length: 5", "Expect: 100-continue", method="POST", last=False))
    assert b"100 Continue" not in got
    assert b"Connection: close\r\n" in got


def test_client_that_is_answered_before_it_sends_is_not_told_to_go_on() -> None:
    def application(environ: Environ, start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", list(PLAIN))
        yield b"first"
        yield environ["wsgi.input"].read()

    with portside.start(wsgi_handler(application), 0) as server, server.endpoint.connect(DEADLINE) as client:
        client.sendall(get("/", "Content-Length: 4", "Expect: 100-continue", method="POST", last=False))
        with client.makefile("rb") as answers:
            while answers.readline() != b"first\r\n":
                continue
            client.sendall(b"body")
            assert answers.read() == b"4\r\nbody\r\n0\r\n\r\n"


# Failures


def test_failure_is_told_to_both_sides() -> None:
    failures: list[HandlerFailed] = []
    with telemetry.subscribe(failures.append, HandlerFailed), portside.start(wsgi_handler(failing), 0) as server:
        got = ask(server, get(last=False))
    assert got.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"cheese" not in got
    assert [repr(each.error) for each in failures] == ["LookupError('no cheese')"]


def test_failure_in_the_middle_is_seen_by_the_client() -> None:
    def application(_: Environ, start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", list(PLAIN))
        yield b"begun"
        raise LookupError("no cheese")

    failures: list[HandlerFailed] = []
    with telemetry.subscribe(failures.append, HandlerFailed), portside.start(wsgi_handler(application), 0) as server:
        got = ask(server, get(last=False))
    assert got.endswith(b"5\r\nbegun\r\n")
    assert len(failures) == 1


def test_body_that_is_bad_is_the_clients_fault() -> None:
    failures: list[HandlerFailed] = []
    with telemetry.subscribe(failures.append, HandlerFailed), portside.start(wsgi_handler(echo), 0) as server:
        got = ask(server, get("/", "Transfer-Encoding: chunked", method="POST", last=False), b"spam\r\n")
    assert got.startswith(b"HTTP/1.1 400 ")
    assert failures == []


def test_client_that_leaves_is_no_failure() -> None:
    closed = threading.Event()

    class Endless:
        def __iter__(self) -> Iterator[bytes]:
            return itertools.repeat(bytes(100_000))

        def close(self) -> None:
            closed.set()

    def application(_: Environ, start_response: Start) -> Endless:
        start_response("200 OK", list(PLAIN))
        return Endless()

    heard: list[Any] = []
    with (
        telemetry.subscribe(heard.append, HandlerFailed, ConnectionClosed),
        portside.start(wsgi_handler(application), 0) as server,
    ):
        with server.endpoint.connect(DEADLINE) as client:
            client.sendall(get())
            assert client.recv(10)
        assert closed.wait(DEADLINE)
        assert wait_until(lambda: bool(heard))
    assert [str(each.reason) for each in heard] == ["client left"]


def test_what_is_no_application() -> None:
    with pytest.raises(TypeError, match="cannot be called"):
        wsgi_handler(5)  # type: ignore[arg-type]


# Files


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_files_are_sent(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)

    def application(environ: Environ, start_response: Start) -> Any:
        start_response("200 OK", list(PLAIN))
        return environ["wsgi.file_wrapper"]((tmp_path / "file").open("rb"))

    with portside.start(wsgi_handler(application), 0) as server:
        got = ask(server, get())
        assert body(got) == data
        assert f"Content-Length: {size}\r\n".encode() in got
        assert body(ask(server, get(method="HEAD"))) == b""


# What telemetry hears


def test_requests_are_told() -> None:
    heard: list[RequestServed] = []
    with telemetry.subscribe(heard.append, RequestServed), portside.start(wsgi_handler(hello), 0) as server:
        ask(server, get("/a?b", "User-Agent: me", last=False), get(method="HEAD"))
        assert wait_until(lambda: len(heard) == 2)
    first, second = heard
    assert (first.request_line, first.status, first.bytes_out) == ("GET /a?b HTTP/1.1", 200, 5)
    assert (first.headers.get("user-agent"), second.headers.get("user-agent")) == ("me", None)
    assert (second.bytes_out, second.seconds >= 0) == (0, True)


def test_errors_of_the_applications_own(capsys: pytest.CaptureFixture[str]) -> None:
    def application(environ: Environ, start_response: Start) -> list[bytes]:
        environ["wsgi.errors"].write("by the way\n")
        return hello(environ, start_response)

    with portside.start(wsgi_handler(application), 0) as server:
        ask(server, get())
    assert capsys.readouterr().err == "by the way\n"
