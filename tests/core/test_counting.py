"""What a green socket knows of the bytes that went through it, and what it leaves to the kernel."""

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from portside.connections import Connection, Connections
from portside.core import network
from portside.telemetry import CloseReason
from portside.telemetry.tally import Tally
from tests.conftest import DEADLINE, wait_until
from tests.core.kit import pair

pytestmark = pytest.mark.usefixtures("no_leaks")

Ends = tuple[Any, socket.socket]
SAID = b"a line\nand some more\n"


def read(sock: Any, mode: str, lines: int) -> None:
    with sock.makefile(mode) as file:
        for _ in range(lines):
            file.readline()


def write(sock: Any, *mode: Any) -> None:
    with sock.makefile(*mode) as file:
        file.write(SAID)


def send_this_file(sock: Any) -> None:
    with Path(__file__).open("rb") as file:
        sock.sendfile(file, count=len(SAID))


# Each of them takes all of SAID, and looks at some of it before.
RECEIVING: dict[str, Callable[[Any], Any]] = {
    "recv": lambda sock: (sock.recv(3, socket.MSG_PEEK), sock.recv(100)),
    "recv_into": lambda sock: sock.recv_into(bytearray(100)),
    "whole": lambda sock: sock.recv(len(SAID), socket.MSG_WAITALL),
    "recvmsg": lambda sock: sock.recvmsg(100),
    "lines": lambda sock: read(sock, "rb", 2),
    "text": lambda sock: read(sock, "r", 2),
}
SENDING: dict[str, Callable[[Any], Any]] = {
    "send": lambda sock: sock.send(SAID),
    "sendall": lambda sock: sock.sendall(SAID),
    "flags": lambda sock: sock.sendall(SAID, socket.MSG_DONTROUTE),
    "sendmsg": lambda sock: sock.sendmsg([SAID[:7], SAID[7:]]),
    "file": lambda sock: write(sock, "wb", 0),
    "buffered": lambda sock: write(sock, "wb"),
    "sendfile": send_this_file,
}


@pytest.fixture
def ends() -> Iterator[Ends]:
    with network.adopted(socket.create_server(("127.0.0.1", 0))) as listener:
        theirs = socket.create_connection(listener.getsockname(), DEADLINE)
        ours, _ = listener.accept()
        with ours, theirs:
            yield ours, theirs


def record_of(sock: Any) -> Connection:
    return Connection(sock, sock.getpeername())


@pytest.mark.parametrize("way", RECEIVING)
def test_what_is_received_is_counted(ends: Ends, way: str) -> None:
    ours, theirs = ends
    record = record_of(ours)
    theirs.sendall(SAID)
    RECEIVING[way](ours)
    assert record.bytes_both_ways() == (len(SAID), 0) == record.bytes_at_kernel()


@pytest.mark.parametrize("way", SENDING)
def test_what_is_sent_is_counted(ends: Ends, way: str) -> None:
    ours, theirs = ends
    record = record_of(ours)
    SENDING[way](ours)
    assert len(theirs.recv(len(SAID), socket.MSG_WAITALL)) == len(SAID)
    assert wait_until(lambda: record.bytes_both_ways() == (0, len(SAID)) == record.bytes_at_kernel())


def test_what_nobody_has_read_is_only_known_to_the_kernel(ends: Ends) -> None:
    ours, theirs = ends
    record = record_of(ours)
    theirs.sendall(SAID)
    assert wait_until(lambda: record.bytes_at_kernel() == (len(SAID), 0))
    assert record.bytes_both_ways() == (0, 0)


def test_counts_outlive_the_connection(ends: Ends) -> None:
    ours, theirs = ends
    record = record_of(ours)
    theirs.sendall(SAID)
    ours.recv(100)
    ours.close()
    assert record.bytes_both_ways() == (len(SAID), 0)


def test_what_went_before_or_goes_elsewhere_is_left_to_the_kernel(ends: Ends) -> None:
    ours, theirs = ends
    theirs.sendall(SAID)
    ours.recv(7)
    with type(ours)(fileno=ours.detach()) as heir:
        assert (ours.moved, heir.moved) == (None, None)
        heir.recv(100)
        assert record_of(heir).bytes_both_ways() == (len(SAID), 0)


def test_tls_goes_on_counting(ends: Ends) -> None:
    ours, theirs = ends
    theirs.sendall(SAID)
    ours.recv(100)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with context.wrap_socket(ours, server_side=True, do_handshake_on_connect=False) as wrapped:
        green: Any = wrapped
        assert green.moved == (len(SAID), 0)


def test_of_a_unix_connection_nothing_is_told() -> None:
    with pair() as (ours, _):
        assert record_of(ours).bytes_both_ways() == (None, None)


@pytest.mark.parametrize("told", [True, False], ids=["its own", "the kernel's"])
def test_the_end_of_a_connection_is_counted(ends: Ends, told: bool) -> None:
    ours, theirs = ends
    known, tally = Connections(), Tally(pytest.importorskip("portside.core.counting").Notes)
    record = known.add(ours, ours.getpeername())
    assert record is not None
    theirs.sendall(SAID)
    assert RECEIVING["recv" if told else "recvmsg"](ours)
    record.blame(CloseReason.CUT)
    record.count(tally, ours)
    tally.close()
    found = tally.endings["CUT"].read()
    assert (sum(found.counts), found.received, found.sent) == (1, len(SAID), 0)
    assert 0 <= found.seconds < DEADLINE
