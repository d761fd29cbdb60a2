"""The client: files that survive a timeout, deadlines within deadlines, frames both ways, datagrams."""

import contextlib
import dataclasses
import errno
import io
import itertools
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

import portside
from portside import DatagramClient, StreamClient, framing
from portside.core import hub, offloading
from portside.core.offloading import limit_offloading
from portside.endpoints import Endpoint, EndpointError
from portside.frames import FrameReader
from portside.framing import Codec, FrameCorrupt, FrameTooLong, LengthPrefixed, Lines
from portside.reading import PatientReader
from tests.conftest import DEADLINE, StillClock
from tests.engines.blocking import DatagramEcho, Farewell, FrameEcho
from tests.engines.instruments import PIECE, pattern
from tests.engines.kit import KITS, serving

GREEN = next(kit for kit in KITS if kit.name == "green")
SOON = 0.05  # seconds after which a test's deadline passes
MINE = f"@portside-test-client-{os.getpid()}"  # nobody else's: the whole machine shares these names


@pytest.fixture(autouse=True)
def threads_go_home(no_leaks: None) -> Iterator[None]:
    """The threads that looked names up in one test are not there for the next."""
    yield
    limit_offloading(offloading.THREADS)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server that is played by the test."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)
        yield listener


Pair = tuple[StreamClient, socket.socket]


@pytest.fixture
def pair(listener: socket.socket) -> Iterator[Pair]:
    """A client without a timeout of its own, and the server's side of its connection."""
    with paired(listener) as both:
        yield both


@contextlib.contextmanager
def paired(listener: socket.socket, *, timeout: float | None = None, codec: Codec | None = None) -> Iterator[Pair]:
    client = portside.connect(listener.getsockname()[1], timeout=timeout, codec=codec)
    assert isinstance(client, StreamClient)
    with client, listener.accept()[0] as server:
        server.settimeout(DEADLINE)
        yield client, server


# Connecting


@pytest.mark.parametrize("scheme", ["tcp://127.0.0.1:0", f"unix:{MINE}"], ids=["tcp", "unix"])
def test_stream_speaks_lines(scheme: str) -> None:
    with portside.start(Farewell, scheme) as server, portside.connect(server.endpoint, timeout=DEADLINE) as client:
        assert isinstance(client, StreamClient)
        assert client.endpoint == server.endpoint
        client.send(b"hello", b"again")
        assert [client.receive(), client.receive()] == [b"HELLO", b"AGAIN"]
        client.wfile.write(b"by hand\n")
        assert client.rfile.readline() == b"BY HAND\n"


def test_port_alone_is_the_loopback(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    for where in (port, str(port), f"tcp://127.0.0.1:{port}", Endpoint(scheme="tcp", port=port)):
        with portside.connect(where) as client:
            assert client.endpoint == Endpoint(scheme="tcp", port=port)
            assert client.socket.getpeername() == ("127.0.0.1", port)


def test_nobody_there_is_told_with_the_endpoint(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    with pytest.raises(ConnectionRefusedError) as caught:
        portside.connect(port, timeout=DEADLINE)
    assert caught.value.__notes__ == [f"while connecting to tcp://127.0.0.1:{port}"]


def test_text_that_is_no_endpoint_is_told() -> None:
    with pytest.raises(EndpointError, match="http"):
        portside.connect("http://127.0.0.1/")


def test_closing_closes_everything_and_may_be_repeated(pair: Pair) -> None:
    client, server = pair
    client.close()
    client.close()
    assert (client.rfile.closed, client.wfile.closed, client.socket.fileno()) == (True, True, -1)
    assert server.recv(1) == b""


def test_block_closes_although_it_fails(pair: Pair) -> None:
    client, server = pair
    with pytest.raises(LookupError), client:
        raise LookupError
    assert server.recv(1) == b""


def test_files_are_what_they_should_be(pair: Pair) -> None:
    client, _ = pair
    assert (client.rfile.readable(), client.wfile.writable()) == (True, True)
    assert client.wfile.fileno() == client.socket.fileno()
    raw: Any = client.wfile
    assert io.TextIOWrapper(raw, write_through=True).write("as text") == 7


# Frames


CODECS: dict[str, Codec] = {
    "lines": Lines(),
    "crlf": Lines(ending=b"\r\n"),
    "delimited": framing.Delimited(delimiter=b"\0"),
    "fixed": framing.Fixed(size=5),
    "one-byte": LengthPrefixed(width=1),
    "two-bytes-little": LengthPrefixed(width=2, byteorder="little"),
    "four-bytes": LengthPrefixed(width=4),
    "eight-bytes": LengthPrefixed(width=8),
    "varint": framing.Varint(),
    "netstring": framing.Netstring(),
}


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_frames_of_every_codec_go_both_ways(codec: Codec) -> None:
    handler = type("Handler", (FrameEcho,), {"codec": codec})
    frames = [b"hello", b"again", b"12345"]
    with (
        portside.start(handler, 0) as server,
        portside.connect(server.endpoint, timeout=DEADLINE, codec=codec) as client,
    ):
        assert isinstance(client, StreamClient)
        for frame in frames:
            client.send(frame)
            assert client.receive() == frame
        client.send(*frames)
        client.end()
        assert list(client.frames) == frames


def test_every_codec_is_tried() -> None:
    assert {type(codec) for codec in CODECS.values()} == set(framing.Codec.__subclasses__())


def test_frames_leave_in_one_write(pair: Pair) -> None:
    client, server = pair
    client.send(b"one", b"two")
    assert server.recv(100) == b"one\ntwo\n"


def test_frame_that_cannot_be_written_is_not_sent(listener: socket.socket) -> None:
    with paired(listener, codec=Lines(max_size=5)) as (client, server):
        with pytest.raises(FrameTooLong):
            client.send(b"short", b"too long")
        with pytest.raises(FrameCorrupt):
            client.send(b"a\nb")
        client.end()
        assert server.recv(100) == b""


def test_server_that_breaks_the_framing_is_told(listener: socket.socket) -> None:
    with paired(listener, codec=LengthPrefixed(width=8)) as (client, server):
        server.sendall(LengthPrefixed(width=8).encode(b"good") + (2**63).to_bytes(8, "big"))
        assert client.receive() == b"good"
        for _ in range(2):
            with pytest.raises(FrameTooLong):
                client.receive()


def test_end_of_the_connection_is_told(pair: Pair) -> None:
    client, server = pair
    server.sendall(b"last\n")
    server.shutdown(socket.SHUT_WR)
    assert client.receive() == b"last"
    with pytest.raises(EOFError, match=re.escape(f"{client.endpoint} has ended the connection")):
        client.receive()
    assert list(client.frames) == []


def test_end_within_a_frame_is_told(pair: Pair) -> None:
    client, server = pair
    server.sendall(b"half a li")
    server.shutdown(socket.SHUT_WR)
    with pytest.raises(FrameCorrupt, match="9 bytes into it"):
        client.receive()


def test_half_closed_connection_is_answered(pair: Pair) -> None:
    client, server = pair
    client.send(b"question")
    client.end()
    assert server.makefile("rb").read() == b"question\n"
    server.sendall(b"answer\n")
    assert client.receive() == b"answer"


def test_frame_reader_reads_no_more_than_it_needs() -> None:
    pieces = iter([b"o", b"ne\ntw", b"o\n", b""])
    reader = FrameReader(Lines(), lambda _: next(pieces))
    assert next(reader) == b"one"
    assert list(pieces) == [b"o\n", b""]


# The reader

PIECES = [b"o", b"ne\ntw", b"o\nthr", b"ee"]

READS: dict[str, tuple[Callable[[PatientReader], Any], Any]] = {
    "everything": (lambda reader: reader.read(), b"one\ntwo\nthree"),
    "everything-by-none": (lambda reader: reader.read(None), b"one\ntwo\nthree"),
    "nothing": (lambda reader: reader.read(0), b""),
    "some": (lambda reader: reader.read(5), b"one\nt"),
    "more-than-there-is": (lambda reader: reader.read(100), b"one\ntwo\nthree"),
    "one-piece": (lambda reader: reader.read1(), b"o"),
    "less-than-a-piece": (lambda reader: (reader.read1(1), reader.read1(2)), (b"o", b"ne")),
    "line": (lambda reader: reader.readline(), b"one\n"),
    "lines": (list, [b"one\n", b"two\n", b"three"]),
    "line-with-limit": (lambda reader: (reader.readline(2), reader.readline(100)), (b"on", b"e\n")),
    "line-of-nothing": (lambda reader: reader.readline(0), b""),
    "peek": (lambda reader: (reader.peek(), reader.peek(5), reader.read(2)), (b"o", b"o", b"on")),
    "into": (lambda reader: reader.readinto(bytearray(6)), 6),
}


@pytest.mark.parametrize("how", READS)
def test_reader_reads_as_the_standard_librarys_does(how: str) -> None:
    read, expected = READS[how]
    pieces = iter(PIECES)
    assert read(PatientReader(lambda _: next(pieces, b""))) == expected
    if how not in ("one-piece", "less-than-a-piece", "peek"):  # where the pieces show
        theirs: Any = io.BytesIO(b"".join(PIECES))
        assert read(theirs) == expected


def test_reader_at_the_end_stays_there() -> None:
    reader = PatientReader(lambda _: b"")
    assert (reader.peek(), reader.read(), reader.read1(), reader.readline(), list(reader)) == (b"", b"", b"", b"", [])


# Deadlines


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StillClock:
    """The clients' clock, which stands still unless the test moves it; sockets have their own."""
    clock = StillClock()
    monkeypatch.setattr("portside.client.time", clock)
    return clock


def test_files_can_be_read_again_after_a_timeout(listener: socket.socket) -> None:
    with paired(listener, timeout=SOON) as (client, server):
        for _ in range(2):
            with pytest.raises(TimeoutError):
                client.rfile.readline()
        server.sendall(b"line\nrest")
        assert client.rfile.readline() == b"line\n"
        assert client.rfile.read(4) == b"rest"


@pytest.mark.parametrize("size", [None, 11])
def test_timeout_loses_nothing_that_came_before_it(listener: socket.socket, size: int | None) -> None:
    with paired(listener, timeout=SOON) as (client, server):
        server.sendall(b"half a ")
        with pytest.raises(TimeoutError):
            client.rfile.readline() if size is None else client.rfile.read(size)
        server.sendall(b"line\n")
        assert client.rfile.readline() == b"half a line\n"


def test_frames_go_on_after_a_timeout(listener: socket.socket) -> None:
    with paired(listener, timeout=SOON) as (client, server):
        server.sendall(b"half a ")
        with pytest.raises(TimeoutError):
            client.receive()
        server.sendall(b"line\n")
        assert client.receive() == b"half a line"


def test_deadline_holds_for_all_operations_together(pair: Pair, clock: StillClock) -> None:
    client, server = pair
    server.sendall(b"one\ntwo\n")
    with client.deadline(SOON):
        assert [client.receive(), client.receive()] == [b"one", b"two"]
        clock.now = SOON * 0.75
        with pytest.raises(TimeoutError, match="timed out"):
            client.receive()
        assert client.socket.gettimeout() == pytest.approx(SOON / 4)
        clock.now = SOON
        for operation in (client.receive, partial(client.send, b"too late")):
            with pytest.raises(TimeoutError, match="the deadline has passed"):
                operation()


def test_connection_is_usable_after_a_deadline(pair: Pair) -> None:
    client, server = pair
    with client.deadline(SOON), pytest.raises(TimeoutError):
        client.receive()
    assert client.socket.gettimeout() is None
    server.sendall(b"late\n")
    assert client.receive() == b"late"


def test_timeout_is_back_after_a_deadline(listener: socket.socket) -> None:
    with paired(listener, timeout=5) as (client, server):
        server.sendall(b"one\n")
        with client.deadline(60):
            client.receive()
            assert client.socket.gettimeout() == 5
        with client.deadline(4):
            client.send(b"x")
            assert (client.socket.gettimeout() or 5) <= 4
        assert client.socket.gettimeout() == 5


def test_inner_deadline_does_not_outlast_the_outer(pair: Pair) -> None:
    client, _ = pair
    started = time.monotonic()
    with client.deadline(SOON), client.deadline(3600), pytest.raises(TimeoutError):
        client.receive()
    assert time.monotonic() - started < 60


def test_outer_deadline_goes_on_after_the_inner(pair: Pair) -> None:
    client, server = pair
    with client.deadline(3600):
        with client.deadline(SOON), pytest.raises(TimeoutError):
            client.receive()
        server.sendall(b"late\n")
        assert client.receive() == b"late"
        assert 60 < (client.socket.gettimeout() or 0) <= 3600
    assert client.socket.gettimeout() is None


def test_deadline_holds_for_writing_too(pair: Pair) -> None:
    client, _ = pair
    with client.deadline(SOON), pytest.raises(TimeoutError):
        while True:
            client.wfile.write(pattern(PIECE))


# Datagrams


@pytest.mark.parametrize("where", ["udp://127.0.0.1:0", f"unixgram:{MINE}"], ids=["udp", "unixgram"])
def test_datagrams_are_frames(where: str) -> None:
    with (
        portside.start(DatagramEcho, where, engine="serial") as server,
        portside.connect(server.endpoint, timeout=DEADLINE) as client,
    ):
        assert isinstance(client, DatagramClient)
        client.send(b"one", b"")
        assert [client.receive(), client.receive()] == [b"ONE", b""]
        client.send(b"three", b"four")
        assert list(itertools.islice(client.frames, 2)) == [b"THREE", b"FOUR"]


def test_datagram_that_nobody_answers_times_out() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        with portside.connect(f"udp://127.0.0.1:{silent.getsockname()[1]}") as client:
            client.send(b"hello")
            with client.deadline(SOON):
                for _ in range(2):
                    with pytest.raises(TimeoutError):
                        client.receive()
                with pytest.raises(TimeoutError, match="the deadline has passed"):
                    client.send(b"too late")
            assert client.socket.gettimeout() is None


def test_datagram_that_is_too_long_is_told() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent,
        portside.connect(udp(silent), timeout=DEADLINE) as client,
    ):
        with pytest.raises(OSError, match="too long") as caught:
            client.send(bytes(65_508))
        assert caught.value.errno == errno.EMSGSIZE
        client.send(bytes(65_507))


def udp(sock: socket.socket) -> Endpoint:
    """Where the socket is, once it is bound."""
    sock.bind(("127.0.0.1", 0))
    return Endpoint.from_socket(sock)


# In green handlers


class Relay(portside.FramedRequestHandler):
    """Asks another server, and passes on its answer."""

    where: Endpoint

    def handle(self) -> None:
        with portside.connect(self.where, timeout=DEADLINE) as other:
            assert type(other.socket).__name__ == "GreenSocket"
            for frame in self.frames:
                other.send(frame)
                self.send(other.receive())


@pytest.mark.parametrize(
    "where", ["tcp://localhost:0", "unix:@portside-test-client", "udp://localhost:0", "unixgram:@portside-test-client"]
)
def test_green_handler_waits_for_another_server_of_its_own_thread(where: str) -> None:
    handler = DatagramEcho if where.startswith(("udp", "unixgram")) else Upper
    with (
        portside.start(handler, where, engine="green") as behind,
        serving(GREEN, Relay, handler_args={"where": named(behind.endpoint)}) as stand,
    ):
        clients = [portside.connect(stand.server.server_address[1], timeout=DEADLINE) for _ in range(5)]
        for client in [*clients, *clients]:
            client.send(b"hello")
        for client in [*clients, *clients]:
            assert client.receive() == b"HELLO"
        for client in clients:
            client.close()


class Upper(portside.FramedRequestHandler):
    """Frames, each back in upper case."""

    def handle(self) -> None:
        for frame in self.frames:
            self.send(frame.upper())


def named(endpoint: Endpoint) -> Endpoint:
    """The same place, by a name that has to be looked up."""
    return dataclasses.replace(endpoint, host="localhost") if endpoint.scheme in ("tcp", "udp") else endpoint


def test_green_handler_that_waits_for_a_silent_server_holds_up_nobody(listener: socket.socket) -> None:
    where = Endpoint.from_socket(listener)
    with (
        serving(GREEN, Relay, handler_args={"where": where}) as stand,
        stand.dial() as first,
        stand.dial() as second,
    ):
        first.sendall(b"one\n")
        waiting = listener.accept()[0]
        second.sendall(b"two\n")
        served = listener.accept()[0]
        with waiting, served:
            served.sendall(served.recv(100).upper())
            assert second.recv(100) == b"TWO\n"
            waiting.sendall(waiting.recv(100).upper())
            assert first.recv(100) == b"ONE\n"


def test_green_handler_is_told_that_nobody_is_there(listener: socket.socket) -> None:
    where = Endpoint.from_socket(listener)
    listener.close()

    def connect() -> list[str]:
        with pytest.raises(ConnectionRefusedError) as caught:
            portside.connect(where, timeout=DEADLINE)
        return caught.value.__notes__

    assert hub.run(connect) == [f"while connecting to {where}"]
