"""Fixtures for tests of HTTP: a server of the test's handler, and connections to it."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from portside.http.servers import GreenHTTPServer, HTTPServer, ThreadingHTTPServer
from tests.conftest import Connect
from tests.http.kit import Client, serving

Dial = Callable[[Any], Client]
Serve = Callable[..., Any]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A certificate for localhost and 127.0.0.1: the arguments that a server wants for it."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl command; on Debian: apt install openssl")
    folder = tmp_path_factory.mktemp("certificate")
    names = {"certfile": folder / "certificate.pem", "keyfile": folder / "key.pem"}
    line = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    also = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(names["keyfile"]), "-out", str(names["certfile"])]
    subprocess.run([*line.split(), *also, *files], check=True, capture_output=True, timeout=60)
    return names


# Modules whose servers are made once with threads and once with greenlets.
ON_BOTH_ENGINES = ("test_connecting", "test_ending", "test_handler", "test_limits", "test_quick", "test_smuggling")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have the tests of some modules run on both engines."""
    module = metafunc.module.__name__.rpartition(".")[2]
    if module in ON_BOTH_ENGINES and "server_class" in metafunc.fixturenames:
        metafunc.parametrize(
            "server_class", [ThreadingHTTPServer, GreenHTTPServer], ids=["threads", "green"], indirect=True
        )


@pytest.fixture
def server_class(request: pytest.FixtureRequest) -> type[HTTPServer]:
    """What `serve` makes where the test does not say."""
    chosen: type[HTTPServer] = getattr(request, "param", ThreadingHTTPServer)
    return chosen


@pytest.fixture
def serve(no_leaks: None, server_class: type[HTTPServer]) -> Iterator[Serve]:
    """`serve(Handler)` is a running server, closed with the test."""
    with ExitStack() as stack:

        def serve(handler: Any, chosen: type[HTTPServer] = server_class, **options: Any) -> Any:
            return stack.enter_context(serving(handler, chosen, **options))

        yield serve


@pytest.fixture
def dial(serve: Serve, connect: Connect) -> Iterator[Dial]:
    """`dial(server)` is a connection; `dial(Handler)` makes the server too."""
    with ExitStack() as stack:

        def dial(target: Any) -> Client:
            server = serve(target) if isinstance(target, type) else target
            client = Client(connect(server.server_address))
            stack.callback(client.close)
            return client

        yield dial
