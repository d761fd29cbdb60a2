"""Green sockets do what `socket.socket` does: the same scenario on each, in a task and in a plain thread."""

import array
import contextlib
import errno
import importlib.util
import io
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from portside.core import hub
from portside.core.sockets import GreenSocket
from portside.framing import FrameTooLong
from tests.conftest import DEADLINE
from tests.core.kit import fill, green, in_task, in_thread, pair, spawn, tcp_pair, unread

pytestmark = pytest.mark.usefixtures("no_leaks")

SHORT = 0.02  # seconds that run out
PIECE = 65_536
BULK = 3 * 1024 * 1024  # bytes, more than the kernel's buffers hold

Pair = tuple[socket.socket, socket.socket]
Scenario = Callable[[Any, Any], Any]


def outcome(scenario: Callable[[], Any]) -> Any:
    """What it returns, or what kind of error it raises with what to say."""
    try:
        return scenario()
    except Exception as error:
        return type(error), getattr(error, "errno", None), str(error)


def later(function: Callable[[], Any]) -> threading.Thread:
    """Do something in another thread, which a scenario joins."""
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def meanwhile(function: Callable[[], Any], then: Callable[[], Any]) -> Any:
    """What `then` gives while `function` is at work in another thread."""
    thread = later(function)
    try:
        return then()
    finally:
        thread.join(DEADLINE)
        assert not thread.is_alive()


def drained(sock: socket.socket) -> int:
    """Receive until the end; returns how many bytes."""
    return sum(len(data) for data in iter(lambda: sock.recv(65_536), b""))


def same_everywhere(make: Callable[[], Pair], scenario: Scenario) -> None:
    """Demand that a scenario ends alike: plain in a thread, green in a thread, green in a task."""

    def on(first: Callable[[socket.socket], socket.socket], place: Callable[[Callable[[], Any]], Any]) -> Any:
        mine, theirs = make()
        with theirs, first(mine) as ours:
            for sock in (ours, theirs):
                sock.settimeout(DEADLINE)
            return place(lambda: outcome(lambda: scenario(ours, theirs)))

    expected = on(lambda sock: sock, in_thread)
    assert on(green, in_thread) == expected
    assert on(green, in_task) == expected


def told(scenario: Scenario) -> Scenario:
    """The scenario after the peer has said "hello"."""

    def with_greeting(ours: socket.socket, theirs: socket.socket) -> Any:
        theirs.sendall(b"hello")
        return scenario(ours, theirs)

    return with_greeting


def ended(scenario: Scenario) -> Scenario:
    """The scenario after the peer has closed its end."""

    def after_the_end(ours: socket.socket, theirs: socket.socket) -> Any:
        theirs.close()
        return scenario(ours, theirs)

    return after_the_end


def shut(scenario: Scenario) -> Scenario:
    """The scenario on a closed socket."""

    def when_closed(ours: socket.socket, theirs: socket.socket) -> Any:
        ours.close()
        return scenario(ours, theirs)

    return when_closed


def timed(seconds: float | None, scenario: Scenario) -> Scenario:
    """The scenario with a timeout."""

    def with_timeout(ours: socket.socket, theirs: socket.socket) -> Any:
        ours.settimeout(seconds)
        return scenario(ours, theirs)

    return with_timeout


def into(size: int, *arguments: Any, method: str = "recv_into") -> Scenario:
    """Receive into a buffer of that size, and show it."""

    def receive(ours: socket.socket, _: socket.socket) -> Any:
        buffer = bytearray(size)
        return getattr(ours, method)(buffer, *arguments), bytes(buffer)

    return receive


def in_two_halves(scenario: Scenario) -> Scenario:
    """The scenario while the peer says "hel", and later "lo"."""

    def halves(ours: socket.socket, theirs: socket.socket) -> Any:
        theirs.sendall(b"hel")

        def go_on() -> None:
            while unread(ours):
                threading.Event().wait(0.001)
            theirs.sendall(b"lo")

        return meanwhile(go_on, lambda: scenario(ours, theirs))

    return halves


# Receiving.
RECEIVING: dict[str, Scenario] = {
    "recv": told(lambda s, _: s.recv(100)),
    "recv less": told(lambda s, _: (s.recv(2), s.recv(100))),
    "recv nothing": lambda s, _: s.recv(0),
    "recv waits": lambda s, p: meanwhile(lambda: p.sendall(b"late"), lambda: s.recv(100)),
    "recv negative": lambda s, _: s.recv(-1),
    "recv with a float": lambda s, _: s.recv(1.5),
    "recv at the end": ended(lambda s, _: (s.recv(5), s.recv(5))),
    "recv peek": told(lambda s, _: (s.recv(3, socket.MSG_PEEK), s.recv(100, socket.MSG_PEEK), s.recv(100))),
    "recv dontwait": timed(None, lambda s, _: s.recv(5, socket.MSG_DONTWAIT)),
    "recv dontwait something": told(lambda s, _: s.recv(5, socket.MSG_DONTWAIT)),
    "recv waitall": timed(None, in_two_halves(lambda s, _: s.recv(5, socket.MSG_WAITALL))),
    "recv waitall at the end": timed(None, told(ended(lambda s, _: s.recv(50, socket.MSG_WAITALL)))),
    "recv times out": timed(SHORT, lambda s, _: s.recv(5)),
    "recv without waiting": timed(0, lambda s, _: s.recv(5)),
    "recv closed": shut(lambda s, _: s.recv(5)),
    "recv_into": told(into(10)),
    "recv_into a part": told(into(10, 3)),
    "recv_into nothing": into(0),
    "recv_into too small": into(3, 5),
    "recv_into negative": into(3, -1),
    "recv_into read-only": told(lambda s, _: s.recv_into(b"12345")),
    "recv_into an array": told(lambda s, _: s.recv_into(array.array("i", [0] * 4))),
    "recv_into holes": told(lambda s, _: s.recv_into(memoryview(bytearray(9))[::2])),
    "recv_into None": told(lambda s, _: s.recv_into(None)),
    "recv_into peek": told(into(10, 0, socket.MSG_PEEK)),
    "recv_into waitall": timed(None, in_two_halves(into(5, 0, socket.MSG_WAITALL))),
    "recv_into times out": timed(SHORT, into(3)),
    "recv_into closed": shut(into(3)),
    "recvfrom": told(lambda s, _: s.recvfrom(100)),
    "recvfrom negative": lambda s, _: s.recvfrom(-1),
    "recvfrom waitall": timed(None, in_two_halves(lambda s, _: s.recvfrom(5, socket.MSG_WAITALL))),
    "recvfrom times out": timed(SHORT, lambda s, _: s.recvfrom(5)),
    "recvfrom_into": told(into(10, method="recvfrom_into")),
    "recvfrom_into too small": into(3, 5, method="recvfrom_into"),
    "recvfrom_into closed": shut(into(3, method="recvfrom_into")),
    "recvmsg": told(lambda s, _: s.recvmsg(100)),
    "recvmsg negative": lambda s, _: s.recvmsg(-1),
    "recvmsg waits": lambda s, p: meanwhile(lambda: p.sendall(b"late"), lambda: s.recvmsg(100, 64)),
    "recvmsg times out": timed(SHORT, lambda s, _: s.recvmsg(5)),
    "recvmsg_into": told(lambda s, _: s.recvmsg_into([bytearray(2), bytearray(9)])),
    "recvmsg_into a generator": lambda s, p: meanwhile(
        lambda: p.sendall(b"late"), lambda: s.recvmsg_into(bytearray(2) for _ in range(3))
    ),
    "recvmsg_into read-only": told(lambda s, _: s.recvmsg_into([b"12"])),
    "recvmsg_into closed": shut(lambda s, _: s.recvmsg_into([bytearray(2)])),
}

# Sending.
SENDING: dict[str, Scenario] = {
    "send": lambda s, p: (s.send(b"hello"), p.recv(100)),
    "send an array": lambda s, p: (s.send(array.array("i", [1, 2])), p.recv(100)),
    "send text": lambda s, _: s.send("hello"),
    "send holes": lambda s, _: s.send(memoryview(b"abcd")[::2]),
    "send dontwait": timed(None, lambda s, _: (fill(s) > 0, s.send(b"no room", socket.MSG_DONTWAIT))),
    "send times out": timed(SHORT, lambda s, _: (fill(s) > 0, s.send(b"no room"))),
    "send without waiting": timed(0, lambda s, _: (fill(s) > 0, s.send(b"no room"))),
    "send closed": shut(lambda s, _: s.send(b"x")),
    "send after shutdown": lambda s, _: (s.shutdown(socket.SHUT_WR), s.send(b"x")),
    "sendall": lambda s, p: (s.sendall(b"hello"), p.recv(100)),
    "sendall nothing": lambda s, _: s.sendall(b""),
    "sendall much": lambda s, p: meanwhile(
        lambda: (s.sendall(bytes(BULK)), s.shutdown(socket.SHUT_WR)), lambda: drained(p)
    ),
    "sendall with flags": lambda s, p: (s.sendall(b"hello", socket.MSG_MORE), s.sendall(b"!"), p.recv(100, 256)),
    "sendall an array": lambda s, p: (s.sendall(array.array("i", [1, 2])), p.recv(100)),
    "sendall a view": lambda s, p: (s.sendall(memoryview(b"hello")[1:4]), p.recv(100)),
    "sendall text": lambda s, _: s.sendall("hello"),
    "sendall None": lambda s, _: s.sendall(None),
    "sendall holes": lambda s, _: s.sendall(memoryview(b"abcd")[::2]),
    "sendall holes with flags": lambda s, _: s.sendall(memoryview(b"abcd")[::2], socket.MSG_MORE),
    "sendall times out": timed(SHORT, lambda s, _: s.sendall(bytes(BULK))),
    "sendall with flags times out": timed(SHORT, lambda s, _: s.sendall(bytes(BULK), socket.MSG_MORE)),
    "sendall without waiting": timed(0, lambda s, _: s.sendall(bytes(BULK))),
    "sendall closed": shut(lambda s, _: s.sendall(b"x")),
    "sendall nothing closed": shut(lambda s, _: s.sendall(b"")),
    "sendall to nobody": ended(lambda s, _: [s.sendall(b"x") for _ in range(100_000)]),
    "sendmsg": lambda s, p: (s.sendmsg([b"hel", bytearray(b"lo")]), p.recv(100)),
    "sendmsg a generator": lambda s, p: (s.sendmsg(part for part in (b"a", b"b")), p.recv(100)),
    "sendmsg wrong": lambda s, _: s.sendmsg(b"hello"),
    "sendmsg a number": lambda s, _: s.sendmsg(3),
    "sendmsg times out": timed(SHORT, lambda s, _: (fill(s) > 0, s.sendmsg([b"no room"]))),
    "sendmsg closed": shut(lambda s, _: s.sendmsg([b"x"])),
    "sendto closed": shut(lambda s, _: s.sendto(b"x", ("127.0.0.1", 9))),
}

# Everything else.
OTHER: dict[str, Scenario] = {
    "timeouts": lambda s, _: [
        (s.settimeout(value), s.gettimeout(), s.timeout, s.getblocking()) for value in (None, 0, 2, 1.5)
    ],
    "timeout wrong": lambda s, _: s.settimeout("5"),
    "timeout negative": lambda s, _: s.settimeout(-1),
    "timeout not a number": lambda s, _: s.settimeout(float("nan")),
    "setblocking": lambda s, _: [
        (s.setblocking(flag), s.gettimeout(), s.getblocking()) for flag in (True, False, 1, 0)
    ],
    "shutdown": lambda s, p: (s.shutdown(socket.SHUT_RDWR), p.recv(1), s.recv(1)),
    "shutdown wrong": lambda s, _: s.shutdown(17),
    "shutdown closed": shut(lambda s, _: s.shutdown(socket.SHUT_WR)),
    "close": lambda s, p: (s.close(), s.close(), s.fileno(), p.recv(1)),
    "context manager": lambda s, p: (s.__enter__() is s, s.__exit__(None, None, None), p.recv(1)),
    "detach closed": shut(lambda s, _: s.detach()),
    "dup": lambda s, p: (
        p.sendall(b"x"),
        _used(s.dup(), lambda d: (d.recv(1), d.gettimeout(), d.fileno() != s.fileno())),
    ),
    "properties": lambda s, _: (s.family, s.type, s.get_inheritable()),
    "accept without listening": timed(None, lambda s, _: s.accept()),
    "accept closed": shut(lambda s, _: s.accept()),
    "connect again": lambda s, p: s.connect(p.getsockname() or "nobody"),
    "connect wrong": lambda s, _: outcome(lambda: s.connect(3))[0],
    "connect closed": shut(lambda s, _: s.connect_ex("nobody" if s.family == socket.AF_UNIX else ("127.0.0.1", 9))),
    "reset": told(
        lambda s, p: (outcome(lambda: leave(p)), s.recv(9), s.recv(9)) if s.family == socket.AF_INET else None
    ),
    "unknown mode": lambda s, _: s.makefile("x"),
}


def _used(sock: socket.socket, use: Callable[[socket.socket], Any]) -> Any:
    with sock:
        return use(sock)


def leave(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, (1).to_bytes(4, "little") + bytes(4))
    sock.close()


@pytest.mark.parametrize("make", [socket.socketpair, tcp_pair], ids=["unix", "tcp"])
@pytest.mark.parametrize("name", [*RECEIVING, *SENDING, *OTHER])
def test_streams(name: str, make: Callable[[], Pair]) -> None:
    if sys.version_info >= (3, 14) and name == "timeout wrong":
        pytest.skip("its message says more there")
    same_everywhere(make, (RECEIVING | SENDING | OTHER)[name])


DATAGRAMS: dict[str, Scenario] = {
    **{
        name: RECEIVING[name]
        for name in RECEIVING
        if "end" not in name and "less" not in name and "waitall" not in name
    },
    "cut": told(lambda s, p: (s.recv(2), p.send(b"next"), s.recv(9))),
    "an empty one": lambda s, p: (p.send(b""), s.recv(9)),
    "sends an empty one": lambda s, p: (s.sendall(b""), p.recv(9)),
    "sendall": SENDING["sendall"],
    "send": SENDING["send"],
    "too long": lambda s, _: s.send(bytes(1 << 20)),
    "recvmsg cut": told(lambda s, _: s.recvmsg(2)),
    "refused": ended(lambda s, _: (s.send(b"x"), s.recv(9))),
}


def udp_pair() -> Pair:
    """Two UDP sockets that are connected to each other."""
    first, second = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    first.bind(("127.0.0.1", 0))
    second.bind(("127.0.0.1", 0))
    first.connect(second.getsockname())
    second.connect(first.getsockname())
    return first, second


def flat(found: Any) -> list[Any]:
    """The parts of a result, and of the tuples in it but for addresses."""
    if not isinstance(found, tuple):
        return [found]
    return [] if "127.0.0.1" in found else [part for each in found for part in flat(each)]


def addressless(scenario: Scenario) -> Scenario:
    """Without addresses, which differ from run to run."""
    return lambda ours, theirs: flat(outcome(lambda: scenario(ours, theirs)))


@pytest.mark.parametrize("name", DATAGRAMS)
@pytest.mark.parametrize("kind", ["udp", "unix", "seqpacket"])
def test_datagrams(name: str, kind: str) -> None:
    kinds = {"unix": socket.SOCK_DGRAM, "seqpacket": socket.SOCK_SEQPACKET}
    make = udp_pair if kind == "udp" else lambda: socket.socketpair(socket.AF_UNIX, kinds[kind])
    same_everywhere(make, addressless(DATAGRAMS[name]))


# -- files --


@pytest.mark.parametrize("buffering", [None, -1, 1, 100, 0])
@pytest.mark.parametrize("mode", ["rb", "br", "wb", "rwb", "r", "w", "rw"])
def test_makefile(mode: str, buffering: int | None) -> None:
    def scenario(ours: Any, theirs: socket.socket) -> Any:
        theirs.sendall(b"a line\nrest")
        theirs.shutdown(socket.SHUT_WR)
        with ours.makefile(mode, buffering, newline="\n" if "b" not in mode else None) as file:
            read = (file.readline(), file.read()) if "r" in mode or mode == "br" else None
            if "w" in mode:
                file.write(b"out" if "b" in mode else "out")
                file.flush()
            return read, file.readable(), file.writable(), "w" in mode and theirs.recv(10)

    same_everywhere(socket.socketpair, scenario)


def sent_file(sock: socket.socket, *arguments: Any) -> int:
    """Send a file, and then the end."""
    try:
        return sock.sendfile(*arguments)
    finally:
        sock.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("offset", [0, 1000])
@pytest.mark.parametrize("count", [None, 7, BULK // 2])
def test_sendfile(tmp_path: Path, offset: int, count: int | None) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1000) * (BULK // 1000))

    def scenario(ours: socket.socket, theirs: socket.socket) -> Any:
        received: list[bytes] = []

        def receive() -> None:
            received.extend(iter(lambda: theirs.recv(65_536), b""))

        with path.open("rb") as file:
            sent = meanwhile(receive, lambda: sent_file(ours, file, offset, count))
            return sent, file.tell(), b"".join(received)

    same_everywhere(tcp_pair, scenario)


@pytest.mark.slow
def test_a_timeout_may_be_for_a_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(BULK))
    piece = BULK // 64
    mine, theirs = tcp_pair()
    mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, piece)  # so that it can be told when there is room for little
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, piece)
    received: list[int] = []

    def receive_slowly() -> None:
        pause = threading.Event()
        while more := len(theirs.recv(piece, socket.MSG_WAITALL)):
            received.append(more)
            pause.wait(0.1)

    with theirs, green(mine) as sock, path.open("rb") as file:
        ours: Any = sock  # what its type checker's stub does not know
        ours.settimeout(4)  # the whole takes longer

        def send() -> int:
            with contextlib.closing(ours):
                return int(ours.sendfile(file, span=4 * piece))

        sent = meanwhile(receive_slowly, lambda: in_task(send))
        assert sent == sum(received) == BULK


def sendfile_of(path: Path, sock: socket.socket) -> int:
    """Send a whole file."""
    with path.open("rb") as file:
        return sock.sendfile(file)


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(lambda s, _: s.sendfile(io.StringIO("text")), id="text"),
        pytest.param(lambda s, _: s.sendfile(io.BytesIO(b"bytes"), count=-1), id="negative"),
        pytest.param(lambda s, p: (s.sendfile(io.BytesIO(b"bytes"), 1), p.recv(9)), id="no file of the system"),
        pytest.param(timed(0, lambda s, _: sendfile_of(Path(__file__), s)), id="without waiting"),
        pytest.param(timed(SHORT, lambda s, _: s.sendfile(io.BytesIO(bytes(BULK)))), id="times out"),
    ],
)
def test_sendfile_of_what_it_cannot_send(scenario: Scenario) -> None:
    same_everywhere(socket.socketpair, scenario)


# -- connecting and accepting --


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A plain listener."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(DEADLINE)
        yield sock


def refused_address() -> tuple[str, int]:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address: tuple[str, int] = sock.getsockname()
    return address


def unconnected() -> Pair:
    """Two sockets that know nobody yet."""
    return socket.socket(), socket.socket()


@pytest.mark.parametrize("timeout", [None, DEADLINE])
def test_connect(listener: socket.socket, timeout: float | None) -> None:
    address = listener.getsockname()
    scenarios: list[Scenario] = [
        lambda s, _: (s.connect(address), s.getpeername() == address),
        lambda s, _: s.connect_ex(address),
        lambda s, _: s.connect(refused_address()),
        lambda s, _: s.connect_ex(refused_address()),
        lambda s, _: s.connect(("name.invalid", 1)),
        lambda s, _: s.connect_ex(("name.invalid", 1)),
        lambda s, _: (s.connect(("localhost", address[1])), s.getpeername() == address),
    ]
    for scenario in scenarios:
        same_everywhere(unconnected, timed(timeout, scenario))


def test_connect_without_waiting(listener: socket.socket) -> None:
    same_everywhere(unconnected, timed(0, lambda s, _: s.connect_ex(listener.getsockname())))
    same_everywhere(unconnected, timed(0, lambda s, _: s.connect(listener.getsockname())))


def test_connect_times_out_where_the_queue_is_full(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with contextlib.ExitStack() as stack:
        door = stack.enter_context(socket.socket(socket.AF_UNIX))
        door.bind(path)
        door.listen(0)
        stack.enter_context(socket.socket(socket.AF_UNIX)).connect(path)

        def make() -> Pair:
            return socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)

        same_everywhere(make, timed(SHORT, lambda s, _: s.connect_ex(path)))

        def let_in() -> None:
            door.accept()[0].close()

        with green(socket.socket(socket.AF_UNIX)) as client:
            client.settimeout(DEADLINE)
            task_or_thread = later(let_in)
            assert hub.run(client.connect_ex, path) == 0
            task_or_thread.join(DEADLINE)


def test_accept(listener: socket.socket) -> None:
    def scenario(ours: socket.socket, theirs: socket.socket) -> Any:
        ours.bind(("127.0.0.1", 0))
        ours.listen()
        address = ours.getsockname()
        client, name = meanwhile(lambda: theirs.connect(address), ours.accept)
        with client:
            return client.gettimeout(), client.family, client.type, name == theirs.getsockname(), name[0]

    same_everywhere(unconnected, scenario)
    same_everywhere(unconnected, timed(SHORT, lambda s, _: (s.bind(("", 0)), s.listen(), s.accept())))
    same_everywhere(unconnected, timed(0, lambda s, _: (s.bind(("", 0)), s.listen(), s.accept())))


@pytest.mark.parametrize("path", [True, False], ids=["bound", "nameless"])
def test_accept_over_unix(path: bool) -> None:
    def scenario(ours: socket.socket, theirs: socket.socket) -> Any:
        with tempfile.TemporaryDirectory(prefix="ps-") as folder:
            ours.bind(f"{folder}/server")
            ours.listen()
            if path:
                theirs.bind(f"{folder}/client")
            theirs.connect(f"{folder}/server")
            client, name = ours.accept()
            client.close()
            return name.replace(folder, "")

    same_everywhere(lambda: (socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)), scenario)


def test_the_default_timeout_is_for_new_and_accepted_sockets(listener: socket.socket) -> None:
    socket.setdefaulttimeout(7)
    try:
        with contextlib.ExitStack() as stack:
            door = stack.enter_context(green(socket.create_server(("127.0.0.1", 0))))
            stack.enter_context(socket.create_connection(door.getsockname()))
            fresh, accepted = stack.enter_context(GreenSocket()), stack.enter_context(door.accept()[0])
            assert fresh.gettimeout() == accepted.gettimeout() == door.gettimeout() == 7
    finally:
        socket.setdefaulttimeout(None)
    with GreenSocket(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        assert sock.gettimeout() == 0


def test_a_sequence_of_packets_is_no_stream() -> None:
    name = f"\0portside-{os.getpid()}-packets"

    def scenario() -> list[bytes]:
        with contextlib.ExitStack() as stack:
            door = stack.enter_context(green(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)))
            door.bind(name)
            door.listen()
            client = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            client.connect(name)
            accepted = stack.enter_context(door.accept()[0])
            receiving = spawn(lambda: [accepted.recv(100) for _ in range(3)])
            hub.sleep(0)
            for packet in (b"1", b"22", b"333"):
                client.send(packet)
            found: list[bytes] = receiving.result(DEADLINE)
            return found

    assert hub.run(scenario) == [b"1", b"22", b"333"]


# -- a short receive proves little --


def test_descriptors_end_a_receive() -> None:
    def scenario() -> list[bytes]:
        with pair() as (ours, theirs):
            receiving = spawn(lambda: [ours.recv(100) for _ in range(2)])
            hub.sleep(0)
            socket.send_fds(theirs, [b"with"], [0])
            theirs.sendall(b"without")
            found: list[bytes] = receiving.result(DEADLINE)
            return found

    assert hub.run(scenario) == [b"with", b"without"]


def test_urgent_data_ends_a_receive() -> None:
    def scenario() -> list[bytes]:
        with pair(socket.AF_INET) as (ours, theirs):
            receiving = spawn(lambda: [ours.recv(100), ours.recv(100)])
            hub.sleep(0)
            theirs.sendall(b"before")
            theirs.send(b"!", socket.MSG_OOB)
            theirs.sendall(b"after")
            found: list[bytes] = receiving.result(DEADLINE)
            return found

    assert b"".join(hub.run(scenario)) == b"beforeafter"


# -- closing --


@pytest.mark.parametrize(
    "wait",
    [
        pytest.param(lambda sock: sock.recv(1), id="recv"),
        pytest.param(lambda sock: sock.recvmsg(1), id="recvmsg"),
        pytest.param(lambda sock: (fill(sock), sock.sendall(b"x")), id="sendall"),
        pytest.param(lambda sock: sock.makefile("rb").readline(), id="readline"),
    ],
)
def test_closing_wakes_who_waits(wait: Callable[[socket.socket], Any]) -> None:
    def scenario() -> None:
        with pair() as (ours, _):
            task = spawn(wait, ours)
            while not task.is_parked:
                hub.sleep(0)
            ours._real_close()
            with pytest.raises(OSError, match="Bad file descriptor") as found:
                task.result(DEADLINE)
            assert found.value.errno == errno.EBADF

    hub.run(scenario)


def test_a_detached_descriptor_blocks_as_the_socket_did() -> None:
    for timeout, blocks in ((None, True), (5, True), (0, False)):
        ours, theirs = socket.socketpair()
        with theirs:
            sock = green(ours)
            sock.settimeout(timeout)
            descriptor = sock.detach()
            assert (os.get_blocking(descriptor), sock.fileno()) == (blocks, -1)
            os.close(descriptor)


def test_a_descriptor_used_anew_is_watched_anew() -> None:
    def scenario() -> None:
        for _ in range(50):
            with pair() as (ours, theirs):
                task = spawn(ours.recv, 5)
                hub.sleep(0)
                theirs.sendall(b"x")
                assert task.result(DEADLINE) == b"x"

    hub.run(scenario)


def test_deadlines_beside_the_timeout() -> None:
    def scenario() -> None:
        with pair() as (ours, theirs):
            ours.settimeout(None)
            ours.set_deadlines(idle=SHORT)
            with pytest.raises(TimeoutError, match="timed out"):
                ours.recv(1)
            ours.set_deadlines(total=SHORT)
            with pytest.raises(TimeoutError, match="timed out"):
                ours.recv(1)
            theirs.sendall(b"x")
            assert ours.recv(1) == b"x"  # what need not wait is done even then

    hub.run(scenario)


def test_a_peer_that_takes_nothing_is_given_up() -> None:
    def scenario() -> None:
        with pair() as (ours, _):
            ours.settimeout(None)
            ours.set_deadlines(write=SHORT)
            assert not ours.has_deadline
            fill(ours)
            with pytest.raises(TimeoutError, match="timed out"):
                ours.sendall(bytes(BULK))
            assert ours.has_deadline

    hub.run(scenario)


def test_a_peer_that_takes_a_little_now_and_then_is_not() -> None:
    def take(theirs: socket.socket) -> int:
        taken = 0
        while taken < BULK:
            taken += len(theirs.recv(PIECE))
            threading.Event().wait(SHORT / 100)
        return taken

    with pair() as (ours, theirs):
        ours.settimeout(None)
        ours.set_deadlines(write=DEADLINE)
        meanwhile(lambda: take(theirs), lambda: hub.run(ours.sendall, bytes(BULK)))


def test_a_deadline_ends_with_its_hub() -> None:
    with pair() as (ours, theirs):
        ours.settimeout(1_000)

        def scenario() -> bytes:
            spawn(theirs.sendall, b"x")
            return ours.recv(1)

        for _ in range(3):  # each in a thread, and so a hub, of its own
            assert in_thread(lambda: hub.run(scenario)) == b"x"
        ours.settimeout(SHORT)
        assert in_thread(lambda: outcome(lambda: hub.run(ours.recv, 1)))[0] is TimeoutError


@pytest.mark.parametrize("size", [50, 5_000, 200_000])
def test_lines_are_bounded(size: int) -> None:
    def scenario() -> None:
        with pair() as (ours, theirs), ours.makefile("rb") as file:
            file.bound_lines(size)
            whole = bytes(size - 1) + b"\n"
            task = spawn(lambda: [file.readline(), file.readline(10), file.readline(), file.readline()])
            writer = threading.Thread(target=theirs.sendall, args=(whole * 2 + bytes(size + 1),))
            writer.start()
            with pytest.raises(FrameTooLong):
                task.result(DEADLINE)
            assert file.readline(5) == bytes(5)  # a piece may be asked for all the same
            writer.join()

    hub.run(scenario)


# -- the interpreter's own tests --


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("where", [[], ["--in-tasks"]], ids=["in threads", "in tasks"])
def test_own_tests_pass(where: list[str], tmp_path: Path) -> None:
    if importlib.util.find_spec("test") is None or importlib.util.find_spec("test.test_socket") is None:
        pytest.skip("this Python comes without its test.test_socket; on Debian: apt install libpython3-testsuite")
    done = subprocess.run(
        [sys.executable, Path(__file__).parent / "own_tests.py", *where],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout
