"""The PROXY protocol over every engine: who a handler talks to, and who is not let in."""

import contextlib
import socket
from typing import Any

import pytest

from portside import ProxyHeader, ProxyProtocol
from portside.policy.proxy_tlvs import TLVType
from portside.telemetry import CloseReason
from tests.engines.instruments import Journal
from tests.engines.kit import STREAMS, Kit, Stand, asked, rest, serving

pytestmark = pytest.mark.usefixtures("no_leaks")

HERE = ["127.0.0.0/8", "::1"]
ELSEWHERE = ["192.0.2.0/24"]
CLIENT = ("203.0.113.9", 4711)
LINE = ProxyHeader(version=1, source=CLIENT, destination=("203.0.113.1", 25)).encode()
TOLD = ProxyHeader(
    source=("2001:db8::9", 4711, 0, 0),
    destination=("2001:db8::1", 25, 0, 0),
    tlvs=((TLVType.AUTHORITY, b"shop.example"), (TLVType.NOOP, bytes(600))),
).encode(checksum=True)


def behind(kit: Kit, policy: ProxyProtocol, **options: Any) -> contextlib.AbstractContextManager[Stand]:
    return serving(kit, kit.handlers.Named, proxy_protocol=policy, **options)


def said(client: Any, proxy: Any, line: bytes) -> bytes:
    return f"{client!r} {proxy!r} ".encode() + line


@pytest.mark.parametrize("scheme", STREAMS)
def test_client_behind_a_line(kit: Kit, scheme: str) -> None:
    proxy = ("127.0.0.1", None) if scheme == "tcp" else ("", None)
    with behind(kit, ProxyProtocol(trusted=HERE), scheme=scheme) as stand, stand.dial() as client:
        assert asked(client, LINE + b"one\n") == said(CLIENT, proxy, b"one\n")
        assert asked(client, b"two\n") == said(CLIENT, proxy, b"two\n")


def test_client_behind_a_binary_header(kit: Kit, journal: Journal) -> None:
    payload = b"x" * 50_000 + b"\n"
    with behind(kit, ProxyProtocol(trusted=HERE)) as stand, stand.dial() as client:
        expected = said(("2001:db8::9", 4711, 0, 0), ("127.0.0.1", "shop.example"), payload)
        assert asked(client, TOLD + payload) == expected
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == b""
        ended = journal.next("ConnectionClosed")
    assert (ended.client_address[0], ended.reason) == ("2001:db8::9", CloseReason.DONE)
    assert ended.bytes_in == len(TOLD) + len(payload)


@pytest.mark.parametrize("header", [LINE, TOLD], ids=["line", "binary"])
def test_header_in_pieces(kit: Kit, header: bytes) -> None:
    with behind(kit, ProxyProtocol(trusted=HERE)) as stand, stand.dial() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        for place in range(0, 40, 4):
            client.sendall(header[place : place + 4])
        assert asked(client, header[40:] + b"one\n").endswith(b" one\n")


@pytest.mark.parametrize("header", [ProxyHeader(local=True).encode(), b"PROXY UNKNOWN\r\n"])
def test_proxy_that_names_nobody_is_the_client(kit: Kit, header: bytes) -> None:
    with behind(kit, ProxyProtocol(trusted=HERE)) as stand, stand.dial() as client:
        own = client.getsockname()
        assert asked(client, header + b"one\n") == said(own, ("127.0.0.1", None), b"one\n")


class OnlyOne:
    """Stands before a server class: one client is welcome."""

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return bool(client_address == CLIENT)


def test_verify_request_is_asked_about_the_client(kit: Kit, journal: Journal) -> None:
    with behind(kit, ProxyProtocol(trusted=HERE), hooks=(OnlyOne,)) as stand:
        assert stand.ask(LINE + b"one\n").endswith(b" one\n")
        with stand.dial() as client:
            client.sendall(TOLD + b"one\n")
            assert rest(client) == b""
        refused = journal.next("ConnectionRefused")
    assert (refused.client_address[0], refused.reason) == ("2001:db8::9", "verify_request")


@pytest.mark.parametrize(
    ("policy", "sent"),
    [
        (ProxyProtocol(trusted=ELSEWHERE), b""),
        (ProxyProtocol(trusted=ELSEWHERE), LINE),
        (ProxyProtocol(trusted=ELSEWHERE, required=False), LINE),
        (ProxyProtocol(trusted=ELSEWHERE, required=False), TOLD),
    ],
)
def test_stranger_is_not_believed(kit: Kit, journal: Journal, policy: ProxyProtocol, sent: bytes) -> None:
    with behind(kit, policy) as stand, stand.dial() as client:
        client.sendall(sent)
        own = list(client.getsockname())
        assert rest(client) == b""
        refused = journal.next("ConnectionRefused")
        journal.next("ConnectionClosed")
    assert (refused.client_address, refused.reason) == (own, "untrusted")
    assert journal.all("HandlerFailed") == []


@pytest.mark.parametrize("sent", [b"hello\n", b"PROXY TCP4 nonsense\r\n", TOLD[:-1] + b"!", b"PROXY " + bytes(200)])
def test_proxy_that_sends_no_header_is_refused(kit: Kit, journal: Journal, sent: bytes) -> None:
    with behind(kit, ProxyProtocol(trusted=HERE)) as stand, stand.dial() as client:
        client.sendall(sent)
        assert rest(client) == b""
        assert journal.next("ConnectionClosed").reason == CloseReason.BAD_INPUT
    assert journal.all("HandlerFailed") == []


@pytest.mark.parametrize("trusted", [HERE, ELSEWHERE], ids=["here", "elsewhere"])
@pytest.mark.parametrize("line", [b"hello\n", b"\n", b"PONG\n"])
def test_who_may_come_directly_loses_no_byte(kit: Kit, trusted: list[str], line: bytes) -> None:
    with behind(kit, ProxyProtocol(trusted=trusted, required=False)) as stand, stand.dial() as client:
        assert asked(client, line) == said(client.getsockname(), None, line)


def test_who_may_come_directly_may_come_through_a_proxy(kit: Kit) -> None:
    with behind(kit, ProxyProtocol(trusted=HERE, required=False)) as stand:
        assert stand.ask(LINE + b"one\n") == said(CLIENT, ("127.0.0.1", None), b"one\n")


@pytest.mark.parametrize("sent", [b"", b"PROXY TCP4 "])
def test_header_that_does_not_come(kit: Kit, journal: Journal, sent: bytes) -> None:
    with behind(kit, ProxyProtocol(trusted=HERE, timeout=0.05)) as stand, stand.dial() as client:
        client.sendall(sent)
        assert rest(client) == b""
        assert journal.next("ConnectionClosed").reason == CloseReason.TIMED_OUT


@pytest.mark.parametrize("sent", [b"", b"PROXY TCP4 "])
def test_client_that_leaves_before_it_said_a_thing(kit: Kit, journal: Journal, sent: bytes) -> None:
    with behind(kit, ProxyProtocol(trusted=HERE)) as stand:
        with stand.dial() as client:
            client.sendall(sent)
        assert journal.next("ConnectionClosed").reason == CloseReason.CLIENT_LEFT
    assert journal.all("HandlerFailed") == []


class Patient:
    """Stands before a server class: only who has no deadline is welcome."""

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return request.gettimeout() is None


def test_the_deadline_is_the_headers_alone(kit: Kit) -> None:
    with behind(kit, ProxyProtocol(trusted=HERE), hooks=(Patient,)) as stand:
        assert stand.ask(LINE + b"one\n").endswith(b" one\n")


# The policy


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("10.1.2.3", 1), True),
        (("::ffff:10.1.2.3", 1, 0, 0), True),
        (("2001:db8::1", 1, 0, 0), True),
        (("2001:db8::1%eth0", 1, 0, 1), True),
        (("11.1.2.3", 1), False),
        (("::1", 1, 0, 0), False),
        ("/run/app.sock", False),
        ("", False),
        (("", 0), False),
        (None, False),
    ],
)
def test_whom_it_trusts(address: Any, expected: bool) -> None:
    assert ProxyProtocol(trusted=["10.0.0.0/8", "2001:db8::/32"]).trusts(address) is expected


@pytest.mark.parametrize(
    "options",
    [
        {"trusted": "10.0.0.0/8"},
        {"trusted": ["10.0.0.1/8"]},
        {"trusted": ["example.org"]},
        {"trusted": [], "timeout": 0},
        {"trusted": [], "timeout": float("inf")},
        {"trusted": [], "timeout": None},
    ],
)
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match="is not accepted; accepted"):
        ProxyProtocol(**options)
