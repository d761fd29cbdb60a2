"""What people suffered from in `socketserver`: guests too many, too quiet, endless. Numbers as in test_pains."""

import contextlib
import socketserver as stdlib
import threading
from typing import Any

import pytest

from portside import Limits, telemetry
from portside import socketserver as ours
from portside.telemetry import CloseReason, ConnectionClosed
from tests.conftest import DEADLINE, wait_until
from tests.pains.serving import LOOPBACK, client_of, read_all, serving

pytestmark = pytest.mark.usefixtures("no_leaks")

FACES = pytest.mark.parametrize("face", [stdlib, ours], ids=["stdlib", "ours"])
A_WHILE = 0.3  # seconds in which something does not happen
ENDLESS = 4 * 1024 * 1024  # bytes of a line; enough to show that nobody stops at any buffer's size


def server_of(face: Any, limits: Limits, lengths: list[int] | None = None) -> Any:
    """A server of either face, which has been told its limits; its handler says "!" and reads a line."""
    found: list[int] = [] if lengths is None else lengths

    def handle(self: Any) -> None:
        self.wfile.write(b"!")
        found.append(len(self.rfile.readline()))

    handler = type("Handler", (face.StreamRequestHandler,), {"handle": handle})
    return type("Server", (face.ThreadingTCPServer,), {"limits": limits})(LOOPBACK, handler)


@FACES
def test_03_connections_are_bounded_and_the_bound_recovers(face: Any) -> None:
    with serving(server_of(face, Limits(connections=3, refusal=b"busy"))) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client_of(server)) for _ in range(3)]
        assert [client.recv(1) for client in clients] == [b"!"] * 3
        with client_of(server) as fourth:
            assert fourth.recv(4) == (b"busy" if face is ours else b"!")
        for client in clients:
            client.close()
        assert face is stdlib or wait_until(lambda: not len(server._portside.connections))
        with client_of(server) as another:
            assert another.recv(4) == b"!"


@FACES
def test_08_a_client_that_says_nothing_has_a_deadline(face: Any) -> None:
    with serving(server_of(face, Limits(idle_seconds=A_WHILE / 3))) as server, client_of(server) as client:
        if face is ours:
            assert read_all(client) in (b"!", b"")  # nothing, where the deadline was over before the handler began
        else:
            assert client.recv(1) == b"!"
            client.settimeout(A_WHILE)
            with pytest.raises(TimeoutError):
                client.recv(1)


@FACES
def test_25_an_endless_line_fills_memory(face: Any) -> None:
    lengths: list[int] = []
    closed: list[Any] = []
    over = threading.Event()

    def note(event: ConnectionClosed) -> None:
        closed.append(event.reason)
        over.set()

    with (
        telemetry.subscribe(note, ConnectionClosed),
        serving(server_of(face, Limits(line_bytes=65_536), lengths)) as server,
        client_of(server) as client,
    ):
        with contextlib.suppress(ConnectionError):
            client.sendall(bytes(ENDLESS) + b"\n")
        if face is ours:
            assert over.wait(DEADLINE)
            assert (closed, lengths) == ([CloseReason.BAD_INPUT], [])
        else:
            assert wait_until(lambda: lengths == [ENDLESS + 1])
