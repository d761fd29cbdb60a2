"""A listener that a program has encrypted itself, as every tutorial does: no handshake holds up the accept loop."""

import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest

from portside import Limits
from portside.telemetry import CloseReason
from tests.engines.instruments import Journal
from tests.engines.kit import Kit, Stand, bound, rest
from tests.tls.kit import PKI
from tests.tls.test_engines import HELLO, SOON, ask

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture(autouse=True)
def takes_it(kit: Kit) -> None:
    if kit.is_async:
        pytest.skip("asyncio takes no encrypted socket")


class Asks:
    """Stands before a server class: whoever is verified has shaken hands."""

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return bool(request.cipher())


@contextmanager
def encrypted(kit: Kit, pki: PKI, **options: Any) -> Iterator[Stand]:
    """A server that serves, made as tutorials do."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pki.local)
    with bound(kit, kit.handlers.Echo, **options) as server, closing(Stand(server)) as stand:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        stand.start()
        yield stand


def test_conversation(kit: Kit, pki: PKI, journal: Journal) -> None:
    with encrypted(kit, pki, hooks=(Asks,)) as stand:
        assert [ask(stand, pki.trusting()) for _ in range(3)] == [b"HELLO\n"] * 3
        assert [journal.next("ConnectionClosed").reason for _ in range(3)] == [CloseReason.DONE] * 3
    assert journal.all("HandlerFailed", "ConnectionRefused") == []


def test_silent_clients_hold_nobody_up(kit: Kit, pki: PKI) -> None:
    if kit.is_serial:
        pytest.skip("one client at a time")
    with encrypted(kit, pki) as stand, ExitStack() as silent:
        for said in (b"", b"\x16\x03\x01") * 5:
            silent.enter_context(stand.dial()).sendall(said)
        assert ask(stand, pki.trusting()) == b"HELLO\n"


def test_who_does_not_shake_hands_is_no_failure(kit: Kit, pki: PKI, journal: Journal) -> None:
    with encrypted(kit, pki) as stand:
        with stand.dial() as client:
            client.sendall(HELLO)
            assert b"HTTP" not in rest(client)
        journal.next("ConnectionClosed")
        assert ask(stand, pki.trusting()) == b"HELLO\n"
    assert journal.all("HandlerFailed") == []


def test_handshake_has_its_time(kit: Kit, pki: PKI, journal: Journal) -> None:
    if kit.name == "green":
        pytest.skip("its listener makes the handshake when the handler first reads")
    with encrypted(kit, pki, limits=Limits(handshake_seconds=SOON)) as stand:
        with stand.dial() as silent:
            rest(silent)
        assert journal.next("ConnectionClosed").reason == CloseReason.TIMED_OUT
    assert journal.all("HandlerFailed") == []


def test_server_serves_again(kit: Kit, pki: PKI) -> None:
    with encrypted(kit, pki) as stand:
        assert ask(stand, pki.trusting()) == b"HELLO\n"
        stand.server.shutdown()
        assert stand.has_ended()
        stand.start()  # the same listener, which is known by now
        assert ask(stand, pki.trusting()) == b"HELLO\n"
