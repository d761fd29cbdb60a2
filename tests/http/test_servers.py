"""HTTPServer and its family: names, engines, and TLS whose handshake holds nobody up."""

import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from portside.http.server import HTTPServer, HTTPSServer, ThreadingHTTPServer, ThreadingHTTPSServer
from portside.telemetry import CloseReason, ConnectionClosed, HandlerFailed, subscribe
from tests.conftest import DEADLINE, Connect, wait_until
from tests.http.conftest import Dial, Serve
from tests.http.kit import Client, get, post, trusting
from tests.http.test_handler import Hello


def shake_hands(context: ssl.SSLContext, sock: socket.socket) -> Client:
    return Client(context.wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False))


@pytest.mark.parametrize("server_class", [HTTPServer, ThreadingHTTPServer])
def test_one_class_for_each_engine(serve: Serve, dial: Dial, server_class: type[HTTPServer]) -> None:
    client = dial(serve(Hello, server_class))
    client.send(get("/a", fields="Connection: close\r\n"))
    assert client.response().body == b"hello /a"


def test_names_are_not_looked_up(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda *_: pytest.fail("a name was looked up"))
    server = serve(Hello)
    assert (server.server_name, server.server_port) == ("127.0.0.1", server.server_address[1])


def test_every_interface_is_called_by_the_machines_name() -> None:
    with HTTPServer(("", 0), Hello) as server:
        assert server.server_name == socket.gethostname()


def test_tls(serve: Serve, connect: Connect, certificate: dict[str, Any]) -> None:
    server = serve(Hello, ThreadingHTTPSServer, **certificate)
    client = shake_hands(trusting(certificate), connect(server.server_address))
    client.send(get("/a"), post(b"x" * 300_000), get("/b", fields="Connection: close\r\n"))
    assert [len(client.response().body) for _ in range(3)] == [8, 300_004, 8]
    assert client.rest() == b""  # and not an error: the server has said goodbye
    client.close()


def test_tls_without_threads(serve: Serve, connect: Connect, certificate: dict[str, Any]) -> None:
    server = serve(Hello, HTTPSServer, **certificate)
    client = shake_hands(trusting(certificate), connect(server.server_address))
    client.send(get("/a", fields="Connection: close\r\n"))
    assert client.response().body == b"hello /a"
    client.close()


def test_refused_request_over_tls_ends_properly(serve: Serve, connect: Connect, certificate: dict[str, Any]) -> None:
    server = serve(Hello, ThreadingHTTPSServer, **certificate)
    client = shake_hands(trusting(certificate), connect(server.server_address))
    client.send(b"nonsense\r\n\r\n")
    assert b"Bad request syntax" in client.rest()
    client.close()


def test_alpn(serve: Serve, connect: Connect, certificate: dict[str, Any]) -> None:
    server = serve(Hello, ThreadingHTTPSServer, **certificate, alpn_protocols=["http/1.1", "http/1.0"])
    context = trusting(certificate)
    context.set_alpn_protocols(["http/1.0", "http/1.1"])
    client = shake_hands(context, connect(server.server_address))
    assert isinstance(client.sock, ssl.SSLSocket)
    assert client.sock.selected_alpn_protocol() == "http/1.1"
    client.close()


def test_silent_clients_hold_nobody_up(serve: Serve, connect: Connect, certificate: dict[str, Any]) -> None:
    server = serve(Hello, ThreadingHTTPSServer, **certificate)
    silent = [connect(server.server_address) for _ in range(5)]
    client = shake_hands(trusting(certificate), connect(server.server_address))
    client.send(get("/a"))
    assert client.response().body == b"hello /a"
    client.close()
    for sock in silent:
        sock.close()


@pytest.mark.parametrize(
    ("said", "reason"), [(b"", CloseReason.TIMED_OUT), (b"GET / HTTP/1.1\r\n\r\n", CloseReason.BAD_INPUT)]
)
def test_client_without_a_handshake_is_no_failure(
    serve: Serve, connect: Connect, certificate: dict[str, Any], said: bytes, reason: CloseReason
) -> None:
    closed, failed = list[ConnectionClosed](), list[HandlerFailed]()
    with subscribe(closed.append, ConnectionClosed), subscribe(failed.append, HandlerFailed):
        hurried = type("Hurried", (ThreadingHTTPSServer,), {"handshake_timeout": 0.1 if not said else DEADLINE})
        client = connect(serve(Hello, hurried, **certificate).server_address)
        client.sendall(said)
        while client.recv(1000):
            pass
        assert wait_until(lambda: bool(closed))
    assert (closed[0].reason, failed) == (reason, [])


def test_client_that_only_tries_the_port_has_left(serve: Serve, connect: Connect, certificate: dict[str, Any]) -> None:
    closed = list[ConnectionClosed]()
    with subscribe(closed.append, ConnectionClosed):
        connect(serve(Hello, ThreadingHTTPSServer, **certificate).server_address).close()
        assert wait_until(lambda: bool(closed))
    assert closed[0].reason is CloseReason.CLIENT_LEFT


def test_wrong_certificate_is_told_before_anything_binds(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        HTTPSServer(("127.0.0.1", 0), Hello, certfile=tmp_path / "nowhere.pem")


def test_options_are_kept(certificate: dict[str, Any]) -> None:
    with HTTPSServer(("127.0.0.1", 0), Hello, **certificate) as server:
        kept: tuple[Any, ...] = (server.certfile, server.keyfile, server.password, server.alpn_protocols)
    assert kept == (certificate["certfile"], certificate["keyfile"], None, ["http/1.1"])
