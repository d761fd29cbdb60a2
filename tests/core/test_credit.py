"""Who has much to send gives way in between: the turns of others are counted here, and not how long anything takes.

Each writer's stream has never waited when it begins, as that of a client whose request came with its connection.
"""

import contextlib
import socket
import tempfile
from collections.abc import Callable
from typing import Any

import pytest

from portside.core import hub
from portside.core.sockets import GreenSocket
from tests.conftest import DEADLINE
from tests.core.kit import pair, spawn

pytestmark = pytest.mark.usefixtures("no_leaks")

TURN = 128 * 1024  # bytes that one turn moves at most, see SLICE and CREDIT
SENDFILE_TURN = 1 << 20
ROOM = 4 << 20  # what the kernel is asked to hold; it holds 400 KiB at the least
MUCH = 4 << 20
CALLED_UP = 8  # of those who have used up their credit, in a round

Write = Callable[[GreenSocket, bytes], Any]


def write_pieces(size: int) -> Write:
    """Writes through `wfile`, in pieces."""

    def write(sock: GreenSocket, data: bytes) -> None:
        with sock.makefile("wb", 0) as writer:
            for start in range(0, len(data), size):
                writer.write(data[start : start + size])

    return write


def write_beside_input(sock: GreenSocket, data: bytes) -> None:
    """Writes while there is unread input, so that pieces gather."""
    with sock.makefile("rb") as reader:
        reader.readline()
        write_pieces(65_536)(sock, data)


def send_file(sock: GreenSocket, data: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        sock.sendfile(file)


def send_some(sock: GreenSocket, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[sock.send(left) :]


WRITERS: dict[str, tuple[Write, int]] = {
    "sendall": (GreenSocket.sendall, TURN),
    "sendall, flags": (lambda sock, data: sock.sendall(data, socket.MSG_NOSIGNAL), TURN),
    "send": (send_some, TURN),
    "wfile, whole": (write_pieces(MUCH), TURN),
    "wfile, 64 KiB": (write_pieces(65_536), TURN),
    "wfile, 4 KiB": (write_pieces(4_096), TURN),
    "wfile, unread input": (write_beside_input, TURN + 65_536),  # which has gathered before
    "sendfile": (send_file, SENDFILE_TURN),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_turn_has_a_bound(name: str) -> None:
    """However much the kernel would take: what a client can find after one turn of the writer's is counted."""
    write, bound = WRITERS[name]
    arrived: list[int] = []

    def scenario() -> None:
        with pair() as (ours, theirs):
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
            theirs.settimeout(None)
            theirs.sendall(b"one\ntwo\n")
            writer = spawn(write, ours, bytes(MUCH))
            while sum(arrived) < MUCH:
                hub.give_way()
                arrived.append(_found(theirs))
            writer.result(DEADLINE)

    hub.run(scenario)
    assert sum(arrived) == MUCH
    assert max(arrived) <= bound


def _found(client: socket.socket) -> int:
    """Bytes that have arrived, and are taken."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while data := client.recv(1 << 20, socket.MSG_DONTWAIT):
            count += len(data)
    return count


def test_who_reads_much_gives_way() -> None:
    """A stream that has never waited pays for what it reads as any other does."""
    turns, ended = list[None](), list[None]()

    def scenario() -> None:
        with pair() as (ours, theirs):
            theirs.sendall(b"a line of eleven\n" * 4_000)
            theirs.shutdown(socket.SHUT_WR)
            reader = spawn(read, ours)
            while not ended:
                hub.give_way()
                turns.append(None)
            assert reader.result(DEADLINE) == 4_000

    def read(ours: GreenSocket) -> int:
        with ours.makefile("rb") as file:
            count = sum(1 for _ in file)
        ended.append(None)
        return count

    hub.run(scenario)
    assert len(turns) >= 68_000 // 4_096  # the credit of a turn, in bytes of short lines


@pytest.mark.parametrize("crowd", [100])
def test_who_has_little_to_do_comes_before_a_crowd_that_has_much(crowd: int) -> None:
    """A hundred write without end; whoever hears something meanwhile has its turn before most of them."""
    turns: list[int] = []
    asked, answered = [0], [0]

    def write(ours: GreenSocket, theirs: socket.socket, question: socket.socket) -> None:
        while not answered[0]:
            ours.sendall(bytes(2 * TURN))
            turns.append(1)
            _found(theirs)
            if len(turns) == 3 * crowd:
                question.send(b"question\n")
                asked[0] = len(turns)

    def answer(ours: GreenSocket) -> None:
        assert ours.recv(9) == b"question\n"
        answered[0] = len(turns)

    def scenario() -> None:
        with contextlib.ExitStack() as stack:
            pairs = [stack.enter_context(pair()) for _ in range(crowd)]
            mine, question = stack.enter_context(pair())
            tasks = [spawn(answer, mine)]
            for ours, theirs in pairs:
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
                theirs.settimeout(None)
                tasks.append(spawn(write, ours, theirs, question))
            for task in tasks:
                task.result(DEADLINE)

    hub.run(scenario)
    assert answered[0] - asked[0] <= 2 * CALLED_UP
