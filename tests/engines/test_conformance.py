"""What a client and a handler may expect of every engine, over all four transports."""

import contextlib
import functools
import hashlib
import itertools
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portside.framing import LengthPrefixed
from tests.conftest import wait_until
from tests.engines.instruments import BULK, PIECE, Gate, Journal, pattern
from tests.engines.kit import DATAGRAMS, KITS, STREAMS, Kit, Stand, asked, bound, dialled, reply, reset, rest, serving

pytestmark = pytest.mark.usefixtures("no_leaks")

CLIENTS = 50
TALK = 5  # lines a client


def conversation(stand: Stand, number: int) -> list[bytes]:
    with dialled(stand.server) as client:
        return [asked(client, b"client %d says %d\n" % (number, line)) for line in range(TALK)]


def expected(number: int) -> list[bytes]:
    return [b"CLIENT %d SAYS %d\n" % (number, line) for line in range(TALK)]


# Serving


@pytest.mark.parametrize("scheme", STREAMS)
def test_lines_come_back(kit: Kit, scheme: str) -> None:
    with serving(kit, kit.handlers.Echo, scheme=scheme) as stand:
        assert [conversation(stand, number) for number in range(3)] == [expected(number) for number in range(3)]


@pytest.mark.parametrize("scheme", DATAGRAMS)
def test_datagrams_come_back(kit: Kit, scheme: str) -> None:
    with serving(kit, kit.handlers.DatagramEcho, scheme=scheme) as stand, stand.dial() as first, stand.dial() as second:
        for word in (b"one", b"two", b""):
            assert (asked(first, word), asked(second, word)) == (word.upper(), word.upper())


def test_datagram_without_a_sender_is_no_trouble(kit: Kit, journal: Journal) -> None:
    with serving(kit, kit.handlers.DatagramEcho, scheme="unixgram") as stand:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nobody:
            nobody.sendto(b"hello", stand.server.server_address)
        assert stand.ask(b"next") == b"NEXT"
    assert journal.all("HandlerFailed") == []


def test_datagram_whose_sender_is_gone_is_no_trouble(kit: Kit, journal: Journal) -> None:
    with bound(kit, kit.handlers.DatagramEcho, scheme="unixgram") as server:
        with dialled(server) as client:
            client.send(b"hello")
        with contextlib.closing(Stand(server)) as stand:
            stand.start()
            assert stand.ask(b"next") == b"NEXT"
    assert journal.all("HandlerFailed") == []


@pytest.mark.parametrize("scheme", STREAMS)
def test_large_transfers_arrive_whole(kit: Kit, scheme: str) -> None:
    sent, received = hashlib.sha256(pattern(BULK)).digest(), hashlib.sha256()
    with serving(kit, kit.handlers.Bulk, scheme=scheme) as stand, stand.dial() as client:
        client.sendall(pattern(BULK))
        with client.makefile("rb") as answers:
            assert answers.read(len(sent)) == sent
            while data := answers.read(PIECE):
                received.update(data)
    assert received.digest() == sent


def test_many_clients_at_once(kit: Kit) -> None:
    with serving(kit, kit.handlers.Echo) as stand, ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(functools.partial(conversation, stand), range(CLIENTS)))
    assert answers == [expected(number) for number in range(CLIENTS)]


def test_handlers_run_side_by_side(kit: Kit) -> None:
    with serving(kit, kit.handlers.Echo) as stand:
        clients = [stand.dial() for _ in range(10)]
        if kit.is_serial:
            answers = [asked(clients[0], b"only me\n")]
        else:
            answers = [asked(client, b"me too\n") for client in reversed(clients)]
    assert all(answers)


def test_client_that_has_nothing_more_to_say_is_answered_still(kit: Kit) -> None:
    with serving(kit, kit.handlers.Farewell) as stand, stand.dial() as client:
        client.sendall(b"hello\n")
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == b"HELLO\nBYE\n"


def test_one_request_at_a_time(kit: Kit) -> None:
    with bound(kit, kit.handlers.Tells, handler_args={"word": b"hello\n"}) as server, dialled(server) as client:
        server.handle_request()
        assert rest(client) == b"hello\n"


# Handlers


def test_handler_args_reach_the_handler(kit: Kit) -> None:
    with serving(kit, kit.handlers.Tells, handler_args={"word": b"hello\n"}) as stand:
        assert stand.ask(b"") == b"hello\n"


def test_handler_may_be_a_function(kit: Kit) -> None:
    with serving(kit, kit.handlers.plain, handler_args={"word": b"hello\n"}) as stand:
        assert stand.ask(b"") == b"hello\n"


def test_handler_is_set_up_and_finished(kit: Kit, journal: Journal) -> None:
    with serving(kit, kit.handlers.Hooks, handler_args={"journal": journal}) as stand:
        assert stand.ask(b"hello\n") == b"HELLO\n"
        journal.next("finish")
    assert [entry.kind for entry in journal.all("setup", "handle", "finish")] == ["setup", "handle", "finish"]


@pytest.mark.parametrize("name", ["Breaks", "BreaksLate"])
def test_handler_that_fails_early_is_not_finished(
    kit: Kit, name: str, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(kit, getattr(kit.handlers, name)) as stand:
        assert stand.ask(b"") == b""
        assert journal.next("HandlerFailed").error == "LookupError"
        assert journal.next("ConnectionClosed").reason == "failed"
    assert len(journal.all("HandlerFailed")) == 1
    caplog.clear()  # whoever keeps the traceback keeps the handler, its `rfile` and so its socket


def test_handler_stops_its_own_server(kit: Kit) -> None:
    with serving(kit, kit.handlers.Stops, handler_args={"drain": None}) as stand:
        assert stand.ask(b"please\n") == b"STOPPED\n"
        assert stand.has_ended()
        assert stand.ended_with is None


def test_handler_stops_its_own_server_and_drains(kit: Kit) -> None:
    with serving(kit, kit.handlers.Stops, handler_args={"drain": 5.0}) as stand:
        assert stand.ask(b"please\n") == b"STOPPED\n"
        assert stand.has_ended()


# What is told


def test_connection_is_told_to_the_byte(kit: Kit, journal: Journal) -> None:
    with serving(kit, kit.handlers.Echo) as stand, stand.dial() as client:
        address = list(client.getsockname())
        assert asked(client, b"four\n") == b"FOUR\n"
        assert asked(client, b"and seven\n") == b"AND SEVEN\n"
        client.close()
        opened, closed = journal.next("ConnectionOpened"), journal.next("ConnectionClosed")
    assert (opened.client_address, closed.client_address) == (address, address)
    assert (closed.reason, closed.bytes_in, closed.bytes_out) == ("done", 15, 15)
    assert 0 <= closed.seconds < 60


def test_connection_that_the_server_ends_is_told_to_the_byte(kit: Kit, journal: Journal) -> None:
    with serving(kit, kit.handlers.Hooks, handler_args={"journal": journal}) as stand:
        assert stand.ask(b"hello\n") == b"HELLO\n"
        closed = journal.next("ConnectionClosed")
    assert (closed.reason, closed.bytes_in, closed.bytes_out) == ("done", 6, 6)


@pytest.mark.parametrize("scheme", STREAMS)
def test_connections_are_told_once_each_and_by_the_server(kit: Kit, scheme: str, journal: Journal) -> None:
    with serving(kit, kit.handlers.Echo, scheme=scheme) as stand:
        for number in range(3):
            conversation(stand, number)
    for kind in ("ConnectionOpened", "ConnectionClosed"):
        told = journal.all(kind)
        assert len(told) == 3
        assert {entry.pid for entry in told} == {os.getpid()}


def test_bytes_of_a_unix_connection_are_unknown(kit: Kit, journal: Journal) -> None:
    with serving(kit, kit.handlers.Echo, scheme="unix") as stand:
        conversation(stand, 1)
        closed = journal.next("ConnectionClosed")
    assert (closed.reason, closed.bytes_in, closed.bytes_out) == ("done", None, None)


# Bounds


def test_clients_beyond_the_bound_wait_for_their_turn(kit: Kit, journal: Journal, gate: Gate) -> None:
    at_once = 1 if kit.is_serial else 2
    attributes: dict[str, Any] = {kit.bound: at_once} if kit.bound else {}
    arguments = {"journal": journal, "gate": gate}
    with serving(kit, kit.handlers.Waits, handler_args=arguments, **attributes) as stand:
        clients = [stand.dial() for _ in range(at_once + 2)]
        for number, client in enumerate(clients):
            client.sendall(b"client %d\n" % number)
        for _ in range(at_once):
            journal.next("waiting")
        assert not wait_until(lambda: len(journal.all("ConnectionOpened")) > at_once, 0.2)
        gate.open()
        assert [reply(client) for client in clients] == [b"CLIENT %d\n" % number for number in range(len(clients))]


# The end


def listens(stand: Stand) -> bool:
    try:
        dialled(stand.server).close()
    except ConnectionError:  # refused, or reset while the listener closes
        return False
    return True


def test_drain_lets_handlers_finish(kit: Kit, journal: Journal, gate: Gate) -> None:
    with serving(kit, kit.handlers.Waits, handler_args={"journal": journal, "gate": gate}) as stand:
        client = stand.dial()
        client.sendall(b"hello\n")
        journal.next("waiting")
        stopping = threading.Thread(target=functools.partial(stand.server.shutdown, drain=8.0))
        stopping.start()
        if not kit.is_serial:
            assert wait_until(lambda: not listens(stand)), "clients wait for a server that is about to end"
        assert not wait_until(lambda: not stopping.is_alive(), 0.4)
        gate.open()
        assert rest(client) == b"HELLO\n"
        stopping.join()
        assert journal.next("ConnectionClosed").reason == "done"


def test_drain_wakes_handlers_of_idle_clients(kit: Kit) -> None:
    with serving(kit, kit.handlers.Farewell) as stand:
        clients = [stand.dial() for _ in range(1 if kit.is_serial else 3)]
        assert {asked(client, b"hello\n") for client in clients} == {b"HELLO\n"}
        stand.server.shutdown(drain=8.0)
        assert {rest(client) for client in clients} == {b"BYE\n"}


def test_drain_cuts_at_its_deadline(kit: Kit, journal: Journal) -> None:
    with serving(kit, kit.handlers.Floods, handler_args={"journal": journal}) as stand:
        client = stand.dial()
        journal.next("flooding")
        stand.server.shutdown(drain=0.1)
        assert journal.next("ConnectionClosed").reason == "cut"
        rest(client)
    assert journal.all("HandlerFailed") == []


def test_drain_gives_up_a_handler_that_does_not_return(kit: Kit, journal: Journal, gate: Gate) -> None:
    with serving(kit, kit.handlers.Waits, handler_args={"journal": journal, "gate": gate}) as stand:
        stand.dial().sendall(b"hello\n")
        journal.next("waiting")
        stand.server.shutdown(drain=0.05)
        gate.open()
        assert stand.has_ended()


def test_server_that_was_closed_accepts_nobody(kit: Kit) -> None:
    with serving(kit, kit.handlers.Echo) as stand:
        address = stand.server.server_address
        stand.server.server_close()
        stand.server.server_close()
        assert stand.has_ended()
        with pytest.raises(ConnectionRefusedError), socket.socket() as late:
            late.connect(address)


def test_server_serves_again_after_a_stop(kit: Kit) -> None:
    with bound(kit, kit.handlers.Echo) as server:
        for _ in range(2):
            stand = Stand(server)
            stand.start()
            assert stand.ask(b"hello\n") == b"HELLO\n"
            server.shutdown()
            assert stand.has_ended()


# Any split of a stream


@pytest.mark.parametrize("kit", KITS, ids=str)
@settings(max_examples=10)
@given(
    frames=st.lists(st.binary(max_size=40), max_size=8),
    cuts=st.lists(st.integers(min_value=1, max_value=300), max_size=8),
)
def test_any_split_of_a_stream_gives_the_same_frames(kit: Kit, frames: list[bytes], cuts: list[int]) -> None:
    codec = LengthPrefixed(width=2)
    stream = b"".join(map(codec.encode, frames))
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    with serving(kit, type("Frames", (kit.handlers.FrameEcho,), {"codec": codec})) as stand, stand.dial() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for begin, end in itertools.pairwise(edges):
            client.sendall(stream[begin:end])
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == stream


def test_client_that_resets_while_the_server_answers_ends_no_drain(kit: Kit, journal: Journal) -> None:
    with serving(kit, kit.handlers.Floods, handler_args={"journal": journal}) as stand:
        client = stand.dial()
        journal.next("flooding")
        reset(client)
        assert journal.next("ConnectionClosed").reason == "client left"
        stand.server.shutdown(drain=5.0)
    assert journal.all("HandlerFailed") == []
