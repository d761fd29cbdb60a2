"""Limits, access and deadlines, by every engine alike."""

import contextlib
import dataclasses
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portside import Access, Limits
from portside.framing import LengthPrefixed
from tests.conftest import DEADLINE, wait_until
from tests.engines import test_conformance as conformance
from tests.engines.instruments import Journal, pattern
from tests.engines.kit import DATAGRAMS, KITS, STREAMS, Kit, Stand, asked, bound, dialled, reply, rest, serving

pytestmark = pytest.mark.usefixtures("no_leaks")

ENGINES = [kit for kit in KITS if kit.name != "drop-in"]  # which is the serial one by another name
AT_ONCE = [kit for kit in ENGINES if not kit.is_serial]
SOON = 0.1  # seconds; of deadlines that a client lets pass, which nothing here measures


@pytest.fixture(params=ENGINES, ids=str)
def kit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kit:
    """Each engine in turn."""
    chosen: Kit = request.param
    if chosen.hides:
        monkeypatch.setitem(sys.modules, chosen.hides, None)
    return chosen


@contextlib.contextmanager
def coming_from(server: Any, host: str) -> Iterator[socket.socket]:
    """A client of another of this machine's addresses."""
    with socket.socket(server.address_family, server.socket_type) as client:
        client.settimeout(DEADLINE)
        client.bind((host, 0))
        client.connect(server.server_address)
        yield client


def fill(stand: Stand, count: int) -> list[socket.socket]:
    """So many clients, each of whom is being served."""
    clients = [stand.dial() for _ in range(count)]
    assert [asked(client, b"hello\n") for client in clients] == [b"HELLO\n"] * count
    return clients


def turned_away(stand: Stand) -> bytes:
    """What a client reads that is not let in."""
    with stand.dial() as client:
        return rest(client)


def is_served(stand: Stand) -> bool:
    """Whether a new client is."""
    with stand.dial() as client, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        return asked(client, b"hello\n") == b"HELLO\n"
    return False


# Who comes in


@pytest.mark.parametrize("kit", AT_ONCE, ids=str)
@pytest.mark.parametrize(
    ("limits", "reason"),
    [(Limits(connections=2), "connections"), (Limits(per_host=2), "per host")],
    ids=["connections", "per_host"],
)
def test_connections_are_bounded_and_the_bound_recovers(
    kit: Kit, limits: Limits, reason: str, journal: Journal
) -> None:
    with serving(kit, kit.handlers.Echo, limits=limits) as stand:
        for _ in range(2):
            clients = fill(stand, 2)
            assert turned_away(stand) == b""
            assert journal.next("ConnectionRefused").reason == reason
            for client in clients:
                client.close()
                journal.next("ConnectionClosed")
        assert is_served(stand)
    assert len(journal.all("ConnectionRefused")) == 2


@pytest.mark.parametrize("kit", AT_ONCE, ids=str)
def test_another_host_is_not_concerned(kit: Kit) -> None:
    with serving(kit, kit.handlers.Echo, limits=Limits(per_host=1)) as stand:
        fill(stand, 1)
        with coming_from(stand.server, "127.0.0.2") as client:
            assert asked(client, b"hello\n") == b"HELLO\n"


def test_new_connections_are_paced(kit: Kit, journal: Journal) -> None:
    limits = Limits(rate_per_host=0.001, burst_per_host=2)
    with serving(kit, kit.handlers.Echo, limits=limits) as stand:
        assert [stand.ask(b"hello\n") for _ in range(2)] == [b"HELLO\n"] * 2
        assert turned_away(stand) == b""
        assert journal.next("ConnectionRefused").reason == "rate"
        with coming_from(stand.server, "127.0.0.2") as client:
            assert asked(client, b"hello\n") == b"HELLO\n"


@pytest.mark.parametrize("kit", AT_ONCE, ids=str)
def test_a_refused_client_reads_why(kit: Kit) -> None:
    with serving(kit, kit.handlers.Echo, limits=Limits(connections=1, refusal=b"busy\n")) as stand:
        (client,) = fill(stand, 1)
        for _ in range(5):
            with stand.dial() as refused:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    refused.sendall(pattern(1_000))  # unread, it must not cost the client what it is told
                assert rest(refused) == b"busy\n"
        assert asked(client, b"still here\n") == b"STILL HERE\n"


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_networks_are_kept_out_and_let_in_again(kit: Kit, scheme: str, journal: Journal) -> None:
    access = Access(deny=["127.0.0.2"])
    handler = kit.handlers.Echo if scheme == "tcp" else kit.handlers.DatagramEcho
    with serving(kit, handler, scheme=scheme, access=access) as stand:
        for lift in (lambda: access.forget("127.0.0.2"), lambda: access.unban("127.0.0.2"), lambda: None):
            assert stand.ask(b"hello\n") == b"HELLO\n"
            with coming_from(stand.server, "127.0.0.2") as client, contextlib.suppress(OSError):
                client.sendall(b"hello\n")
                if access.refusal(None, client.getsockname()) is None:
                    assert reply(client) == b"HELLO\n"
                else:
                    journal.next("ConnectionRefused")
            lift()
            if not journal.all("lifted"):
                journal.note("lifted")
                access.ban("127.0.0.2", 1_000)
    assert [entry.reason for entry in journal.all("ConnectionRefused")] == ["denied", "banned"]


def test_users_are_kept_out(kit: Kit, journal: Journal) -> None:
    with serving(kit, kit.handlers.Echo, scheme="unix", access=Access(uids=[os.getuid()])) as stand:
        assert stand.ask(b"hello\n") == b"HELLO\n"
    with serving(kit, kit.handlers.Echo, scheme="unix", access=Access(uids=[os.getuid() + 1])) as stand:
        assert turned_away(stand) == b""
        assert journal.next("ConnectionRefused").reason == "denied"


def test_datagrams_are_paced(kit: Kit, journal: Journal) -> None:
    limits = Limits(datagrams_per_host=0.001, datagram_burst=2)
    with serving(kit, kit.handlers.DatagramEcho, scheme="udp", limits=limits) as stand, stand.dial() as client:
        assert [asked(client, word) for word in (b"one", b"two")] == [b"ONE", b"TWO"]
        client.send(b"three")
        assert journal.next("ConnectionRefused").reason == "rate"
        with coming_from(stand.server, "127.0.0.2") as other:
            assert asked(other, b"four") == b"FOUR"


# How long they stay

DEADLINES = [
    pytest.param(Limits(idle_seconds=SOON), id="idle"),
    pytest.param(Limits(read_seconds=SOON), id="read"),
    pytest.param(Limits(total_seconds=SOON), id="total"),
    pytest.param(Limits(min_rate=10, min_rate_seconds=SOON), id="min_rate"),
]
KEPT_ON_UNIX = [each for each in DEADLINES if each.id != "min_rate"]  # nobody counts the bytes


@pytest.mark.parametrize(
    ("scheme", "limits"),
    [
        *(pytest.param("tcp", *each.values, id=f"tcp-{each.id}") for each in DEADLINES),
        *(pytest.param("unix", *each.values, id=f"unix-{each.id}") for each in KEPT_ON_UNIX),
    ],
)
def test_a_silent_client_is_ended(kit: Kit, scheme: str, limits: Limits, journal: Journal) -> None:
    with serving(kit, kit.handlers.Echo, scheme=scheme, limits=limits) as stand:
        with stand.dial() as client:
            assert rest(client) == b""
        assert journal.next("ConnectionClosed").reason == "timed out"
        assert wait_until(lambda: is_served(stand))  # within a deadline, which a slow machine may miss
    assert journal.all("HandlerFailed") == []


def test_a_client_that_talks_on_and_on_is_ended_all_the_same(kit: Kit, journal: Journal) -> None:
    with serving(kit, kit.handlers.Echo, limits=Limits(total_seconds=SOON)) as stand, stand.dial() as client:
        with contextlib.suppress(ConnectionError):
            while asked(client, b"hello\n"):
                pass
        assert journal.next("ConnectionClosed").reason == "timed out"
    assert journal.all("HandlerFailed") == []


def test_a_client_that_trickles_is_ended(kit: Kit, journal: Journal) -> None:
    limits = Limits(min_rate=10_000, min_rate_seconds=SOON)
    with serving(kit, kit.handlers.Echo, limits=limits) as stand, stand.dial() as client:
        client.settimeout(SOON / 10)
        with contextlib.suppress(ConnectionError):
            while True:
                client.send(b".")
                with contextlib.suppress(TimeoutError):
                    if not client.recv(1):
                        break
        assert journal.next("ConnectionClosed").reason == "timed out"


@pytest.mark.parametrize("scheme", STREAMS)
def test_a_client_that_never_reads_is_ended(kit: Kit, scheme: str, journal: Journal) -> None:
    arguments = {"journal": journal}
    limits = Limits(write_seconds=SOON)
    options = {"scheme": scheme, "limits": limits, "handler_args": arguments}
    with serving(kit, kit.handlers.Floods, **options) as stand, stand.dial():
        journal.next("flooding")
        assert journal.next("ConnectionClosed").reason == "timed out"
    assert journal.all("HandlerFailed") == []


def test_what_a_client_never_takes_is_thrown_away(kit: Kit, journal: Journal) -> None:
    """The kernel would keep megabytes of it for minutes, behind a connection that is closed."""
    options = {"limits": Limits(write_seconds=SOON), "handler_args": {"journal": journal}}
    with serving(kit, kit.handlers.Floods, **options) as stand, stand.dial() as client:
        ends = client.getpeername()[1], client.getsockname()[1]
        journal.next("flooding")
        assert journal.next("ConnectionClosed").reason == "timed out"
        assert wait_until(lambda: not is_kept(ends))


def test_an_answer_outlives_a_client_that_falls_silent(kit: Kit, journal: Journal) -> None:
    """It was written in time, and its client may still be reading."""
    limits = Limits(read_seconds=SOON, write_seconds=60)
    with serving(kit, kit.handlers.Echo, limits=limits) as stand, stand.dial() as client:
        client.sendall(bytes(60_000) + b"\n")
        assert journal.next("ConnectionClosed").reason == "timed out"
        assert len(rest(client)) == 60_001


def is_kept(ends: tuple[int, int]) -> bool:
    """Whether the kernel has a connection between two ports of this machine (proc(5), /proc/net/tcp)."""
    found = (line.split()[1:3] for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return ends in {tuple(int(address.rpartition(":")[2], 16) for address in pair) for pair in found}


def test_a_silent_client_never_holds_a_worker(kit: Kit) -> None:
    room = {kit.bound: 1} if kit.bound else {}
    with serving(kit, kit.handlers.Echo, limits=Limits(idle_seconds=SOON), **room) as stand:
        silent = [stand.dial() for _ in range(2)]
        assert wait_until(lambda: is_served(stand))
        assert [rest(client) for client in silent] == [b"", b""]


def test_a_long_line_is_bad_input(kit: Kit, journal: Journal) -> None:
    with serving(kit, kit.handlers.Echo, limits=Limits(line_bytes=100)) as stand:
        with stand.dial() as client:
            assert asked(client, bytes(90) + b"\n") == bytes(90) + b"\n"
            with contextlib.suppress(ConnectionError):
                client.sendall(bytes(5_000))
            assert rest(client) == b""
        assert journal.next("ConnectionClosed").reason == "bad input"
    assert journal.all("HandlerFailed") == []


def test_a_long_frame_is_bad_input(kit: Kit, journal: Journal) -> None:
    frames = type("Frames", (kit.handlers.FrameEcho,), {"codec": LengthPrefixed(width=2)})
    with serving(kit, frames, limits=Limits(frame_bytes=100)) as stand, stand.dial() as client:
        client.sendall(LengthPrefixed(width=2).encode(bytes(101)))
        assert rest(client) == b""
        assert journal.next("ConnectionClosed").reason == "bad input"


# All at once, on what every engine has to do anyway

GUARDED = Limits(
    connections=1_000,
    per_host=1_000,
    rate_per_host=100_000,
    burst_per_host=1_000,
    datagrams_per_host=100_000,
    idle_seconds=1_000,
    read_seconds=1_000,
    total_seconds=1_000,
    min_rate=1,
    min_rate_seconds=1_000,
)


def guarded(kit: Kit) -> Kit:
    policies = {"limits": GUARDED, "access": Access(deny=["192.0.2.0/24"], uids=[os.getuid()])}
    servers = {scheme: type(each.__name__, (each,), dict(policies)) for scheme, each in kit.servers.items()}
    return dataclasses.replace(kit, servers=servers)


@pytest.mark.parametrize("scheme", STREAMS)
def test_conversations_go_on_as_ever(kit: Kit, scheme: str, journal: Journal) -> None:
    conformance.test_lines_come_back(guarded(kit), scheme)
    conformance.test_large_transfers_arrive_whole(guarded(kit), scheme)
    assert journal.all("ConnectionRefused", "HandlerFailed") == []


def test_many_come_and_go_as_ever(kit: Kit, journal: Journal) -> None:
    conformance.test_many_clients_at_once(guarded(kit))
    conformance.test_client_that_has_nothing_more_to_say_is_answered_still(guarded(kit))
    conformance.test_one_request_at_a_time(guarded(kit))
    conformance.test_server_serves_again_after_a_stop(guarded(kit))
    assert journal.all("ConnectionRefused", "HandlerFailed") == []


@pytest.mark.parametrize("scheme", DATAGRAMS)
def test_datagrams_go_on_as_ever(kit: Kit, scheme: str) -> None:
    if scheme == "udp":  # who sends Unix datagrams is known to nobody, and users are named
        conformance.test_datagrams_come_back(guarded(kit), scheme)


def test_what_is_told_is_told_as_ever(kit: Kit, journal: Journal) -> None:
    conformance.test_connection_is_told_to_the_byte(guarded(kit), journal)


def test_nothing_is_left_of_those_who_have_gone(kit: Kit) -> None:
    with serving(guarded(kit), kit.handlers.Echo) as stand:
        for _ in range(20):
            assert is_served(stand)
        door: Any = stand.server._portside.admission
        assert wait_until(lambda: len(door._hosts) == 0)
        assert wait_until(lambda: door.remaining() is None)


def test_policies_may_be_set_on_the_object(kit: Kit, journal: Journal) -> None:
    with bound(kit, kit.handlers.Echo) as server:
        server.access = Access(deny=["127.0.0.0/8"])
        with contextlib.closing(Stand(server)) as stand:
            stand.start()
            assert turned_away(stand) == b""
        assert journal.next("ConnectionRefused").reason == "denied"


def test_single_requests_are_looked_at_too(kit: Kit, journal: Journal) -> None:
    with bound(kit, kit.handlers.Echo, access=Access(deny=["127.0.0.0/8"])) as server, dialled(server) as client:
        server.handle_request()
        assert rest(client) == b""
        assert journal.next("ConnectionRefused").reason == "denied"


def test_a_program_may_use_the_names_for_itself(kit: Kit) -> None:
    with serving(kit, kit.handlers.Echo, limits={"mine": 1}, access="granted") as stand:
        assert is_served(stand)
