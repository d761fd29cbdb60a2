"""The keeper's queues and the door's books, by themselves."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from portside import Access, connections, socketserver
from portside import keeper as module
from portside.admission import Hosts
from portside.connections import Connection, Connections
from portside.farewell import LINGERING, Farewells
from portside.keeper import Keeper
from portside.policy.limits import NO_LIMITS, Limits
from portside.telemetry import CloseReason, RefusalReason
from tests.conftest import StillClock
from tests.core.kit import tcp_pair

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StillClock:
    still = StillClock()
    for each in (module, connections):
        monkeypatch.setattr(each, "time", still)
    return still


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = tcp_pair()
    with ours, theirs:
        yield ours, theirs


def test_without_rules_nobody_is_watched(ends: Any) -> None:
    keeper = Keeper(NO_LIMITS)
    keeper.enter(Connection(ends[0], ends[0].getpeername()))
    assert keeper.remaining() is None


def test_without_connections_nobody_wakes(clock: StillClock) -> None:
    assert Keeper(Limits()).remaining() is None


def test_a_connection_lasts_as_long_as_it_may(clock: StillClock, ends: Any) -> None:
    keeper, record = Keeper(Limits(idle_seconds=None, total_seconds=10)), Connection(ends[0], ends[0].getpeername())
    keeper.enter(record)
    assert keeper.remaining() == 10
    clock.now = 9.9
    keeper.look()
    assert record.reason is CloseReason.DONE
    clock.now = 10
    keeper.look()
    assert (record.reason, keeper.remaining()) == (CloseReason.TIMED_OUT, None)
    assert ends[1].recv(1) == b""


def test_one_that_is_not_idle_stays(clock: StillClock, ends: Any) -> None:
    keeper, record = Keeper(Limits(idle_seconds=400)), Connection(ends[0], ends[0].getpeername())
    keeper.enter(record)
    for look in range(1, 20):
        assert keeper.remaining() == 100
        clock.now = 100.0 * look
        keeper.look()  # the kernel, whose clock goes on as ever, has seen it move just now
    assert record.reason is CloseReason.DONE


def test_one_that_has_gone_is_forgotten(clock: StillClock, ends: Any) -> None:
    keeper, known = Keeper(Limits(total_seconds=10)), Connections()
    known.on_gone = keeper.leave  # as the door does
    known.add(ends[0], ends[0].getpeername())
    record = known.get(ends[0])
    assert record is not None
    keeper.enter(record)
    known.pop(ends[0])
    assert keeper.remaining() is None


def test_a_crowd_is_ended_some_at_a_time(clock: StillClock, ends: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOKS", 2)
    keeper = Keeper(Limits(idle_seconds=None, total_seconds=10))
    records = [Connection(ends[0], ends[0].getpeername()) for _ in range(5)]
    for record in records:
        keeper.enter(record)
    clock.now = 11
    for ended in (2, 4, 5):
        assert keeper.remaining() == 0
        keeper.look()
        assert [record.reason for record in records].count(CloseReason.TIMED_OUT) == ended
    assert keeper.remaining() is None


def test_a_record_follows_its_connection(ends: Any) -> None:
    known = Connections()
    gone: list[Connection] = []
    known.on_gone = gone.append
    known.add(ends[0], ends[0].getpeername())
    record = known.get(ends[0])
    with ends[0].dup() as heir:
        known.move(ends[0], heir)
        assert (known.get(ends[0]), known.get(heir), gone) == (None, record, [])
        known.pop(heir)
    assert gone == [record]


def test_hosts_are_counted_and_forgotten() -> None:
    hosts = Hosts()
    for host in (1, 1, 2):
        hosts.admit(host)
    hosts.leave(1)
    hosts.leave(2)
    assert [hosts.count(host) for host in (1, 2, 3)] == [1, 0, 0]
    hosts.leave(1)
    assert len(hosts) == 0


def test_those_who_linger_are_bounded() -> None:
    farewells = Farewells(b"busy\n")
    pairs = [tcp_pair() for _ in range(LINGERING + 10)]
    for ours, _ in pairs:
        farewells.say(ours)
        ours.close()
    assert len(farewells._lingering) == LINGERING
    for _, theirs in pairs:
        with theirs:
            assert theirs.recv(100) == b"busy\n"
    farewells.close()
    assert farewells.remaining() is None


def test_nothing_is_said_to_what_is_no_socket() -> None:
    farewells = Farewells(b"busy\n")
    for request in (None, (b"datagram", None), socket.socket):
        farewells.say(request)
    assert farewells.remaining() is None


def test_behind_a_proxy_a_client_is_judged_when_it_is_known() -> None:
    server_class: Any = type("Server", (socketserver.TCPServer,), {"proxy_protocol": "some policy"})
    server_class.limits, server_class.access = Limits(per_host=1), Access(deny=["127.0.0.0/8", "192.0.2.9"])
    with server_class(("127.0.0.1", 0), print) as server, contextlib.ExitStack() as stack:
        machine = server._portside
        machine._look_at_policies()
        door, requests = machine.admission, []
        for _ in range(4):
            for end in tcp_pair():
                requests.append(stack.enter_context(end))
        assert all(door.let_in(request, request.getpeername()) for request in requests[::2])
        known = [
            door.meet(request, (f"192.0.2.{last}", 1))
            for request, last in zip(requests[::2], (7, 7, 9, 8), strict=True)
        ]
        assert known == [None, RefusalReason.PER_HOST, RefusalReason.DENIED, None]
        machine.transport.closed(requests[0])
        assert door.meet(requests[2], ("192.0.2.7", 1)) is None
        for request in requests[::2]:
            machine.transport.closed(request)
        assert len(door._hosts) == 0
