"""What the tests of the failings found in Portside itself, so that it stays mended."""

import os
import signal
import socket
import ssl
import threading
from typing import Any

import pytest

from portside import socketserver, telemetry
from tests.conftest import DEADLINE
from tests.pains.observing import observe
from tests.pains.serving import LOOPBACK, answer, client_of, read_all, serving

pytestmark = pytest.mark.usefixtures("no_leaks")


def hold(request: Any, client_address: Any, server: Any) -> None:
    request.sendall(b"!")
    request.sendall(str(len(read_all(request))).encode())


def say_hello(request: Any, client_address: Any, server: Any) -> None:
    request.sendall(b"hello")


def test_the_async_loop_does_not_spin_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # a measured process may miss a wake-up
    assert observe("portside.socketserver", "out_of_descriptors", "AsyncTCPServer").seen["busy"] is False


@pytest.mark.parametrize("kind", ["ThreadingTCPServer", "ForkingTCPServer"])
def test_a_child_closes_its_copy_of_the_server(kind: str) -> None:
    with serving(getattr(socketserver, kind)(LOOPBACK, hold)) as server:
        with client_of(server) as client:
            assert client.recv(1) == b"!"
            pid = os.fork()
            if not pid:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(int(DEADLINE))  # for one that waits for the parent's handler
                server.server_close()
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            client.sendall(b"123")
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b"3"
        assert answer(server, b"12") == b"!2"


def test_a_forked_handler_closes_the_server() -> None:
    def handle(request: Any, client_address: Any, server: Any) -> None:
        server.server_close()
        say_hello(request, client_address, server)

    with serving(socketserver.ForkingTCPServer(LOOPBACK, handle)) as server:
        assert [answer(server) for _ in range(2)] == [b"hello"] * 2


def test_a_request_that_cannot_be_referred_to_weakly() -> None:
    class Pairs(socketserver.TCPServer):
        def get_request(self) -> tuple[Any, Any]:
            request, address = super().get_request()
            return (request, "more"), address

        def shutdown_request(self, request: Any) -> None:
            super().shutdown_request(request[0])

    with serving(Pairs(LOOPBACK, lambda request, *_: request[0].sendall(b"hello"))) as server:
        assert [answer(server) for _ in range(2)] == [b"hello"] * 2


@pytest.mark.parametrize("kind", ["ThreadingTCPServer", "ThreadingUDPServer"])
def test_a_listener_with_a_timeout(kind: str) -> None:
    events: list[telemetry.Event] = []
    called = threading.Event()
    with telemetry.subscribe(events.append, telemetry.AcceptPaused):
        server = getattr(socketserver, kind)(LOOPBACK, lambda *_: called.set())
        server.socket.settimeout(3600)
        with serving(server):  # a loop that waits in accept() would outlast this block
            with socket.socket(type=server.socket_type) as client:
                client.connect(server.server_address)
                client.send(b"x")
                assert called.wait(DEADLINE)
            threading.Event().wait(0.1)
    assert events == []


def test_a_client_that_leaves_in_the_handshake_pauses_nobody() -> None:
    paused: list[telemetry.AcceptPaused] = []
    with telemetry.subscribe(paused.append, telemetry.AcceptPaused):
        server = socketserver.TCPServer(LOOPBACK, say_hello)
        server.socket = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).wrap_socket(server.socket, server_side=True)
        with serving(server):
            for _ in range(3):
                with client_of(server) as client:
                    client.shutdown(socket.SHUT_WR)
                    read_all(client)
    assert paused == []
