"""Whatever a client or a handler does wrong, the next client is served and nothing is left behind, by any engine."""

import contextlib
import errno
import os
import resource
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portside.framing import Codec, LengthPrefixed, Lines, Netstring, Varint
from tests.conftest import descriptors, wait_until
from tests.engines import fixtures
from tests.engines.instruments import Gate, Journal
from tests.engines.kit import KITS, STREAMS, Busy, Kit, Stand, asked, bound, dialled, reset, rest, serving

pytestmark = pytest.mark.usefixtures("no_leaks")

warm, kit, journal, gate = fixtures.warm, fixtures.kit, fixtures.journal, fixtures.gate

ENDLESS = 1_000_000  # bytes without a line's end: more than any buffer between client and handler gives up at
ROOT = Path(__file__).parent.parent
NOBODY = 65_534  # the user that has no rights


@contextlib.contextmanager
def harmless(kit: Kit, handler: Any, **options: Any) -> Iterator[Stand]:
    """A server that, whatever the block did to it, serves the next client."""
    with serving(kit, handler, **options) as stand:
        yield stand
        assert stand.ask(b"next\n") == b"NEXT\n"


# Clients


@contextlib.contextmanager
def impatient(kit: Kit, *said: bytes, scheme: str = "tcp") -> Iterator[list[socket.socket]]:
    """A server that waits a moment for each line, and clients that have said something and then are silent.

    It begins to serve when all is said: it would not wait for a client that a busy machine holds up.
    """
    with bound(kit, kit.handlers.Impatient, scheme=scheme) as server, contextlib.closing(Stand(server)) as stand:
        clients = [stand.dial() for _ in said]
        for client, words in zip(clients, said, strict=True):
            client.sendall(words)
        stand.start()
        yield clients


@pytest.mark.parametrize("scheme", STREAMS)
def test_half_a_line_and_then_silence(kit: Kit, scheme: str, journal: Journal) -> None:
    with impatient(kit, b"half a li", b"next\n", scheme=scheme) as clients:
        assert [rest(client) for client in clients] == [b"", b"NEXT\n"]
        assert [journal.next("ConnectionClosed").reason for _ in clients] == ["timed out"] * 2
    assert journal.all("HandlerFailed") == []


def test_silence_between_lines(kit: Kit, journal: Journal) -> None:
    with impatient(kit, b"one\n", b"next\n") as clients:
        assert [rest(client) for client in clients] == [b"ONE\n", b"NEXT\n"]
        closed = [journal.next("ConnectionClosed") for _ in clients]
        told = {(each.reason, each.bytes_in, each.bytes_out) for each in closed}
        assert told == {("timed out", 4, 4), ("timed out", 5, 5)}


def framed(kit: Kit, codec: Codec) -> type:
    return type("Framed", (kit.handlers.FrameEcho,), {"codec": codec})


def announce(size: int) -> bytes:
    return struct.pack("!Q", size)


BAD_FRAMES = {
    "line-without-end": (Lines(), b"x" * ENDLESS),
    "2**63-bytes": (LengthPrefixed(width=8), announce(2**63)),
    "2**64-1-bytes": (LengthPrefixed(width=8), announce(2**64 - 1)),
    "varint-of-2**63": (Varint(), b"\x80" * 9 + b"\x01"),
    "varint-without-end": (Varint(), b"\xff" * 20),
    "netstring-of-2**63": (Netstring(), b"%d:" % 2**63),
    "no-netstring": (Netstring(), b"hello\n"),
    "half-a-frame": (LengthPrefixed(), b"\0\0\0\5hel"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_frame_that_breaks_the_rules(kit: Kit, name: str, journal: Journal) -> None:
    codec, bad = BAD_FRAMES[name]
    good = codec.encode(b"good")
    with serving(kit, framed(kit, codec)) as stand:
        assert conversation(stand, good + bad) in (good, b"")  # bytes that were not read may reset even the answer
        assert journal.next("ConnectionClosed").reason == "bad input"
        assert conversation(stand, good) == good
    assert journal.all("HandlerFailed") == []


def conversation(stand: Stand, everything: bytes) -> bytes:
    """Say everything, and listen to the end."""
    with stand.dial() as client:
        with contextlib.suppress(OSError):  # the server has heard enough
            client.sendall(everything)
            client.shutdown(socket.SHUT_WR)
        return rest(client)


def test_client_resets_before_it_is_accepted(kit: Kit, journal: Journal) -> None:
    with bound(kit, kit.handlers.Echo) as server:
        reset(dialled(server))
        with contextlib.closing(Stand(server)) as stand:
            stand.start()
            assert stand.ask(b"next\n") == b"NEXT\n"
    assert "failed" not in [entry.reason for entry in journal.all("ConnectionClosed")]
    assert journal.all("HandlerFailed") == []


@pytest.mark.parametrize("sent", [b"", b"half a li", b"a line\n"])
def test_client_resets_while_it_is_read(kit: Kit, sent: bytes, journal: Journal) -> None:
    with harmless(kit, kit.handlers.Echo) as stand:
        client = stand.dial()
        assert asked(client, b"hello\n") == b"HELLO\n"
        client.sendall(sent)
        reset(client)
        assert journal.next("ConnectionClosed").reason == "client left"
    assert journal.all("HandlerFailed") == []


@pytest.mark.parametrize("leave", [reset, socket.socket.close])
def test_client_leaves_while_it_is_written_to(kit: Kit, leave: Any, journal: Journal) -> None:
    with serving(kit, kit.handlers.Floods, handler_args={"journal": journal}) as stand:
        for _ in range(2):
            client = stand.dial()
            assert client.recv(1)
            leave(client)
            assert journal.next("ConnectionClosed").reason == "client left"
    assert journal.all("HandlerFailed") == []


def test_unix_client_leaves_while_it_is_written_to(kit: Kit, journal: Journal) -> None:
    with serving(kit, kit.handlers.Floods, scheme="unix", handler_args={"journal": journal}) as stand:
        with stand.dial() as client:
            assert client.recv(1)
        assert journal.next("ConnectionClosed").reason == "client left"
    assert journal.all("HandlerFailed") == []


CROWD = """
import contextlib, json, resource, socket, sys, threading
import portside
from tests.conftest import descriptors, wait_until

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
threading.stack_size(256 * 1024)

class Shout(portside.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())

start = len(descriptors()), threading.active_count()
with portside.start(Shout, 0, drain=30) as server:
    count = min(2000, hard // 2 - 100)
    with contextlib.ExitStack() as stack:
        address = "127.0.0.1", server.endpoint.port
        for _ in range(count):
            stack.enter_context(socket.create_connection(address, timeout=30))
        with socket.create_connection(address, timeout=30) as client:
            client.sendall(b"next\\n")
            print(client.recv(100))
        print(threading.active_count() - start[1] > count)
wait_until(lambda: (len(descriptors()), threading.active_count()) == start)
print(len(descriptors()) - start[0], threading.active_count() - start[1])
"""


def python(program: str, **options: Any) -> str:
    """What a program prints, run by itself in a fresh interpreter."""
    options.setdefault("env", os.environ)
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=ROOT, check=False, **options)
    assert (done.returncode, done.stderr) == (0, "")
    return str(done.stdout)


@pytest.mark.slow
def test_two_thousand_connections_that_never_send() -> None:
    assert python(CROWD).splitlines() == ["b'NEXT\\n'", "True", "0 0"]


# Handlers


def test_handler_raises(kit: Kit, journal: Journal) -> None:
    with harmless(kit, kit.handlers.Raises) as stand:
        assert stand.ask(b"raise\n") == b""
        assert journal.next("HandlerFailed").error == "LookupError"
        closed = journal.next("ConnectionClosed")
        assert closed.reason == "failed"
        assert closed.error == (None if kit.forks else "LookupError")  # what a child raised stays there


def test_datagram_handler_raises(kit: Kit, journal: Journal) -> None:
    with serving(kit, kit.handlers.DatagramRaises, scheme="udp") as stand:
        stand.dial().send(b"raise")
        assert journal.next("HandlerFailed").error == "LookupError"
        assert stand.ask(b"next") == b"NEXT"


def test_handler_exits(kit: Kit, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)  # passes over SystemExit; pytest's does not
    with serving(kit, kit.handlers.Exits) as stand:
        assert stand.ask(b"exit\n") == b""
        assert journal.next("ConnectionClosed")
        if kit.name == "drop-in":
            assert stand.has_ended()
            assert isinstance(stand.ended_with, SystemExit)
            stand.start()  # as the standard library's could
        assert stand.ask(b"next\n") == b"NEXT\n"


@pytest.mark.parametrize("kit", [kit for kit in KITS if kit.name in ("serial", "async")], ids=str)
def test_exit_of_a_handler_is_told(kit: Kit, journal: Journal) -> None:
    with serving(kit, kit.handlers.Exits) as stand:
        assert stand.ask(b"exit\n") == b""
        assert journal.next("ConnectionClosed").reason == "failed"
    assert len(journal.all("HandlerFailed")) == 1


def test_handler_closes_the_connection_itself(kit: Kit, journal: Journal) -> None:
    with serving(kit, kit.handlers.Closes) as stand:
        for _ in range(3):
            assert stand.ask(b"hello\n") == b"HELLO\n"
            assert journal.next("ConnectionClosed").reason == "done"
    assert journal.all("HandlerFailed") == []


def test_handler_leaves_a_thread_behind(kit: Kit, journal: Journal, gate: Gate) -> None:
    with harmless(kit, kit.handlers.LeavesThread, handler_args={"gate": gate}) as stand:
        for _ in range(2):
            assert stand.ask(b"hello\n") == b"HELLO\n"
            assert journal.next("ConnectionClosed").reason == "done"
    gate.open()
    assert wait_until(lambda: not any("wait" in thread.name for thread in threading.enumerate()))


# The system


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Within the block, this process gets no further descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as taken:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(descriptors()) + 1, hard))
        try:
            with contextlib.suppress(OSError):
                while True:
                    taken.callback(os.close, os.open(os.devnull, os.O_RDONLY))
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("scheme", STREAMS)
def test_no_descriptors_left(kit: Kit, scheme: str, journal: Journal) -> None:
    with serving(kit, kit.handlers.Echo, scheme=scheme, hooks=(Busy,), journal=journal) as stand:
        journal.next("turn")  # all that the loop needs is open
        clients = [stand.unconnected() for _ in range(3)]
        with no_descriptor_left():
            for client in clients:
                client.connect(stand.server.server_address)
            assert [rest(client) for client in clients] == [b"", b"", b""]
            assert journal.next("AcceptPaused").error == "OSError"
        assert [journal.next("ConnectionRefused").reason for _ in clients] == ["descriptors"] * 3
        assert wait_until(lambda: is_served(stand))  # whoever comes while others are turned away still goes with them
    journal.next("AcceptResumed")
    assert len(journal.all("AcceptPaused")) == 1


def is_served(stand: Stand) -> bool:
    try:
        return stand.ask(b"next\n") == b"NEXT\n"
    except ConnectionError:
        return False


@pytest.mark.parametrize("scheme", ["tcp", "udp", "unix", "unixgram"])
def test_address_in_use(kit: Kit, scheme: str) -> None:
    with bound(kit, kit.handlers.Quiet, scheme=scheme) as server:
        with pytest.raises(OSError, match=r" is in use: another program listens there \(find it with `ss ") as caught:
            kit.servers[scheme](server.server_address, kit.handlers.Quiet)
        assert caught.value.errno == errno.EADDRINUSE


UNPRIVILEGED = f"""
import os
from portside import start  # while its files can still be read
if os.getuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
for endpoint in ("tcp://127.0.0.1:1", "udp://127.0.0.1:1"):
    try:
        start(print, endpoint)
    except PermissionError as error:
        print(error)
print(len(os.listdir("/proc/self/fd")))
"""
FIRST_FREE_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


@pytest.mark.skipif(int(FIRST_FREE_PORT.read_text()) < 2, reason="everybody may use every port on this machine")
def test_port_without_rights() -> None:
    outside = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}  # nobody may write it
    tcp, udp, left = python(UNPRIVILEGED, env=outside).splitlines()
    for scheme, said in (("tcp", tcp), ("udp", udp)):
        assert said.startswith(f"[Errno {errno.EACCES}] {scheme}://127.0.0.1:1 needs rights: use a port from 1024 up")
    assert left == "4"  # the standard three, and the one that counts
