"""DESIGN.md's rule about small writes, as a client may observe it: when they leave, in how many pieces, in which order.

The client is a plain socket of the same test: what has left the server's side is there to be received at once, so that
a receive without waiting tells whether it has.
"""

import contextlib
import itertools
import os
import socket
import struct
import tempfile
import time
from collections.abc import Callable
from typing import Any

import pytest

from portside.core import hub
from portside.core.offloading import offload
from portside.core.sockets import GreenSocket
from portside.core.stream import StreamReader, StreamWriter
from tests.conftest import DEADLINE
from tests.core.kit import fill, green, pair, spawn, tcp_pair, unread

pytestmark = pytest.mark.usefixtures("no_leaks")

GATHER = 65_536  # bytes that gather at most
TCP_INFO_DATA_SEGS_IN = 19  # of struct tcp_info (linux/tcp.h), counted in words of 4 bytes from its u32 part

Handler = Callable[[GreenSocket, Any, Any, socket.socket], Any]


def arrived(client: socket.socket) -> bytes:
    """What has arrived by now."""
    found = b""
    with contextlib.suppress(BlockingIOError):
        while data := client.recv(1 << 20, socket.MSG_DONTWAIT):
            found += data
    return found


@contextlib.contextmanager
def patient(client: socket.socket) -> Any:
    """A client without a timeout: with one, Python waits even where MSG_DONTWAIT is given."""
    client.settimeout(None)
    yield client


def handled(requests: bytes, handler: Handler, family: int = socket.AF_UNIX) -> Any:
    """What a handler returns, in a task, of a connection whose client has sent the requests already."""

    def scenario() -> Any:
        with pair(family) as (ours, client), patient(client):
            client.sendall(requests)
            while unread(ours) < len(requests):
                hub.sleep(0.001)
            with ours.makefile("rb") as reader, ours.makefile("wb", 0) as writer:
                return spawn(handler, ours, reader, writer, client).result(DEADLINE)

    return hub.run(scenario)


def answered_at_once(ours: GreenSocket, reader: StreamReader, writer: StreamWriter, client: socket.socket) -> bytes:
    """Answer one request, and look before anything waits."""
    reader.readline()
    writer.write(b"answer")
    return arrived(client)


def test_an_answer_leaves_at_once_when_nothing_more_is_in_flight() -> None:
    assert handled(b"one\n", answered_at_once) == b"answer"


def test_an_answer_gathers_while_unread_input_is_there() -> None:
    assert handled(b"one\ntwo\n", answered_at_once) == b""


def test_what_a_handler_says_first_leaves_at_once() -> None:
    def greet(ours: Any, reader: Any, writer: Any, client: socket.socket) -> list[bytes]:
        found = []
        for part in (b"wel", b"come"):
            writer.write(part)
            found.append(arrived(client))
        return found

    assert handled(b"", greet) == [b"wel", b"come"]


def test_ping_pong_is_never_held_back() -> None:
    def converse(ours: Any, reader: StreamReader, writer: StreamWriter, client: socket.socket) -> None:
        for number in range(200):
            client.sendall(b"%d\n" % number)
            writer.write(reader.readline())
            assert arrived(client) == b"%d\n" % number

    handled(b"", converse)


def test_the_last_answer_of_a_batch_takes_the_others_along() -> None:
    def converse(ours: Any, reader: Any, writer: Any, client: socket.socket) -> list[bytes]:
        found = []
        for _ in range(3):
            writer.write(reader.readline().upper())
            found.append(arrived(client))
        return found

    *early, last = handled(b"a\nb\nc\n", converse)
    assert last.endswith(b"C\n")
    assert b"".join([*early, last]) == b"A\nB\nC\n"


def segments(sock: socket.socket) -> int:
    """Segments with data that a TCP socket has received (tcpi_data_segs_in, Linux 4.6 and later)."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    if len(info) < 160:
        pytest.skip("this kernel does not count segments")
    count: int = struct.unpack_from("I", info, 152)[0]
    return count


def test_pipelined_requests_are_answered_in_few_segments() -> None:
    count = 2000

    def converse(ours: Any, reader: StreamReader, writer: StreamWriter, client: socket.socket) -> tuple[int, bytes]:
        before = segments(client)
        for line in itertools.islice(reader, count):
            writer.write(line)
        data = b""
        while len(data) < 6 * count:
            data += arrived(client)
            hub.sleep(0)
        return segments(client) - before, data

    lines = b"".join(b"%05d\n" % number for number in range(count))
    used, data = handled(lines, converse, socket.AF_INET)
    assert data == lines
    assert (
        used < count / 10
    )  # one write each would be 2,000; every millisecond one may leave, so a slow machine uses more


def test_no_more_than_64_kib_gather() -> None:
    def converse(ours: Any, reader: Any, writer: Any, client: socket.socket) -> tuple[int, int]:
        reader.readline()
        sent = most = received = 0
        while sent < 4 * GATHER:
            writer.write(bytes(1000))
            sent += 1000
            received += len(arrived(client))
            most = max(most, sent - received)
        return most, received

    most, received = handled(b"one\ntwo\n", converse)
    assert most <= GATHER
    assert received >= 3 * GATHER


def test_a_large_write_leaves_with_what_was_gathered_before_it() -> None:
    def converse(ours: Any, reader: Any, writer: Any, client: socket.socket) -> bytes:
        reader.readline()
        writer.write(b"small")
        writer.write(b"L" * GATHER)
        return arrived(client)

    assert handled(b"one\ntwo\n", converse) == b"small" + b"L" * GATHER


def test_a_millisecond_is_the_longest_at_the_next_write() -> None:
    def converse(ours: Any, reader: Any, writer: Any, client: socket.socket) -> bytes:
        reader.readline()
        writer.write(b"first ")
        until = time.monotonic() + 0.002
        while time.monotonic() < until:
            pass
        writer.write(b"second")
        return arrived(client)

    assert handled(b"one\ntwo\n", converse) == b"first second"


def other_socket(_: Any) -> None:
    """Receive on a connection that has nothing to do with it."""
    with pair() as (ours, theirs):
        spawn(theirs.sendall, b"x")
        ours.recv(1)


WAITS: dict[str, Callable[[socket.socket], Any]] = {
    "sleep": lambda _: hub.sleep(0.001),
    "give_way": lambda _: hub.give_way(),
    "offload": lambda _: offload(int),
    "another socket": other_socket,
    "a task": lambda _: spawn(hub.sleep, 0).join(DEADLINE),
}


@pytest.mark.parametrize("wait", WAITS)
def test_it_leaves_before_the_handler_waits(wait: str) -> None:
    seen: list[bytes] = []

    def converse(ours: Any, reader: Any, writer: Any, client: socket.socket) -> None:
        reader.readline()
        writer.write(b"answer")
        seen.append(arrived(client))
        spawn(lambda: seen.append(arrived(client)))  # runs while the handler waits
        WAITS[wait](client)

    handled(b"one\ntwo\n", converse)
    assert seen == [b"", b"answer"]


def test_it_leaves_when_the_handler_waits_for_its_client() -> None:
    def converse(ours: Any, reader: StreamReader, writer: Any, client: socket.socket) -> bytes:
        def finish() -> bytes:
            found = arrived(client)
            client.sendall(b"o\n")
            return found

        reader.readline()
        writer.write(b"answer")
        seen = spawn(finish)
        assert reader.readline() == b"two\n"
        found: bytes = seen.result(DEADLINE)
        return found

    assert handled(b"one\ntw", converse) == b"answer"


def test_it_leaves_when_the_handler_returns() -> None:
    def scenario() -> bytes:
        with pair() as (ours, client), patient(client):
            client.sendall(b"one\ntwo\n")
            with ours.makefile("rb") as reader, ours.makefile("wb", 0) as writer:

                def handler() -> None:
                    reader.readline()
                    writer.write(b"answer")

                spawn(handler).result(DEADLINE)
                return arrived(client)

    assert hub.run(scenario) == b"answer"


def test_flush_sends() -> None:
    def converse(ours: Any, reader: Any, writer: Any, client: socket.socket) -> bytes:
        reader.readline()
        writer.write(b"answer")
        writer.flush()
        return arrived(client)

    assert handled(b"one\ntwo\n", converse) == b"answer"


def send_file(sock: socket.socket) -> None:
    """Send a file of four bytes."""
    with tempfile.TemporaryFile() as file:
        file.write(b"next")
        file.seek(0)
        sock.sendfile(file)


def both_ways(sock: socket.socket) -> None:
    """Write to a file for both directions."""
    with sock.makefile("rwb") as file:
        file.write(b"next")


NEXT: dict[str, Callable[[GreenSocket], Any]] = {
    "sendall": lambda s: s.sendall(b"next"),
    "sendall with flags": lambda s: s.sendall(b"next", socket.MSG_DONTWAIT),
    "send": lambda s: s.send(b"next"),
    "sendmsg": lambda s: s.sendmsg([b"ne", b"xt"]),
    "sendto": lambda s: s.sendto(b"next", s.getpeername()),
    "sendfile": send_file,
    "another file": lambda s: s.makefile("wb", 0).write(b"next"),
    "a file with a buffer": lambda s: s.makefile("wb").writelines([b"ne", b"xt"]),
    "both ways": both_ways,
}


@pytest.mark.parametrize("name", NEXT)
def test_order_is_kept(name: str) -> None:
    def converse(ours: GreenSocket, reader: StreamReader, writer: StreamWriter, client: socket.socket) -> bytes:
        reader.readline()
        writer.write(b"first ")
        NEXT[name](ours)
        writer.write(b" last")
        writer.flush()
        return arrived(client)

    assert handled(b"one\ntwo\n", converse, socket.AF_INET) == b"first next last"


def closed(*files: Any) -> None:
    """Close one after the other."""
    for file in files:
        file.close()


ENDS: dict[str, Callable[[GreenSocket, Any, Any], Any]] = {
    "shutdown": lambda s, r, w: s.shutdown(socket.SHUT_WR),
    "close": lambda s, r, w: closed(r, w, s),
    "writer, then socket": lambda s, r, w: closed(w, r, s),
    "detach": lambda s, r, w: os.close(s.detach()),
}


@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_lost_at_the_end(end: str) -> None:
    def scenario() -> bytes:
        mine, client = tcp_pair()
        with client, green(mine) as ours:
            client.sendall(b"one\ntwo\nthree\n")
            while unread(ours) < 14:
                hub.sleep(0.001)
            reader, writer = ours.makefile("rb"), ours.makefile("wb", 0)
            reader.readline()
            writer.write(b"answer")
            reader.read(9)
            ENDS[end](ours, reader, writer)
            found = client.recv(100)
            if end == "detach":
                reader.close()
            return found

    assert hub.run(scenario) == b"answer"


# -- failures --


def leave(client: socket.socket) -> None:
    """End the connection so that the next segment is answered with a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, (1).to_bytes(4, "little") + bytes(4))
    client.close()


TELLS: dict[str, Callable[[GreenSocket, Any, Any], Any]] = {
    "flush": lambda s, r, w: w.flush(),
    "close": lambda s, r, w: w.close(),
    "write": lambda s, r, w: w.write(b"more"),
    "sendall": lambda s, r, w: s.sendall(b"more"),
    "send": lambda s, r, w: s.send(b"more"),
    "shutdown": lambda s, r, w: s.shutdown(socket.SHUT_WR),
}


@pytest.mark.parametrize("how", TELLS)
def test_a_gathered_write_that_fails_is_told(how: str) -> None:
    def converse(ours: GreenSocket, reader: StreamReader, writer: StreamWriter, client: socket.socket) -> None:
        reader.readline()
        writer.write(b"lost")
        leave(client)
        hub.sleep(0.001)  # the write fails behind the handler's back
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            TELLS[how](ours, reader, writer)

    handled(b"one\ntwo\n", converse, socket.AF_INET)


def test_a_gathered_write_that_times_out_is_told_at_the_next_one() -> None:
    def converse(ours: GreenSocket, reader: StreamReader, writer: StreamWriter, client: socket.socket) -> None:
        reader.readline()
        fill(ours)
        ours.settimeout(0.01)
        writer.write(b"lost")
        hub.sleep(0)
        with pytest.raises(TimeoutError, match="timed out"):
            writer.write(b"more")

    handled(b"one\ntwo\n", converse)


# -- nobody waits for another's client --


def test_a_client_who_reads_nothing_holds_up_nobody_else() -> None:
    line = b"x" * 49 + b"\n"

    def deaf(reader: StreamReader, writer: StreamWriter) -> None:
        for number, _ in enumerate(reader):
            if number % 100 == 99:
                writer.write(b"answer")

    def scenario() -> None:
        with pair() as (ours, client), patient(client), ours.makefile("rb") as reader, ours.makefile("wb", 0) as writer:
            fill(ours)
            with contextlib.suppress(BlockingIOError):
                while True:
                    client.send(line, socket.MSG_DONTWAIT)
            task = spawn(deaf, reader, writer)
            for _ in range(100):
                spawn(hub.sleep, 0).result(DEADLINE)
            task.kill()
            task.join(DEADLINE)

    hub.run(scenario)
