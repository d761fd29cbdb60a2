"""STARTTLS on every engine: TLS that begins in the middle of a connection, and nothing before it that counts after."""

import socket
import ssl
from contextlib import suppress
from typing import Any

import pytest

from portside.http.server import BaseHTTPRequestHandler, GreenHTTPServer, ThreadingHTTPServer
from portside.policy.tls import TLS
from portside.telemetry import CloseReason
from tests.conftest import DEADLINE
from tests.engines.instruments import Journal
from tests.engines.kit import Kit, asked, rest, serving
from tests.http.kit import serving as http
from tests.tls.handlers import Hurries, HurriesAsync, Starts, StartsAsync, StartsFramed, StartsFramedAsync
from tests.tls.kit import PKI, secured

pytestmark = pytest.mark.usefixtures("no_leaks")


def starting(pki: PKI, **options: Any) -> TLS:
    return pki.tls(starttls=True, **options)


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
@pytest.mark.parametrize("framed", [False, True], ids=["lines", "frames"])
def test_conversation(kit: Kit, pki: PKI, journal: Journal, scheme: str, framed: bool) -> None:
    blocking, coroutine = (StartsFramed, StartsFramedAsync) if framed else (Starts, StartsAsync)
    with serving(kit, coroutine if kit.is_async else blocking, scheme=scheme, tls=starting(pki)) as stand:
        plain = stand.dial()
        assert asked(plain, b"hello\n") == b"HELLO\n"
        assert asked(plain, b"STARTTLS\n") == b"GO\n"
        context = pki.trusting(version=ssl.TLSVersion.TLSv1_3)
        with context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as client:
            if not framed:
                assert client.recv(100) == b"None TLSv1.3 TLS_AES_256_GCM_SHA384 None localhost\n"
            assert asked(client, b"hello\n") == b"HELLO\n"
            if not framed:
                client.sendall(b"a\nb\n")
                assert client.recv(2) + client.recv(2) == b"A\nB\n"
            client.unwrap()  # which waits for the server's goodbye
        closed = journal.next("ConnectionClosed")
        assert closed.reason == CloseReason.DONE
        assert scheme == "unix" or closed.bytes_out > 1000  # the certificate is among them
    assert journal.all("HandlerFailed") == []


def test_small_writes_leave_at_once_from_then_on(kit: Kit, pki: PKI) -> None:
    with serving(kit, HurriesAsync if kit.is_async else Hurries, tls=starting(pki)) as stand:
        plain = stand.dial()
        assert asked(plain, b"STARTTLS\n") in (b"0\n", b"?\n")  # without TLS it is as the handler says
        with secured(plain, pki.trusting()) as client:
            assert client.recv(100) == b"1\n"


@pytest.mark.parametrize("framed", [False, True], ids=["lines", "frames"])
def test_what_comes_before_the_handshake_is_refused(kit: Kit, pki: PKI, journal: Journal, framed: bool) -> None:
    blocking, coroutine = (StartsFramed, StartsFramedAsync) if framed else (Starts, StartsAsync)
    with serving(kit, coroutine if kit.is_async else blocking, tls=starting(pki)) as stand:
        with stand.dial() as client:
            client.sendall(b"STARTTLS\nDELETE everything\n")
            with suppress(OSError):
                client.sendall(b"more\n")
            assert rest(client) in (b"GO\n", b"")
        closed = journal.next("ConnectionClosed")
        assert (closed.reason, closed.error) in (
            (CloseReason.BAD_INPUT, "TurnedAway"),
            (CloseReason.BAD_INPUT, None),  # of a child nobody hears more than its exit status
        )
    assert journal.all("HandlerFailed") == []


@pytest.mark.parametrize(
    ("said", "reason"), [(b"", CloseReason.TIMED_OUT), (b"EHLO\r\n" * 50, CloseReason.BAD_INPUT)], ids=["silent", "no"]
)
def test_client_that_does_not_begin(kit: Kit, pki: PKI, journal: Journal, said: bytes, reason: CloseReason) -> None:
    seconds = DEADLINE if said else 0.05
    handler = StartsAsync if kit.is_async else Starts
    with serving(kit, handler, tls=starting(pki, handshake_timeout=seconds)) as stand:
        with stand.dial() as client:
            assert asked(client, b"STARTTLS\n") == b"GO\n"
            with suppress(OSError):
                client.sendall(said)
            rest(client)
        assert journal.next("ConnectionClosed").reason == reason
    assert journal.all("HandlerFailed") == []


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_drain_does_not_wait_for_one_who_does_not_begin(kit: Kit, pki: PKI, journal: Journal, scheme: str) -> None:
    if kit.is_serial:
        pytest.skip("the loop's own thread is in the handshake")
    handler, tls = StartsAsync if kit.is_async else Starts, starting(pki, handshake_timeout=10 * DEADLINE)
    with serving(kit, handler, scheme=scheme, tls=tls) as stand:
        with stand.dial() as client:
            assert asked(client, b"STARTTLS\n") == b"GO\n"
            stand.server.shutdown(drain=DEADLINE)
            rest(client)
        journal.next("ConnectionClosed")
    assert journal.all("HandlerFailed") == []


@pytest.mark.parametrize(("options", "complaint"), [({}, "give the server tls="), ({"again": True}, "already")])
def test_wrong_use_is_told(kit: Kit, pki: PKI, journal: Journal, options: dict[str, Any], complaint: str) -> None:
    handler = StartsAsync if kit.is_async else Starts
    heard: list[str] = []
    hook = type("Hook", (), {"handle_error": lambda self, *_: heard.append(str(__import__("sys").exception()))})
    tls = pki.tls() if options else None
    if kit.forks:
        pytest.skip("what a child hears stays there")
    with serving(kit, handler, tls=tls, hooks=(hook,)) as stand:
        if tls is None:
            with stand.dial() as client:
                client.sendall(b"STARTTLS\n")
                assert rest(client) == b"GO\n"
        else:
            with suppress(OSError), secured(stand.dial(), pki.trusting()) as client:
                client.sendall(b"STARTTLS\n")
                assert client.recv(100) == b"GO\n"
                client.recv(100)
    assert complaint in heard[0]


@pytest.mark.parametrize("server_class", [ThreadingHTTPServer, GreenHTTPServer])
def test_http_has_it_from_the_beginning_or_not_at_all(pki: PKI, journal: Journal, server_class: type[Any]) -> None:
    class Upgrades(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with pytest.raises(ValueError, match="serve an https:// endpoint"):
                self.start_tls()
            self.start_tls()

    with http(Upgrades, type("Server", (server_class,), {"tls": starting(pki)})) as server:
        with socket.create_connection(server.server_address, DEADLINE) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert rest(client).startswith(b"HTTP/1.0 500 ")
        assert journal.next("HandlerFailed").error == "ValueError"
        assert journal.next("ConnectionClosed").reason == CloseReason.FAILED
