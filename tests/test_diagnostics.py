"""The diagnostic services over real sockets: what the RFCs say, and what keeps them from being abused."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import portside
from portside import telemetry
from portside.apps import diagnostics
from portside.apps.diagnostics import CHARGEN, DAYTIME, DIAGNOSTICS, DISCARD, ECHO, PATTERN, Diagnostic
from portside.client import DatagramClient, StreamClient
from tests.conftest import DEADLINE

pytestmark = pytest.mark.usefixtures("no_leaks")

DAYTIME_LINE = re.compile(rb"[A-Z][a-z]+day, [A-Z][a-z]+ \d\d, \d{4} \d\d:\d\d:\d\d-\S+\r\n")
MEGABYTES = bytes(range(256)) * 4096 * 8


@contextmanager
def stream(app: Diagnostic, endpoint: str = "0") -> Iterator[StreamClient]:
    """A connection to the service."""
    with portside.start(app, endpoint, drain=1.0) as server:
        client = portside.connect(server.endpoint, timeout=DEADLINE)
        assert isinstance(client, StreamClient)
        with client:
            yield client


@contextmanager
def datagrams(app: Diagnostic, endpoint: str = "udp://127.0.0.1:0", **options: Any) -> Iterator[DatagramClient]:
    """A socket that talks to the service."""
    with portside.start(app, endpoint, **options) as server:
        client = portside.connect(server.endpoint, timeout=DEADLINE)
        assert isinstance(client, DatagramClient)
        with client:
            yield client


def told(app: Diagnostic, done: threading.Event) -> Diagnostic:
    """The service, telling when a datagram has been handled."""

    def handle(*arguments: Any) -> None:
        app.datagram(*arguments)
        done.set()

    return Diagnostic(stream=app.stream, datagram=handle)


def is_unanswered(client: socket.socket, ask: Callable[[], object], done: threading.Event) -> bool:
    """True when the service has handled the question and nothing came of it."""
    ask()
    assert done.wait(DEADLINE)
    client.setblocking(False)
    try:
        client.recv(1)
    except BlockingIOError:
        return True
    return False


@pytest.fixture
def failures() -> Iterator[list[telemetry.HandlerFailed]]:
    """What handlers have failed with."""
    seen: list[telemetry.HandlerFailed] = []
    with telemetry.subscribe(seen.append, telemetry.HandlerFailed):
        yield seen


# Echo


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_echo_returns_large_data(scheme: str, tmp_path: Path) -> None:
    with stream(ECHO, "0" if scheme == "tcp" else f"unix:{tmp_path}/echo") as client:

        def send() -> None:
            client.wfile.write(MEGABYTES)
            client.end()

        sender = threading.Thread(target=send)
        sender.start()
        assert client.rfile.read() == MEGABYTES
        sender.join(DEADLINE)


def test_echo_answers_at_once() -> None:
    with stream(ECHO) as client:
        for data in (b"no line end", b"\0", b"another"):
            client.wfile.write(data)
            assert client.rfile.read(len(data)) == data


def test_echo_holds_up_a_client_that_does_not_read() -> None:
    with stream(ECHO) as client:
        client.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):  # back-pressure, not memory: 1 GiB does not go in
            for _ in range(1024):
                client.socket.sendall(bytes(1 << 20))


@pytest.mark.parametrize("data", [b"hello", b"", bytes(range(256)) * 128], ids=len)
def test_echo_datagram(data: bytes) -> None:
    with datagrams(ECHO) as client:
        client.send(data)
        assert client.receive() == data


def test_echo_unix_datagram(tmp_path: Path) -> None:
    with datagrams(ECHO, f"unixgram:{tmp_path}/echo") as client:
        client.send(b"hello")
        assert client.receive() == b"hello"


def test_all_kinds_of_endpoint_at_once(tmp_path: Path) -> None:
    with portside.start(ECHO, "0", "udp://127.0.0.1:0", f"unix:{tmp_path}/s", f"unixgram:{tmp_path}/d") as server:
        for endpoint in server.endpoints:
            with endpoint.connect(DEADLINE) as client:
                client.send(b"hello")
                assert client.recv(100) == b"hello"


# Discard


def test_discard_reads_everything_and_says_nothing() -> None:
    with stream(DISCARD) as client:
        client.wfile.write(MEGABYTES)
        client.end()
        assert client.rfile.read() == b""


def test_discard_datagram_is_not_answered() -> None:
    done = threading.Event()
    with datagrams(told(DISCARD, done)) as client:
        assert is_unanswered(client.socket, lambda: client.send(b"hello"), done)


# Daytime


def test_daytime_answers_and_ends() -> None:
    with stream(DAYTIME) as client:
        assert DAYTIME_LINE.fullmatch(client.rfile.read())


def test_daytime_arrives_whatever_the_client_sent() -> None:
    with stream(DAYTIME) as client:
        client.wfile.write(MEGABYTES)  # a close before all of this is read would reset the connection
        assert DAYTIME_LINE.fullmatch(client.rfile.read())


def test_daytime_does_not_linger_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "LINGER", 0.05)
    closed = threading.Event()
    with telemetry.subscribe(lambda _: closed.set(), telemetry.ConnectionClosed), stream(DAYTIME) as client:
        assert DAYTIME_LINE.fullmatch(client.rfile.read())
        assert closed.wait(DEADLINE)  # though the client has not ended its side


@pytest.mark.parametrize("question", [b"", b"what time is it?"])
def test_daytime_datagram(question: bytes) -> None:
    with datagrams(DAYTIME) as client:
        client.send(question)
        assert DAYTIME_LINE.fullmatch(client.receive())


def test_daytime_is_written_as_in_the_rfc() -> None:
    then = time.strptime("1982-02-22 17:37:43 UTC", "%Y-%m-%d %H:%M:%S %Z")
    assert diagnostics.daytime(then) == b"Monday, February 22, 1982 17:37:43-UTC\r\n"


# Chargen


FIRST_LINES = rb"""
 !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefg
!"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefgh
"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefghi
#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefghij
""".removeprefix(b"\n")  # of the RFC's example


def test_chargen_sends_the_pattern_of_the_rfc() -> None:
    with stream(CHARGEN) as client:
        got = client.rfile.read(50 * len(PATTERN))
    assert got.startswith(FIRST_LINES.replace(b"\n", b"\r\n"))
    assert got == 50 * PATTERN
    lines = PATTERN.splitlines()
    assert len(set(lines)) == 95
    assert all(after[:-1] == before[1:] for before, after in zip(lines, [*lines[1:], lines[0]], strict=True))


def test_chargen_goes_on_for_a_client_that_only_ends_its_side() -> None:
    with stream(CHARGEN) as client:
        client.end()
        assert len(client.rfile.read(1 << 22)) == 1 << 22


def test_chargen_throws_away_what_comes() -> None:
    with stream(CHARGEN) as client:
        sender = threading.Thread(target=client.wfile.write, args=(MEGABYTES,))
        sender.start()
        while sender.is_alive():
            assert client.rfile.read(1 << 16)


def test_chargen_ends_with_its_service() -> None:
    drained: list[telemetry.DrainFinished] = []
    with (
        telemetry.subscribe(drained.append, telemetry.DrainFinished),
        portside.start(CHARGEN, 0, drain=DEADLINE) as server,
        server.endpoint.connect(DEADLINE) as client,
    ):
        assert client.recv(1)
        stopper = threading.Thread(target=server.stop)
        stopper.start()
        while client.recv(1 << 16):
            pass
        stopper.join(DEADLINE)
    assert [event.cut for event in drained if event.cut] == []


@pytest.mark.parametrize("size", [1, 2, 40, 512, 513, 9000])
def test_chargen_datagram_is_never_longer_than_the_question(size: int) -> None:
    with datagrams(CHARGEN) as client:
        for _ in range(50):
            client.send(bytes(size))
            answer = client.receive()
            assert len(answer) <= min(size, 512)
            assert PATTERN.startswith(answer)


def test_chargen_datagrams_have_many_lengths() -> None:
    with datagrams(CHARGEN) as client:
        lengths = set()
        for _ in range(100):
            client.send(bytes(1000))
            lengths.add(len(client.receive()))
    assert len(lengths) > 20


def test_chargen_does_not_answer_an_empty_datagram() -> None:
    done = threading.Event()
    with datagrams(told(CHARGEN, done)) as client:
        assert is_unanswered(client.socket, lambda: client.send(b""), done)


# Whom not to answer


@pytest.mark.parametrize(
    ("sender", "answered"),
    [
        *((("192.0.2.1", port), False) for port in (0, 7, 13, 17, 19, 37, 53, 123, 1023)),
        (("192.0.2.1", 1024), True),
        (("192.0.2.1", 9007), False),  # the service's own port, elsewhere
        (("2001:db8::1", 19, 0, 0), False),
        (("2001:db8::1", 40000, 0, 0), True),
    ],
)
def test_servers_are_no_clients(sender: tuple[Any, ...], answered: bool) -> None:
    assert diagnostics.is_client(sender, ("0.0.0.0", 9007)) is answered
    assert diagnostics.is_client(sender, ("::", 9007, 0, 0)) is answered


@pytest.mark.parametrize(("sender", "answered"), [(None, False), ("", False), ("/run/me", True), (b"\0me", True)])
def test_unix_senders_are_clients_where_they_have_an_address(sender: object, answered: bool) -> None:
    assert diagnostics.is_client(sender, "/run/echo") is answered


@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_a_service_on_the_same_port_elsewhere_is_not_answered(name: str) -> None:
    done = threading.Event()
    service = told(DIAGNOSTICS[name], done)
    with portside.start(service, "udp://127.0.0.1:0") as server, socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.2", server.endpoint.port))
        assert is_unanswered(other, lambda: other.sendto(b"hello", server.endpoint.address), done)


def test_a_sender_without_an_address_is_no_failure(tmp_path: Path, failures: list[telemetry.HandlerFailed]) -> None:
    done = threading.Event()
    with portside.start(told(ECHO, done), f"unixgram:{tmp_path}/echo"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.sendto(b"hello", f"{tmp_path}/echo")
        assert done.wait(DEADLINE)
    assert not failures


def test_a_client_that_never_reads_holds_up_no_handler(tmp_path: Path, failures: list[telemetry.HandlerFailed]) -> None:
    handled = threading.Semaphore(0)
    count = 2000  # more than the system keeps for a reader (net.unix.max_dgram_qlen, and the sender's buffer)

    def handle(*arguments: Any) -> None:
        ECHO.datagram(*arguments)
        handled.release()

    service = Diagnostic(stream=ECHO.stream, datagram=handle)
    with portside.start(service, f"unixgram:{tmp_path}/echo", max_handlers=1) as server:
        with server.endpoint.connect(DEADLINE) as silent:
            for _ in range(count):
                silent.send(b"hello")
            assert all(handled.acquire(timeout=DEADLINE) for _ in range(count))
        with server.endpoint.connect(DEADLINE) as client:
            client.send(b"me too")
            assert client.recv(100) == b"me too"
    assert not failures
