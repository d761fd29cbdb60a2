"""Fixtures for tests of HTTP: a server of the test's handler, and connections to it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.conftest import Connect
from tests.http.kit import Client, serving

Dial = Callable[[Any], Client]
Serve = Callable[..., Any]


@pytest.fixture
def serve(no_leaks: None) -> Iterator[Serve]:
    """`serve(Handler)` is a running server with threads, closed with the test."""
    with ExitStack() as stack:
        yield lambda handler, *arguments, **options: stack.enter_context(serving(handler, *arguments, **options))


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
