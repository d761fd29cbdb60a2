"""Every overridable hook is called, in the standard library's order and with its arguments, by every engine."""

import contextlib
import socket
import socketserver as standard
from typing import Any

import pytest

from portside.engines import GreenMixIn
from portside.servers import BaseServer
from tests.conftest import wait_until
from tests.engines.instruments import Journal, by_process
from tests.engines.kit import DATAGRAMS, KITS, SCHEMES, STREAMS, Busy, Kit, Stand, bound, dialled, rest, serving

pytestmark = pytest.mark.usefixtures("no_leaks")

SERVED = [
    "get_request",
    "verify_request",
    "process_request",
    "finish_request",
    "shutdown_request",
    "close_request",
]
FAILED = [*SERVED[:4], "handle_error", *SERVED[4:]]
REFUSED = [*SERVED[:2], *SERVED[4:]]

# The classes of the standard library that do what an engine of ours does (3.11 lacks the forking Unix ones).
STANDARD = [
    pytest.param(kit, scheme, getattr(standard, kit.servers[scheme].__name__), id=f"{kit}-{scheme}")
    for kit in KITS
    for scheme in SCHEMES
    if kit.like_standard and hasattr(standard, kit.servers[scheme].__name__)
]


class Watched:
    """Stands before a server class, ours or the standard library's, and notes each call of a hook."""

    journal: Journal
    verdict = True

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in FAILED:
            return found

        def noting(*arguments: Any) -> Any:
            given = found() if name == "get_request" else arguments  # what nobody was there for, is not noted
            self.journal.note(name, request=id(given[0]), client_address=given[1:])
            return {"get_request": given, "verify_request": self.verdict}[name] if name in SERVED[:2] else found(*given)

        return noting


def handler(kit: Kit, scheme: str, *, fails: bool) -> Any:
    return getattr(kit.handlers, ("Datagram" if scheme in DATAGRAMS else "") + ("Raises" if fails else "Echo"))


def say(client: socket.socket, word: bytes) -> None:
    """Send one request, whole; a server may have refused it already."""
    with contextlib.suppress(OSError):
        client.sendall(word if client.type == socket.SOCK_DGRAM else word + b"\n")
        client.shutdown(socket.SHUT_WR)


def run(kit: Kit, scheme: str, journal: Journal, *, fails: bool = False, **options: Any) -> Any:
    """Serve one request; returns the client's address once everything that was opened is closed."""
    closings = 1 + (kit.forks and options.get("verdict", True))
    served = handler(kit, scheme, fails=fails)
    with serving(kit, served, scheme=scheme, journal=journal, hooks=(Watched,), **options) as stand:
        client = stand.dial()
        say(client, b"raise" if fails else b"hello")
        assert wait_until(lambda: len(journal.all("close_request")) == closings)
        return client.getsockname()


def calls(journal: Journal) -> dict[bool, list[str]]:
    """The hooks' names by process: True is this one."""
    return {ours: [entry.kind for entry in entries] for ours, entries in by_process(journal.all(*FAILED))}


def wanted(order: list[str], kit: Kit) -> dict[bool, list[str]]:
    """The calls of one request; with forks, what the handler does is called in its process."""
    begun = order.index("process_request") + 1
    return {True: [*order[:begun], "close_request"], False: order[begun:]} if kit.forks else {True: order}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_hooks_are_called_in_order(kit: Kit, scheme: str, journal: Journal) -> None:
    run(kit, scheme, journal)
    assert calls(journal) == wanted(SERVED, kit)
    assert journal.all("HandlerFailed", "ConnectionRefused") == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_failed_request_is_told_and_closed(kit: Kit, scheme: str, journal: Journal) -> None:
    run(kit, scheme, journal, fails=True)
    assert calls(journal) == wanted(FAILED, kit)
    assert [entry.error for entry in journal.all("HandlerFailed")] == ["LookupError"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_refused_request_is_told_and_closed(kit: Kit, scheme: str, journal: Journal) -> None:
    run(kit, scheme, journal, verdict=False)
    assert calls(journal) == {True: REFUSED}
    assert [entry.reason for entry in journal.all("ConnectionRefused")] == ["verify_request"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_hooks_get_the_request_and_its_client(kit: Kit, scheme: str, journal: Journal) -> None:
    address = run(kit, scheme, journal, fails=True)
    entries = journal.all(*FAILED)
    assert len({entry.request for entry in entries}) == 1
    told = [entry.client_address[0] for entry in entries if entry.client_address]
    assert len(told) == 5
    assert told == 5 * [list(address) if isinstance(address, tuple) else address and repr(address)]


@pytest.mark.parametrize("fails", [False, True], ids=["served", "failed"])
@pytest.mark.parametrize(("kit", "scheme", "theirs"), STANDARD)
def test_standard_library_calls_the_same(kit: Kit, scheme: str, theirs: type, fails: bool, journal: Journal) -> None:
    run(kit, scheme, journal, fails=fails, base=theirs)
    assert calls(journal) == wanted(FAILED if fails else SERVED, kit)


# Hooks that concern no request


def test_service_actions_are_called_while_nobody_comes(kit: Kit, journal: Journal) -> None:
    with serving(kit, kit.handlers.Echo, hooks=(Busy,), journal=journal):
        for _ in range(3):
            journal.next("turn")


def test_service_actions_are_called_after_a_request(kit: Kit, journal: Journal) -> None:
    with bound(kit, kit.handlers.Tells, hooks=(Busy,), journal=journal, handler_args={"word": b"hello"}) as server:
        stand = Stand(server, poll_interval=3600)
        stand.start()
        assert stand.ask(b"") == b"hello"
        journal.next("turn")
        stand.close()


class Punctual(BaseServer):
    """Notes that nobody came."""

    journal: Journal

    def handle_timeout(self) -> None:
        super().handle_timeout()
        self.journal.note("timeout")


def test_handle_timeout_is_called_when_nobody_came(kit: Kit, journal: Journal) -> None:
    with bound(kit, kit.handlers.Echo, hooks=(Punctual,), journal=journal, timeout=0.02) as server:
        server.handle_request()
        assert len(journal.all("timeout")) == 1


def test_handle_timeout_is_not_called_when_somebody_came(kit: Kit, journal: Journal) -> None:
    arguments = {"word": b"hello"}
    with (
        bound(
            kit, kit.handlers.Tells, hooks=(Punctual,), journal=journal, timeout=30, handler_args=arguments
        ) as server,
        dialled(server) as client,
    ):
        server.handle_request()
        assert rest(client) == b"hello"
        assert journal.all("timeout") == []


@pytest.mark.parametrize("scheme", STREAMS)
def test_finish_request_may_be_overridden_to_choose_the_handler(kit: Kit, scheme: str) -> None:
    class Chooses:
        def finish_request(self, request: Any, client_address: Any) -> Any:
            return kit.handlers.Tells(request, client_address, self, word=b"chosen")

    with serving(kit, kit.handlers.Echo, scheme=scheme, hooks=(Chooses,)) as stand:
        assert stand.ask(b"") == b"chosen"


def test_green_needs_a_loop_of_ours() -> None:
    with pytest.raises(TypeError, match="GreenMixIn needs a server whose loop is Portside's"):
        type("Server", (GreenMixIn, standard.TCPServer), {})
