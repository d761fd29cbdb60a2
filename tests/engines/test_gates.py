"""Gates over every engine: what waits between accept and handler, and what is told of who is turned away there.

`Knock` stands for the gates that there are: it waits for a line, and what the line says decides.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from portside.connections import Connections
from portside.gates import Gate, TurnedAway
from portside.telemetry import CloseReason, RefusalReason
from tests.conftest import DEADLINE, wait_until
from tests.engines.instruments import Journal
from tests.engines.kit import Kit, Stand, asked, bound, count_becomes, dialled, rest, serving

pytestmark = pytest.mark.usefixtures("no_leaks")

NAME = ("192.0.2.7", 7)


def duplicate(request: Any) -> Any:
    """Another object for the same connection, in the place of the first."""
    other = type(request)(fileno=os.dup(request.fileno()))
    other.settimeout(request.gettimeout())
    request.close()
    return other


def reset(_: Any) -> None:
    raise ConnectionResetError("reset")


def too_late(_: Any) -> None:
    raise TimeoutError("too late")


def nonsense(_: Any) -> None:
    raise OSError("nonsense")


def turned_away(_: Any) -> None:
    raise TurnedAway(RefusalReason.UNTRUSTED, "not you")


def replaced(request: Any) -> None:
    raise TurnedAway(CloseReason.BAD_INPUT, "not you either", request=duplicate(request))


def broken(_: Any) -> None:
    raise LookupError("this gate was written to fail")


VERDICTS: dict[bytes, Callable[[Any], None]] = {
    b"reset\n": reset,
    b"late\n": too_late,
    b"nonsense\n": nonsense,
    b"refuse\n": turned_away,
    b"replace\n": replaced,
    b"break\n": broken,
}


class Knock(Gate):
    """A policy that is its own gate: waits for a line; who says "come" is let in, as somebody else."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def gate(self) -> Gate:
        return self

    def admit(self, server: Any, request: Any, client_address: Any) -> tuple[Any, Any]:
        self._journal.note("waits")
        word = b""
        while not word.endswith(b"\n"):
            if not (byte := request.recv(1)):
                raise ConnectionResetError("the client has left")
            word += byte
        if word in VERDICTS:
            VERDICTS[word](request)
        return duplicate(request), NAME


class Verified:
    """Stands before a server class: a client is refused by the name that the gate gave it."""

    welcome = NAME

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return bool(client_address == self.welcome)


def gated(kit: Kit, journal: Journal, **options: Any) -> contextlib.AbstractContextManager[Stand]:
    return serving(kit, kit.handlers.Echo, proxy_protocol=Knock(journal), hooks=(Verified,), **options)


def test_the_gate_decides_who_the_client_is_and_what_is_closed(kit: Kit, journal: Journal) -> None:
    with gated(kit, journal) as stand, stand.dial() as client:
        assert asked(client, b"come\nhello\n") == b"HELLO\n"
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == b""
        ended = journal.next("ConnectionClosed")
    assert (ended.client_address, ended.reason, ended.error) == (list(NAME), CloseReason.DONE, None)
    assert (ended.bytes_in, ended.bytes_out) == (11, 6)
    assert journal.all("HandlerFailed", "ConnectionRefused") == []


def test_verify_request_comes_behind_the_gate(kit: Kit, journal: Journal) -> None:
    with gated(kit, journal, welcome="nobody") as stand, stand.dial() as client:
        client.sendall(b"come\nhello\n")
        assert rest(client) == b""
        refused = journal.next("ConnectionRefused")
        journal.next("ConnectionClosed")
    assert (refused.client_address, refused.reason) == (list(NAME), RefusalReason.VERIFY_REQUEST)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        (b"reset\n", CloseReason.CLIENT_LEFT),
        (b"late\n", CloseReason.TIMED_OUT),
        (b"nonsense\n", CloseReason.BAD_INPUT),
        (b"replace\n", CloseReason.BAD_INPUT),
        (b"refuse\n", CloseReason.DONE),
    ],
)
def test_who_is_turned_away_is_no_failure(kit: Kit, journal: Journal, word: bytes, reason: CloseReason) -> None:
    with gated(kit, journal) as stand:
        with stand.dial() as client:
            client.sendall(word)
            assert rest(client) == b""
        assert journal.next("ConnectionClosed").reason == reason
        assert stand.server._portside.connections.all() == []
    assert [entry.reason for entry in journal.all("ConnectionRefused")] == ["untrusted"] * (word == b"refuse\n")
    assert journal.all("HandlerFailed") == []


def test_a_gate_that_breaks_is_a_failure(kit: Kit, journal: Journal) -> None:
    with gated(kit, journal) as stand, stand.dial() as client:
        client.sendall(b"break\n")
        assert rest(client) == b""
        assert journal.next("HandlerFailed").error == "LookupError"
        assert journal.next("ConnectionClosed").reason == CloseReason.FAILED


def test_who_waits_at_a_gate_holds_up_nobody(kit: Kit, journal: Journal) -> None:
    with gated(kit, journal) as stand, stand.dial() as slow:
        if kit.is_serial:
            return  # one client at a time, its gate included
        journal.next("waits")
        assert stand.ask(b"come\nhello\n") == b"HELLO\n"
        assert asked(slow, b"come\nme too\n") == b"ME TOO\n"


@pytest.mark.parametrize("drain", [0.0, DEADLINE])
def test_drain_reaches_who_waits_at_a_gate(kit: Kit, journal: Journal, drain: float) -> None:
    with gated(kit, journal, drain_timeout=drain) as stand, stand.dial() as client:
        journal.next("waits")
        stand.server.shutdown(drain=drain)
        assert stand.has_ended()
        assert rest(client) == b""
        ended = journal.next("ConnectionClosed")
    # A child is killed, or reads an end of which it cannot know whose doing it is.
    assert ended.reason in ({"cut", "failed", "client left"} if kit.forks else {"cut"})
    assert journal.all("HandlerFailed") == []


def test_force_cuts_who_waits_at_a_gate(kit: Kit, journal: Journal) -> None:
    with gated(kit, journal) as stand, stand.dial() as client:
        journal.next("waits")
        stand.server._portside.force()
        assert rest(client) == b""
        journal.next("ConnectionClosed")
    assert journal.all("HandlerFailed") == []


def test_single_requests_pass_the_gate_too(kit: Kit, journal: Journal) -> None:
    if kit.is_async:
        return  # without a loop a handler is run to its end before handle_request returns, with its client waiting
    with (
        bound(kit, kit.handlers.Echo, proxy_protocol=Knock(journal), hooks=(Verified,)) as server,
        dialled(server) as client,
    ):
        client.sendall(b"come\nhello\n")
        client.shutdown(socket.SHUT_WR)
        server.handle_request()
        assert rest(client) == b"HELLO\n"
        assert count_becomes(0, of=server._portside.engine.running)


def test_datagrams_have_no_gates(kit: Kit, journal: Journal) -> None:
    with (
        bound(kit, kit.handlers.DatagramEcho, scheme="udp", proxy_protocol=Knock(journal)) as server,
        pytest.raises(ValueError, match="proxy_protocol and tls are for connections"),
    ):
        server.serve_forever()


def test_record_keeps_what_it_knew() -> None:
    connections = Connections()
    one, other = socket.socketpair()
    with one, other:
        connections.add(one, "first")
        record = connections.get(one)
        assert record is not None
        opened = record.opened
        record.blame(CloseReason.TIMED_OUT, TimeoutError())
        assert wait_until(lambda: time.monotonic() > opened)
        connections.move(one, other, "second")
        assert (connections.get(one), connections.get(other)) == (None, record)
        assert (record.reason, record.opened, record.client_address) == (CloseReason.TIMED_OUT, opened, "second")
