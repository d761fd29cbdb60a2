"""Clients that are connected and not accepted when a drain begins: every engine serves them, within the drain."""

import contextlib
import math
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import DEADLINE, wait_until
from tests.engines.instruments import Gate, Journal
from tests.engines.kit import STREAMS, Kit, Stand, bound, reply, rest
from tests.pains.serving import queue_is

pytestmark = pytest.mark.usefixtures("no_leaks")

CLIENTS = 5


@contextlib.contextmanager
def at_the_door(kit: Kit, handler: Any, **options: Any) -> Iterator[tuple[Stand, list[Any]]]:
    """A server that accepts nobody, and is to be started; and clients in its queue, each of which has sent its line."""
    with bound(kit, handler, **options) as server, contextlib.closing(Stand(server)) as stand:
        server._portside.accept(False)
        server._portside.quiet = math.inf  # nobody is woken because a busy machine is slow
        clients = [stand.dial() for _ in range(CLIENTS)]
        for number, client in enumerate(clients):
            client.sendall(b"client %d\n" % number)
        if options.get("scheme") != "unix":  # on TCP, the last step of connecting is the kernel's own
            assert queue_is(server, CLIENTS)
        yield stand, clients


@contextlib.contextmanager
def draining(stand: Stand, seconds: float = DEADLINE) -> Iterator[None]:
    """The server has begun, and is drained in the block; the drain is over after it."""
    stand.start()
    assert wait_until(lambda: bool(stand.server._portside.lifecycle.running()))
    stopping = threading.Thread(target=stand.server.shutdown, kwargs={"drain": seconds})
    stopping.start()
    yield
    stopping.join(2 * DEADLINE)
    assert not stopping.is_alive()
    assert stand.has_ended()


def answers(clients: list[socket.socket]) -> list[bytes]:
    """What each is answered, before it leaves."""
    found = []
    for client in clients:
        found.append(reply(client))
        client.close()
    return found


EXPECTED = [b"CLIENT %d\n" % number for number in range(CLIENTS)]


@pytest.mark.parametrize("scheme", STREAMS)
def test_all_of_them_are_served(kit: Kit, scheme: str, journal: Journal) -> None:
    with at_the_door(kit, kit.handlers.Echo, scheme=scheme) as (stand, clients):
        assert journal.all("ConnectionOpened") == []
        with draining(stand):
            assert answers(clients) == EXPECTED
    assert [entry.reason for entry in journal.all("ConnectionClosed")] == ["done"] * CLIENTS
    assert [entry.cut for entry in journal.all("DrainFinished")] == [0]


def test_more_than_there_is_room_for(kit: Kit, journal: Journal) -> None:
    one = {kit.bound: 1} if kit.bound else {}
    with at_the_door(kit, kit.handlers.Echo, **one) as (stand, clients), draining(stand):
        assert answers(clients) == EXPECTED


def test_those_at_the_door_of_others_are_left_to_them(kit: Kit, journal: Journal) -> None:
    with at_the_door(kit, kit.handlers.Echo) as (stand, clients):
        stand.server._portside.shares_listener = True
        with stand.server.socket.dup() as others:
            with draining(stand):
                pass
            others.settimeout(DEADLINE)
            for client in clients:
                accepted, address = others.accept()
                accepted.close()
                assert address == client.getsockname()
    assert journal.all("ConnectionOpened") == []


def test_who_gets_no_handler_in_time_is_cut_and_told(kit: Kit, journal: Journal, gate: Gate) -> None:
    one = {kit.bound: 1} if kit.bound else {}
    arguments = {"journal": journal, "gate": gate}
    with at_the_door(kit, kit.handlers.Waits, handler_args=arguments, **one) as (stand, clients):
        with draining(stand, 3600.0):
            journal.next("waiting")  # in the only handler that there is room for
            stand.server._portside.force()
            rest(clients[0])  # it is cut: the drain is over, and gives nobody a handler any more
            gate.open()
        assert [rest(client) for client in clients[1:]] == [b""] * (CLIENTS - 1)
    told = journal.all("ConnectionClosed")
    assert len(told) == CLIENTS
    assert [entry.reason for entry in told].count("cut") >= CLIENTS - 1


def test_drain_that_was_asked_for_before_the_loop_began(kit: Kit) -> None:
    with at_the_door(kit, kit.handlers.Echo) as (stand, clients):
        stand.server.shutdown(drain=DEADLINE)
        stand.start()
        assert answers(clients) == EXPECTED
        assert stand.has_ended()
