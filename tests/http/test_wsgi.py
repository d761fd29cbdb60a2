"""The drop-in for `wsgiref.simple_server`: its face, and programs that were written for it."""

import http.client
import wsgiref.simple_server as theirs
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from portside import wsgi as ours
from tests.conftest import DEADLINE
from tests.http.kit import running

pytestmark = pytest.mark.usefixtures("no_leaks")


@contextmanager
def serving(application: Any, **classes: Any) -> Iterator[Any]:
    with running(ours.make_server("127.0.0.1", 0, application, **classes)) as server:
        yield server


def get(server: Any, target: str = "/", **headers: str) -> tuple[int, bytes, Any]:
    client = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=DEADLINE)
    client.request("GET", target, headers=headers)
    answer = client.getresponse()
    found = answer.status, answer.read(), answer.headers
    client.close()
    return found


def hello(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


class Quiet(ours.WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.mark.parametrize("name", [*theirs.__all__, "ServerHandler"])
def test_names_and_methods_are_theirs(name: str) -> None:
    mine = getattr(ours, name)
    if isinstance(mine, type):
        assert {each for each in vars(getattr(theirs, name)) if not each.startswith("__")} - set(dir(mine)) == set()


def test_words_are_theirs() -> None:
    names = ("__version__", "server_version", "sys_version", "software_version")
    assert [getattr(ours, name) for name in names] == [getattr(theirs, name) for name in names]


def test_demo() -> None:
    with serving(ours.demo_app, handler_class=Quiet) as server:
        status, body, headers = get(server, "/a%20b?c", X_Own="1")
    assert status == 200
    assert headers["Server"] == ours.software_version
    assert body.startswith(b"Hello world!\n\n")
    for line in (
        b"PATH_INFO = '/a b'",
        b"QUERY_STRING = 'c'",
        b"REMOTE_ADDR = '127.0.0.1'",
        b"CONTENT_LENGTH = ''",
        b"CONTENT_TYPE = 'text/plain'",
        b"GATEWAY_INTERFACE = 'CGI/1.1'",
        b"SERVER_SOFTWARE = 'WSGIServer/0.2'",
        b"wsgi.multithread = False",
    ):
        assert line in body.splitlines()


@pytest.mark.parametrize(("version", "closes"), [("HTTP/1.0", True), ("HTTP/1.1", False)])
def test_connection_lasts_if_the_program_says_so(version: str, closes: bool) -> None:
    handler = type("Handler", (Quiet,), {"protocol_version": version})
    with serving(hello, handler_class=handler, server_class=ours.ThreadingWSGIServer) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=DEADLINE)
        client.request("GET", "/")
        answer = client.getresponse()
        assert (answer.read(), answer.will_close) == (b"hello", closes)
        client.close()


def test_log_and_errors_go_where_they_went(capsys: pytest.CaptureFixture[str]) -> None:
    def failing(*_: Any) -> list[bytes]:
        raise LookupError("no cheese")

    with serving(failing) as server:
        assert get(server)[0] == 500
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "Traceback (most recent call last):"
    assert said[-2] == "LookupError: no cheese"
    assert said[-1].endswith('"GET / HTTP/1.1" 500 59')


def test_application_can_be_changed() -> None:
    with serving(None, handler_class=Quiet) as server:
        assert server.get_app() is None
        server.set_app(hello)
        assert get(server)[1] == b"hello"


def test_program_that_extends_the_environ() -> None:
    class Handler(Quiet):
        def get_environ(self) -> dict[str, Any]:
            return super().get_environ() | {"mine": "1"}

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        hello(environ, start_response)
        return [environ["mine"].encode()]

    with serving(application, handler_class=Handler) as server:
        assert get(server)[1] == b"1"


def test_program_with_a_gateway_of_its_own() -> None:
    """As Django's development server is made."""

    class Gateway(ours.ServerHandler):
        http_version = "1.1"

    class Handler(Quiet):
        def handle(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.parse_request():
                return
            gateway = Gateway(self.rfile, self.wfile, self.get_stderr(), self.get_environ())
            gateway.request_handler = self
            gateway.run(self.server.get_app())

    with serving(hello, handler_class=Handler) as server:
        status, body, headers = get(server)
    assert (status, body, headers["Content-Length"]) == (200, b"hello", "5")
