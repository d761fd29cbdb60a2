"""TLS on every engine: who gets in, what a handler is told, and who is turned away without holding up anybody."""

import hashlib
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import pytest

from portside import Limits
from portside.policy.tls import ContextTLS
from portside.telemetry import CloseReason, RefusalReason
from tests.conftest import DEADLINE
from tests.engines.instruments import BULK, PIECE, Journal, pattern
from tests.engines.kit import Kit, Stand, count_becomes, reset, rest, serving
from tests.tls.handlers import Fails, FailsAsync, Hurries, HurriesAsync, Tells, TellsAsync
from tests.tls.kit import PKI, fingerprint_of, secured

pytestmark = pytest.mark.usefixtures("no_leaks")

SOON = 0.05  # seconds after which a handshake's time is up
HELLO = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


def ask(stand: Stand, context: ssl.SSLContext, name: str = "localhost") -> bytes:
    with secured(stand.dial(), context, name) as client:
        client.sendall(b"hello\n")
        answer: bytes = client.recv(100)
        return answer


def shown(stand: Stand, context: ssl.SSLContext, name: str) -> bytes:
    """The certificate that a client is shown who asks for this name."""
    with secured(stand.dial(), context, name) as client:
        found: bytes = client.getpeercert(binary_form=True)
        return found


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_conversation(kit: Kit, pki: PKI, scheme: str) -> None:
    with serving(kit, kit.handlers.Echo, scheme=scheme, tls=pki.tls()) as stand:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with secured(stand.dial(), pki.trusting(version=version)) as client:
                client.sendall(b"one\ntwo\n")
                assert client.recv(4) + client.recv(4) == b"ONE\nTWO\n"
                assert client.version() == version.name.replace("_", ".")


def test_large_transfer_arrives_and_ends_with_a_goodbye(kit: Kit, pki: PKI) -> None:
    with serving(kit, kit.handlers.Bulk, tls=pki.tls()) as stand:
        context = pki.trusting()
        with context.wrap_socket(stand.dial(), server_hostname="localhost", suppress_ragged_eofs=False) as client:
            client.sendall(pattern(BULK))
            with client.makefile("rb") as file:
                answer = file.read()  # an end without close_notify would raise
    assert answer == hashlib.sha256(pattern(BULK)).digest() + pattern(BULK)


def test_handler_is_told_who_is_there(kit: Kit, pki: PKI) -> None:
    handler = TellsAsync if kit.is_async else Tells
    tls = pki.tls(client_ca=pki.ca, client_certificates="asked", alpn=("spam/2", "spam/1"))
    with serving(kit, handler, tls=tls) as stand:
        context = pki.trusting(cert=pki.ann, alpn=["spam/1", "spam/3"], version=ssl.TLSVersion.TLSv1_3)
        assert ask(stand, context) == b"Ann TLSv1.3 TLS_AES_256_GCM_SHA384 spam/1 localhost\n"
        context = pki.trusting(version=ssl.TLSVersion.TLSv1_2)
        assert ask(stand, context, "127.0.0.1") == b"None TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384 None None\n"


def test_answer_does_not_wait_for_the_tickets(kit: Kit, pki: PKI) -> None:
    """Nagle's algorithm would hold it back until the client has acknowledged them, which may take it 40 ms."""
    with serving(kit, HurriesAsync if kit.is_async else Hurries, tls=pki.tls()) as stand:
        assert ask(stand, pki.trusting()) == b"1\n"


def test_client_that_comes_back_resumes_its_session(kit: Kit, pki: PKI) -> None:
    context, session = pki.trusting(), None
    with serving(kit, kit.handlers.Echo, tls=pki.tls()) as stand:
        for resumed in (False, True, True):
            with context.wrap_socket(stand.dial(), server_hostname="localhost", session=session) as client:
                client.sendall(b"hello\n")
                assert client.recv(100) == b"HELLO\n"
                assert client.session_reused is resumed
                session = client.session  # of which there is one more for each connection


def test_certificate_by_name(kit: Kit, pki: PKI) -> None:
    with serving(kit, kit.handlers.Echo, tls=pki.named()) as stand:
        found = [shown(stand, pki.trusting(), name) for name in ("localhost", "SHOP.example.org", "a.example.net")]
        assert found == [fingerprint_of(path) for path in (pki.local, pki.shop, pki.any)]
        with pytest.raises(ssl.SSLCertVerificationError, match="is not valid for"):
            shown(stand, pki.trusting(), "a.b.example.net")


def test_context_of_the_programs_own(kit: Kit, pki: PKI) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pki.local)
    with serving(kit, kit.handlers.Echo, tls=ContextTLS(context)) as stand:
        assert ask(stand, pki.trusting()) == b"HELLO\n"


def leave(client: Any) -> None:
    """Also where a forked child holds a copy of the client's descriptor."""
    socket.socket.shutdown(client, socket.SHUT_RDWR)
    client.close()


def say_goodbye_and_leave(client: Any) -> None:
    client.settimeout(0)
    with suppress(OSError):
        client.unwrap()
    leave(client)


def shaken(stand: Stand, pki: PKI) -> Any:
    """A client behind its handshake, to be closed by hand."""
    return pki.trusting().wrap_socket(stand.dial(), server_hostname="localhost")


@pytest.mark.parametrize("how", [leave, say_goodbye_and_leave, reset])
def test_client_that_leaves_is_no_failure(kit: Kit, pki: PKI, journal: Journal, how: Callable[[Any], None]) -> None:
    if how is reset and kit.forks:
        pytest.skip("a copy in the child is not reset")
    with serving(kit, kit.handlers.Floods, tls=pki.tls(), handler_args={"journal": journal}) as stand:
        client = shaken(stand, pki)
        client.recv(100)
        how(client)
        assert journal.next("ConnectionClosed").reason == CloseReason.CLIENT_LEFT
    assert journal.all("HandlerFailed") == []


def test_client_that_ends_its_side_and_reads_nothing_holds_nobody_up(kit: Kit, pki: PKI, journal: Journal) -> None:
    """asyncio drops what is written to it, and a handler that goes on writing must not keep the loop."""
    if kit.is_serial:
        pytest.skip("one client at a time")
    with serving(kit, kit.handlers.Floods, tls=pki.tls(), handler_args={"journal": journal}) as stand:
        client = shaken(stand, pki)
        client.sendall(bytes(PIECE * 4))  # more than a reader keeps that nobody reads from
        socket.socket.shutdown(client, socket.SHUT_WR)
        with secured(stand.dial(), pki.trusting()) as other:
            assert len(other.recv(PIECE)) > 0
            leave(other)
        leave(client)


def test_client_that_breaks_the_encryption_is_no_failure(kit: Kit, pki: PKI, journal: Journal) -> None:
    with serving(kit, kit.handlers.Echo, tls=pki.tls()) as stand:
        client = shaken(stand, pki)
        with socket.socket(fileno=client.detach()) as plain:
            plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))  # a record that nobody has encrypted
            plain.settimeout(DEADLINE)
            rest(plain)
        reasons = (CloseReason.CLIENT_LEFT,) if kit.is_async else (CloseReason.BAD_INPUT,)
        assert journal.next("ConnectionClosed").reason in reasons
    assert journal.all("HandlerFailed") == []


def test_failure_of_a_handler_is_one(kit: Kit, pki: PKI, journal: Journal) -> None:
    """Also where it looks like the network's."""
    handler = FailsAsync if kit.is_async else Fails
    with serving(kit, handler, tls=pki.tls()) as stand:
        with secured(stand.dial(), pki.trusting()) as client:
            assert client.recv(100) == b""
        closed = journal.next("ConnectionClosed")
        assert closed.reason == CloseReason.FAILED
        assert closed.bytes_out > 700  # the certificate is among them
    assert [entry.error for entry in journal.all("HandlerFailed")] == ["ConnectionResetError"]


# Who is turned away


def test_client_without_a_certificate_is_turned_away(kit: Kit, pki: PKI, journal: Journal) -> None:
    with serving(kit, kit.handlers.Echo, tls=pki.tls(client_ca=pki.ca)) as stand:
        for options in ({}, {"cert": pki.mallory}):
            with pytest.raises(OSError), secured(stand.dial(), pki.trusting(**options)) as client:
                client.sendall(b"hello\n")  # with TLS 1.3 a client is through before the server has seen who it is
                assert client.recv(100) == b""
                raise ssl.SSLError("ended without a word")
            assert journal.next("ConnectionClosed").reason == CloseReason.BAD_INPUT
        assert ask(stand, pki.trusting(cert=pki.ann)) == b"HELLO\n"
    assert journal.all("HandlerFailed") == []


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", CloseReason.TIMED_OUT),
        (b"\x16\x03\x01\x02\x00\x01", CloseReason.TIMED_OUT),
        (HELLO, CloseReason.BAD_INPUT),
        (bytes(range(256)), CloseReason.BAD_INPUT),
    ],
    ids=["silent", "half-open", "http", "garbage"],
)
def test_no_handshake_is_no_failure(kit: Kit, pki: PKI, journal: Journal, said: bytes, reason: CloseReason) -> None:
    seconds = SOON if reason is CloseReason.TIMED_OUT else DEADLINE
    with serving(kit, kit.handlers.Echo, tls=pki.tls(handshake_timeout=seconds)) as stand:
        with stand.dial() as client:
            client.sendall(said)
            assert b"HTTP" not in rest(client)
        assert journal.next("ConnectionClosed").reason == reason
    assert journal.all("HandlerFailed", "ConnectionRefused") == []


def test_client_that_only_tries_the_port_has_left(kit: Kit, pki: PKI, journal: Journal) -> None:
    with serving(kit, kit.handlers.Echo, tls=pki.tls()) as stand:
        stand.dial().close()
        assert journal.next("ConnectionClosed").reason == CloseReason.CLIENT_LEFT
    assert journal.all("HandlerFailed") == []


def test_client_of_an_older_version_is_turned_away(kit: Kit, pki: PKI, journal: Journal) -> None:
    with serving(kit, kit.handlers.Echo, tls=pki.tls(minimum_version=ssl.TLSVersion.TLSv1_3)) as stand:
        with suppress(OSError), secured(stand.dial(), pki.trusting(version=ssl.TLSVersion.TLSv1_2)):
            pytest.fail("it was let in")
        assert journal.next("ConnectionClosed").reason == CloseReason.BAD_INPUT


def test_silent_clients_hold_nobody_up(kit: Kit, pki: PKI) -> None:
    if kit.is_serial:
        pytest.skip("one client at a time")
    with serving(kit, kit.handlers.Echo, tls=pki.tls()) as stand, ExitStack() as silent:
        for said in (b"", b"\x16\x03\x01") * 5:
            silent.enter_context(stand.dial()).sendall(said)
        assert ask(stand, pki.trusting()) == b"HELLO\n"


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_drain_does_not_wait_for_handshakes(kit: Kit, pki: PKI, journal: Journal, scheme: str) -> None:
    if kit.is_serial:
        pytest.skip("the loop's own thread is in the handshake")
    with serving(kit, kit.handlers.Echo, scheme=scheme, tls=pki.tls(handshake_timeout=10 * DEADLINE)) as stand:
        silent = stand.dial()
        journal.next("ConnectionOpened")
        stand.server.shutdown(drain=DEADLINE)
        rest(silent)
        # A child does not know that it was its parent who ended the stream.
        expected = CloseReason.CLIENT_LEFT if kit.forks else CloseReason.CUT
        assert journal.next("ConnectionClosed").reason == expected


def test_nothing_leaves_in_the_clear(kit: Kit, pki: PKI) -> None:
    """Whatever a handler does with what it is given."""
    with serving(kit, _answer_raw_async if kit.is_async else _answer_raw, tls=pki.tls()) as stand:
        with stand.dial() as client:
            client.sendall(HELLO)
            assert b"SECRET" not in rest(client)
        with suppress(OSError), secured(stand.dial(), pki.trusting()) as client:
            client.recv(100)


def _answer_raw(request: socket.socket, *_: object) -> None:
    request.sendall(b"SECRET")


async def _answer_raw_async(request: Any, *_: object) -> None:
    request.transport.write(b"SECRET")


def shaking(stand: Stand) -> int:
    """Handshakes under way."""
    admission = stand.server._portside.admission
    return 0 if admission is None else len(admission._shaking)


def test_the_oldest_handshake_makes_room(kit: Kit, pki: PKI, journal: Journal) -> None:
    if kit.is_serial or kit.forks:
        pytest.skip("one handshake in a process")
    with serving(kit, kit.handlers.Echo, tls=pki.tls(), limits=Limits(handshakes=2)) as stand:
        silent = []
        for number in (1, 2, 2):
            silent.append(stand.dial())
            assert count_becomes(number, of=partial(shaking, stand))
        assert rest(silent[0]) == b""
        assert journal.next("ConnectionRefused").reason == RefusalReason.HANDSHAKES
        silent[1].close()
        assert ask(stand, pki.trusting()) == b"HELLO\n"
