"""Records of open connections: what they know, what they can end, and whom they are not confused with."""

import gc
import os
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from portside import connections as module
from portside.connections import Connection, Connections
from portside.telemetry import CloseReason
from tests.conftest import DEADLINE, wait_until
from tests.pains.serving import reset

pytestmark = pytest.mark.usefixtures("no_leaks")

CLIENT = ("192.0.2.1", 1234)
Pair = Callable[[], "Ends"]


@dataclass
class Ends:
    """A client, and the server's end of its connection."""

    client: socket.socket
    request: socket.socket

    def record(self) -> Connection:
        return Connection(self.request, self.request.getpeername())


@pytest.fixture
def tcp() -> Iterator[Pair]:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def connect() -> Ends:
            client = stack.enter_context(socket.create_connection(listener.getsockname(), DEADLINE))
            request = stack.enter_context(listener.accept()[0])
            request.settimeout(DEADLINE)
            return Ends(client, request)

        yield connect


@pytest.fixture
def unix() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Ends(theirs, ours)


def exchange(ends: Ends, received: int, sent: int) -> None:
    """So many bytes each way, all of them read and acknowledged."""
    for source, target, count in ((ends.client, ends.request, received), (ends.request, ends.client, sent)):
        source.sendall(bytes(count))
        assert len(target.recv(count, socket.MSG_WAITALL)) == count


# Bytes


@pytest.mark.parametrize(("received", "sent"), [(0, 0), (1, 0), (0, 1), (17, 4), (100_000, 60_000)])
def test_bytes_are_counted(tcp: Pair, received: int, sent: int) -> None:
    ends = tcp()
    record = ends.record()
    exchange(ends, received, sent)
    assert wait_until(lambda: record.bytes_both_ways() == (received, sent))


def client_ends(ends: Ends) -> None:
    ends.client.shutdown(socket.SHUT_WR)
    assert ends.request.recv(1) == b""


def server_ends(ends: Ends) -> None:
    ends.request.shutdown(socket.SHUT_WR)
    assert ends.client.recv(1) == b""


def both_end(ends: Ends) -> None:
    client_ends(ends)
    server_ends(ends)


def both_end_the_server_first(ends: Ends) -> None:
    server_ends(ends)
    client_ends(ends)


@pytest.mark.parametrize("end", [client_ends, server_ends, both_end, both_end_the_server_first])
def test_the_end_of_a_stream_is_no_byte(tcp: Pair, end: Callable[[Ends], None]) -> None:
    ends = tcp()
    record = ends.record()
    exchange(ends, 17, 4)
    end(ends)
    assert wait_until(lambda: record.bytes_both_ways() == (17, 4))


def test_what_was_sent_again_counts_once(tcp: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loopback loses nothing, so the kernel's answer is made up here, at the offsets of linux/tcp.h."""

    def getsockopt(sock: socket.socket, level: int, name: int, size: int) -> bytes:
        info = bytearray(216)
        for form, offset, value in (("B", 0, 1), ("Q", 128, 1000), ("Q", 200, 700), ("Q", 208, 50)):
            struct.pack_into(f"={form}", info, offset, value)
        return bytes(info[:size])

    record = tcp().record()
    monkeypatch.setattr(socket.socket, "getsockopt", getsockopt)
    assert record.bytes_both_ways() == (1000, 650)


def test_a_unix_connection_has_no_count(unix: Ends) -> None:
    exchange(unix, 3, 4)
    assert unix.record().bytes_both_ways() == (None, None)


def test_a_closed_connection_has_no_count(tcp: Pair) -> None:
    ends = tcp()
    record = ends.record()
    ends.request.close()
    assert record.bytes_both_ways() == (None, None)


def test_an_old_kernel_tells_less(tcp: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tcp().record()
    monkeypatch.setattr(module, "_TCP_INFO", struct.Struct("=B51xI72xQ64xQQ4096x"))
    assert record.bytes_both_ways() == (None, None)


def test_another_system_tells_nothing(tcp: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tcp().record()
    monkeypatch.delattr(socket, "TCP_INFO")
    assert record.bytes_both_ways() == (None, None)


def test_the_summary(tcp: Pair) -> None:
    ends = tcp()
    record = ends.record()
    exchange(ends, 3, 4)
    error = LookupError("a bug")
    record.blame(CloseReason.FAILED, error)
    assert wait_until(lambda: record.bytes_both_ways() == (3, 4))
    event = record.summary(server := object())
    assert (event.server, event.client_address) == (server, ends.client.getsockname())
    assert (event.reason, event.error) == (CloseReason.FAILED, error)
    assert (event.bytes_in, event.bytes_out) == (3, 4)
    assert 0 <= event.seconds < 60


def test_the_first_reason_stays(unix: Ends) -> None:
    record = unix.record()
    assert record.reason is CloseReason.DONE
    record.blame(CloseReason.CLIENT_LEFT)
    record.blame(CloseReason.FAILED, LookupError())
    assert (record.reason, record.error) == (CloseReason.CLIENT_LEFT, None)


# What the kernel says


def test_quiet_is_for_how_long_the_client_has_sent_nothing(tcp: Pair) -> None:
    ends = tcp()
    record = ends.record()
    exchange(ends, 1, 0)
    assert not record.is_quiet(30)
    assert wait_until(lambda: record.is_quiet(0.05))
    exchange(ends, 1, 5)
    assert not record.is_quiet(30)


def test_what_does_not_tell_is_quiet(unix: Ends) -> None:
    assert unix.record().is_quiet(3600)


def client_resets(ends: Ends) -> None:
    reset(ends.client)


def server_cuts(ends: Ends) -> None:
    ends.record().cut()


@pytest.mark.parametrize("end", [both_end, client_resets, server_cuts])
def test_hung_up(tcp: Pair, end: Callable[[Ends], None]) -> None:
    ends = tcp()
    record = ends.record()
    assert not record.hung_up()
    end(ends)
    assert wait_until(record.hung_up)


@pytest.mark.parametrize("end", [client_ends, server_ends])
def test_half_an_end_is_not_hung_up(tcp: Pair, end: Callable[[Ends], None]) -> None:
    ends = tcp()
    end(ends)
    assert not ends.record().hung_up()


def test_a_closed_connection_has_not_hung_up(tcp: Pair) -> None:
    ends = tcp()
    record = ends.record()
    ends.request.close()
    assert not record.hung_up()


@pytest.mark.parametrize(("timeout", "deadline"), [(None, False), (5.0, True), (0.0, True)])
def test_deadline(tcp: Pair, timeout: float | None, deadline: bool) -> None:
    ends = tcp()
    record = ends.record()
    ends.request.settimeout(timeout)
    assert record.has_deadline() is deadline
    ends.request.close()
    assert record.has_deadline() is False


def test_what_was_known_last(tcp: Pair) -> None:
    ends = tcp()
    record = ends.record()
    exchange(ends, 3, 4)
    assert wait_until(lambda: record.bytes_both_ways() == (3, 4))
    record.settle(lost=False)
    ends.request.close()
    assert (record.bytes_both_ways(), record.hung_up(), record.has_deadline()) == ((3, 4), False, True)


def test_what_was_known_last_of_a_lost_client(tcp: Pair) -> None:
    ends = tcp()
    record = ends.record()
    ends.request.settimeout(None)
    record.settle(lost=True)
    ends.request.close()
    assert (record.bytes_both_ways(), record.hung_up(), record.has_deadline()) == ((0, 0), True, False)


# Ending


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_end_input(kind: str, request: pytest.FixtureRequest) -> None:
    ends = request.getfixturevalue(kind)
    ends = ends if kind == "unix" else ends()
    record = ends.record()
    ends.client.sendall(b"last words")
    record.end_input()
    assert record.woken
    assert ends.request.recv(100) == b"last words"
    assert ends.request.recv(100) == b""
    ends.request.sendall(b"answer")
    assert ends.client.recv(100) == b"answer"
    assert record.reason is CloseReason.DONE


def test_cut(tcp: Pair) -> None:
    ends = tcp()
    record = ends.record()
    record.cut()
    assert ends.request.recv(1) == b""
    assert ends.client.recv(1) == b""
    with pytest.raises(BrokenPipeError):
        ends.request.sendall(b"x")
    assert record.reason is CloseReason.CUT


def test_ending_one_that_has_gone(tcp: Pair) -> None:
    ends = tcp()
    record = ends.record()
    reset(ends.client)
    assert wait_until(record.hung_up)
    record.end_input()
    record.cut()
    ends.request.close()
    record.cut()


# Whose descriptor it is


def test_a_wrapped_socket_is_followed(tcp: Pair) -> None:
    """TLS takes the descriptor over: the socket that was accepted is left empty."""
    ends = tcp()
    record = ends.record()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with context.wrap_socket(ends.request, server_side=True, do_handshake_on_connect=False) as wrapped:
        assert ends.request.fileno() == -1
        ends.client.sendall(b"12345")
        assert wait_until(lambda: record.bytes_both_ways() == (5, 0))
        record.cut()
        assert ends.client.recv(1) == b""
        assert wrapped.fileno() >= 0
    assert record.bytes_both_ways() == (None, None)


def test_a_descriptor_that_was_used_again_is_not_confused(tcp: Pair) -> None:
    first = tcp()
    record = first.record()
    descriptor = first.request.fileno()
    second = tcp()
    first.request.close()
    second_again = socket.socket(fileno=os.dup(second.request.fileno()))
    with second_again:
        assert second_again.fileno() == descriptor
        record.end_input()
        record.cut()
        second.client.sendall(b"undisturbed")
        assert second_again.recv(100) == b"undisturbed"
        assert record.bytes_both_ways() == (None, None)


def test_a_descriptor_that_a_lost_client_left(tcp: Pair) -> None:
    """The program has taken the descriptor over, and nobody can say any more whose it is."""
    ends = tcp()
    record = ends.record()
    reset(ends.client)
    assert wait_until(record.hung_up)
    with socket.socket(fileno=ends.request.detach()) as heir:
        record.cut()
        assert record.bytes_both_ways() == (None, None)
        assert heir.fileno() >= 0


def test_a_descriptor_that_is_no_socket_any_more(tcp: Pair) -> None:
    ends = tcp()
    record = ends.record()
    with open(os.devnull, "rb") as file:
        os.dup2(file.fileno(), ends.request.fileno())
    record.cut()
    assert record.bytes_both_ways() == (None, None)


def test_a_descriptor_lost_between_look_and_use(tcp: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tcp().record()
    monkeypatch.setattr(Connection, "_descriptor", 999_999)
    monkeypatch.setattr(Connection, "_is_open", lambda _: True)
    record.cut()
    assert record.bytes_both_ways() == (None, None)


class Shapeless:
    """A request that has no descriptor."""


class Lost:
    """A request whose descriptor is no number any more."""

    def fileno(self) -> int:
        raise ValueError("closed")


@pytest.mark.parametrize("kind", [Shapeless, Lost])
def test_requests_without_a_descriptor(kind: type) -> None:
    request = kind()
    record = Connection(request, CLIENT)
    record.cut()
    assert (record.hung_up(), record.has_deadline(), record.is_quiet(1)) == (False, False, True)


def test_a_record_keeps_no_socket_alive(tcp: Pair) -> None:
    ends = tcp()
    record = ends.record()
    ends.request.close()
    del ends
    gc.collect()
    record.cut()


# All of them


def test_added_and_taken_out(tcp: Pair) -> None:
    known, ends = Connections(), tcp()
    assert (len(known), known.all(), known.get(ends.request)) == (0, [], None)
    known.add(ends.request, CLIENT)
    record = known.get(ends.request)
    assert record is not None
    assert (len(known), known.all()) == (1, [record])
    assert known.pop(ends.request) is record
    assert known.pop(ends.request) is None
    assert len(known) == 0


def test_one_that_the_program_forgot_is_forgotten() -> None:
    known = Connections()
    request = Shapeless()
    known.add(request, CLIENT)
    del request
    gc.collect()
    assert len(known) == 0


def test_a_record_moves_to_a_duplicate(tcp: Pair) -> None:
    known, ends = Connections(), tcp()
    known.add(ends.request, ends.client.getsockname())
    with socket.socket(fileno=os.dup(ends.request.fileno())) as heir:
        known.move(ends.request, heir)
        ends.request.close()
        record = known.get(heir)
        assert record is not None
        assert (record.client_address, len(known)) == (ends.client.getsockname(), 1)
        record.cut()
        assert ends.client.recv(1) == b""


def test_what_is_unknown_does_not_move(unix: Ends) -> None:
    known = Connections()
    known.move(unix.request, unix.client)
    assert len(known) == 0


def test_clear_closes_nothing(unix: Ends) -> None:
    known = Connections()
    known.add(unix.request, CLIENT)
    known.clear()
    assert len(known) == 0
    unix.client.sendall(b"x")
    assert unix.request.recv(1) == b"x"
