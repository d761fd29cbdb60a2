"""Drains: idle clients are woken, busy ones left alone, and at the deadline it is over."""

import asyncio
import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from portside import dispatcher, socketserver, telemetry
from portside import drain as module
from portside.connections import Connection, Connections
from portside.drain import GRACE, INSIST, QUIET, TICK, Drain
from portside.telemetry import CloseReason
from tests.conftest import DEADLINE, wait_until
from tests.pains.serving import LOOPBACK, client_of, dial, in_background, read_all

pytestmark = pytest.mark.usefixtures("no_leaks")

# The phases, on a clock that only the drain's own sleeping moves.


class Scripted(Connection):
    """A connection whose client falls quiet at a moment of the script."""

    def __init__(self, clock: "Clock", quiet_from: float) -> None:
        self._clock = clock
        self._quiet_from = quiet_from
        self.opened = -60.0
        self.woken = self.idle = False
        self.woken_at: float | None = None
        self.cut_at: float | None = None

    def is_quiet(self, seconds: float) -> bool:
        return self._clock.now >= self._quiet_from + seconds

    def end_input(self) -> None:
        assert not self.woken
        self.woken = True
        self.woken_at = self._clock.now

    def cut(self) -> None:
        assert self.cut_at is None
        self.cut_at = self._clock.now


class Known(Connections):
    """The connections of the script."""

    def __init__(self, connections: list[Connection]) -> None:
        self._connections = connections

    def all(self) -> list[Connection]:
        return self._connections


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= TICK
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=clock_sleeper(clock)))
    return clock


def clock_sleeper(clock: Clock) -> Any:
    async def sleep(seconds: float) -> None:
        clock.sleep(seconds)

    return sleep


def run(drain: Drain) -> None:
    drain.run()


def run_async(drain: Drain) -> None:
    steps = drain.run_async()
    with pytest.raises(StopIteration):
        steps.send(None)


NEVER = float("inf")
both_ways = pytest.mark.parametrize("drained", [run, run_async])


@both_ways
def test_a_quiet_client_is_woken_first(clock: Clock, drained: Callable[[Drain], None]) -> None:
    long_quiet, just_quiet, busy = (Scripted(clock, moment) for moment in (-60.0, 1.0, NEVER))
    drained(Drain(Known([long_quiet, just_quiet, busy]), lambda: 3, 10.0))
    assert long_quiet.woken_at == 0
    assert just_quiet.woken_at == pytest.approx(1 + QUIET, abs=TICK)
    assert busy.woken_at == pytest.approx(10 * INSIST, abs=TICK)


@both_ways
def test_at_the_deadline_all_is_cut(clock: Clock, drained: Callable[[Drain], None]) -> None:
    connections = [Scripted(clock, moment) for moment in (-60.0, NEVER)]
    drain = Drain(Known([*connections]), lambda: 2, 4.0)
    drained(drain)
    assert [each.cut_at for each in connections] == [pytest.approx(4, abs=TICK)] * 2
    assert drain.cut == 2
    assert clock.now == pytest.approx(4 + GRACE, abs=2 * TICK)


@both_ways
def test_it_is_over_when_nothing_runs(clock: Clock, drained: Callable[[Drain], None]) -> None:
    left = Scripted(clock, NEVER)
    drain = Drain(Known([left]), lambda: int(clock.now < 1), 30.0)
    drained(drain)
    assert clock.now == pytest.approx(1, abs=TICK)
    assert (left.woken_at, left.cut_at, drain.cut) == (None, None, 0)


def test_the_grace_ends_with_the_last_handler(clock: Clock) -> None:
    Drain(Known([Scripted(clock, NEVER)]), lambda: int(clock.now < 2.1), 2.0).run()
    assert clock.now == pytest.approx(2.1, abs=TICK)


def test_no_time_at_all_cuts_at_once(clock: Clock) -> None:
    connection = Scripted(clock, -60.0)
    Drain(Known([connection]), lambda: int(connection.cut_at is None), 0).run()
    assert (connection.woken_at, connection.cut_at, clock.now) == (None, 0, 0)


@both_ways
def test_a_hurry_ends_it_early(clock: Clock, drained: Callable[[Drain], None]) -> None:
    connection = Scripted(clock, NEVER)

    def running() -> int:
        if clock.now > 1:
            drain.hurry()
        return int(connection.cut_at is None)

    drain = Drain(Known([connection]), running, 30.0)
    drained(drain)
    assert connection.cut_at == pytest.approx(1, abs=2 * TICK)
    assert clock.now < 1 + GRACE


def test_looks_come_at_growing_distances(clock: Clock) -> None:
    looks: list[float] = []

    def running() -> int:
        looks.append(clock.now)
        return int(clock.now < 0.1)

    Drain(Known([]), running, 5.0).run()
    pauses = [later - earlier for earlier, later in itertools.pairwise(looks) if later > earlier]
    assert pauses[:4] == [pytest.approx(each) for each in (0.001, 0.002, 0.004, 0.008)]
    assert max(pauses) == pytest.approx(TICK)


# Real handlers and clients


class Seen:
    """The events of one server."""

    def __init__(self) -> None:
        self.events: list[telemetry.Event] = []

    def of(self, kind: type[telemetry.Event]) -> list[Any]:
        return [event for event in self.events if type(event) is kind]

    @property
    def reasons(self) -> list[CloseReason]:
        return [event.reason for event in self.of(telemetry.ConnectionClosed)]

    @property
    def outcome(self) -> list[tuple[int, int]]:
        """Of each drain, how many were cut and how many abandoned."""
        return [(event.cut, event.abandoned) for event in self.of(telemetry.DrainFinished)]


@pytest.fixture
def seen() -> Iterator[Seen]:
    seen = Seen()
    with telemetry.subscribe(seen.events.append):
        yield seen


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers that were cut get the time that a busy machine needs; those that return at once take no more of it."""
    for user in (module, dispatcher):
        monkeypatch.setattr(user, "GRACE", DEADLINE)


@contextmanager
def one_client(kind: str, handler: Any) -> Iterator[tuple[Any, socket.socket]]:
    """A server in the background, and a client whose handler has said "!"."""
    server = getattr(socketserver, kind)(LOOPBACK, handler)
    loop = in_background(server.serve_forever)
    with server:
        with client_of(server) as client:
            assert client.recv(1) == b"!"
            if kind.startswith("Forking"):  # a child may speak before its parent has noted it
                assert wait_until(lambda: bool(server.active_children))
            yield server, client
        loop.join(DEADLINE)
    assert not loop.is_alive()


def count_and_tell(request: Any, client_address: Any, server: Any) -> None:
    request.sendall(b"!")
    request.sendall(str(len(read_all(request))).encode())


async def count_and_tell_async(request: Any, client_address: Any, server: Any) -> None:
    reader, writer = await asyncio.open_connection(sock=request.dup())
    writer.write(b"!")
    writer.write(str(len(await reader.read())).encode())
    await writer.drain()
    writer.close()


HANDLERS = {"AsyncTCPServer": count_and_tell_async}
KINDS = ["ThreadingTCPServer", "ForkingTCPServer", "AsyncTCPServer"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_idle_client_gets_its_answer(kind: str, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INSIST", 2)  # never: a client that is not woken for being quiet would be cut
    with one_client(kind, HANDLERS.get(kind, count_and_tell)) as (server, client):
        client.sendall(b"12345")
        server.shutdown(drain=DEADLINE)
        assert read_all(client) == b"5"
    assert [(event.running, event.seconds) for event in seen.of(telemetry.DrainStarted)] == [(1, DEADLINE)]
    assert (seen.outcome, seen.reasons) == ([(0, 0)], [CloseReason.DONE])


class Pace:
    """Takes steps with short pauses between them; on a busy machine they may become long ones."""

    def __init__(self) -> None:
        self.longest = 0.0  # seconds from before one step until after the next
        self._began = time.monotonic()

    def take(self, step: Callable[[], object]) -> None:
        threading.Event().wait(QUIET / 10)
        began = time.monotonic()
        step()
        self.longest = max(self.longest, time.monotonic() - self._began)
        self._began = began


def upload(kind: str) -> tuple[bytes, float]:
    """What is answered to a client that uploads 21 bytes during a drain, and its longest pause in seconds."""
    answer, pace = b"", Pace()
    with one_client(kind, HANDLERS.get(kind, count_and_tell)) as (server, client):
        send, end = partial(client.sendall, b"x"), partial(client.shutdown, socket.SHUT_WR)
        stopping = threading.Thread(target=partial(server.shutdown, drain=DEADLINE), daemon=True)
        steps: list[Callable[[], object]] = [send, stopping.start, *[send] * 20, end]
        with suppress(OSError):  # it was disturbed: the conversation is over before the upload is
            for step in steps:
                pace.take(step)
            answer = read_all(client)
        stopping.join(DEADLINE)
    return answer, pace.longest


@pytest.mark.parametrize("kind", KINDS)
def test_an_upload_is_not_disturbed(kind: str, seen: Seen) -> None:
    """It lasts longer than a client may be quiet, and pauses for less; where a busy machine does not let it, again."""
    answer, pause = upload(kind)
    while answer != b"21":
        assert pause > QUIET - TICK, "an upload that did not pause was disturbed"
        seen.events.clear()
        answer, pause = upload(kind)
    assert (seen.outcome, seen.reasons) == ([(0, 0)], [CloseReason.DONE])


def test_a_client_that_never_stops_is_asked_to(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INSIST", 0.1)  # after a second, which leaves most of the time for the answer
    with one_client("ThreadingTCPServer", count_and_tell) as (server, client):
        stopped = threading.Event()

        def talk() -> None:
            with suppress(OSError):  # the handler has answered and left
                while not stopped.wait(QUIET / 10):
                    client.sendall(b"x")

        talking = in_background(talk)
        server.shutdown(drain=DEADLINE)
        stopped.set()
        talking.join(DEADLINE)
        assert int(client.recv(100)) > 0
    assert seen.outcome == [(0, 0)]


MEGABYTES = 20


def write_much(request: Any, client_address: Any, server: Any) -> None:
    request.sendall(b"!")
    request.sendall(bytes(MEGABYTES * 2**20))


@pytest.mark.parametrize("kind", ["ThreadingTCPServer", "ForkingTCPServer"])
def test_an_answer_arrives_whole(kind: str, seen: Seen) -> None:
    with one_client(kind, write_much) as (server, client):
        stopping = in_background(lambda: server.shutdown(drain=DEADLINE))
        stopping.join(2 * QUIET)
        assert stopping.is_alive()
        assert len(read_all(client)) == MEGABYTES * 2**20
        stopping.join(DEADLINE)
    assert (seen.outcome, seen.reasons) == ([(0, 0)], [CloseReason.DONE])


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("kind", ["ThreadingTCPServer", "ForkingTCPServer"])
def test_a_client_that_does_not_read_is_cut(kind: str, seen: Seen) -> None:
    with one_client(kind, write_much) as (server, _):
        server.shutdown(drain=0.2)
    assert (seen.outcome, seen.reasons) == ([(1, 0)], [CloseReason.CUT])
    assert not seen.of(telemetry.HandlerFailed)


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("kind", KINDS)
def test_no_time_at_all(kind: str, seen: Seen) -> None:
    with one_client(kind, HANDLERS.get(kind, count_and_tell)) as (server, _):
        server.shutdown(drain=0)
    assert (seen.outcome, seen.reasons) == ([(1, 0)], [CloseReason.CUT])


def test_a_thread_that_waits_for_something_else_is_abandoned(seen: Seen) -> None:
    go_on = threading.Event()

    def handle(request: Any, client_address: Any, server: Any) -> None:
        request.sendall(b"!")
        go_on.wait(DEADLINE)

    with one_client("ThreadingTCPServer", handle) as (server, client):
        server.shutdown(drain=0.1)
        assert wait_until(lambda: seen.outcome == [(1, 1)])
        assert client.recv(1) == b""
        go_on.set()


def test_a_child_that_waits_for_something_else_is_killed(seen: Seen) -> None:
    def handle(request: Any, client_address: Any, server: Any) -> None:
        request.sendall(b"!")
        threading.Event().wait()

    with one_client("ForkingTCPServer", handle) as (server, _):
        (pid,) = server.active_children
        server.shutdown(drain=0.1)
        assert wait_until(lambda: not os.path.exists(f"/proc/{pid}"))
        assert wait_until(lambda: seen.outcome == [(1, 0)])
    assert [(event.pid, event.exit_code) for event in seen.of(telemetry.WorkerExited)] == [(pid, -9)]


@pytest.mark.parametrize("kind", KINDS)
def test_new_clients_are_refused_at_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET", 2 * DEADLINE)  # nobody is woken, so the drain goes on
    with one_client(kind, HANDLERS.get(kind, count_and_tell)) as (server, client):
        stopping = in_background(lambda: server.shutdown(drain=DEADLINE))
        with pytest.raises(ConnectionError):
            while True:
                dial(server.server_address).close()
        assert stopping.is_alive()
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"0"
        stopping.join(DEADLINE)


def test_without_a_drain_handlers_are_left_alone(seen: Seen) -> None:
    with one_client("ThreadingTCPServer", count_and_tell) as (server, client):
        server.shutdown()
        threading.Event().wait(2 * QUIET)
        client.sendall(b"123")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"3"
        # Here, not after the server was closed: closing drains too, and its handler may still be on its way out.
        assert not seen.of(telemetry.DrainStarted)


def test_a_server_without_clients_has_nothing_to_drain(seen: Seen) -> None:
    with socketserver.ThreadingTCPServer(LOOPBACK, count_and_tell) as server:
        loop = in_background(server.serve_forever)
        server.shutdown(drain=DEADLINE)
        loop.join(DEADLINE)
    assert not seen.of(telemetry.DrainStarted)


@pytest.mark.parametrize("kind", KINDS)
def test_closing_drains_too(kind: str, seen: Seen) -> None:
    with one_client(kind, HANDLERS.get(kind, count_and_tell)) as (server, client):
        server.server_close()
        assert read_all(client) == b"0"
    assert (seen.outcome, seen.reasons) == ([(0, 0)], [CloseReason.DONE])


@pytest.mark.usefixtures("patience")
def test_closing_waits_no_longer_than_drain_timeout(seen: Seen) -> None:
    with one_client("ThreadingTCPServer", write_much) as (server, _):
        server.drain_timeout = 0.2
        server.server_close()
        assert seen.outcome == [(1, 0)]


@pytest.mark.parametrize(("name", "value"), [("block_on_close", False), ("daemon_threads", True)])
def test_closing_waits_for_nobody_where_that_is_asked_for(name: str, value: bool) -> None:
    server = socketserver.ThreadingTCPServer(LOOPBACK, count_and_tell)
    setattr(server, name, value)
    loop = in_background(server.serve_forever)
    with client_of(server) as client:
        assert client.recv(1) == b"!"
        server.server_close()
        client.sendall(b"123")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"3"
    loop.join(DEADLINE)


# A handler in the loop's own thread


@pytest.mark.parametrize("end", ["shutdown", "server_close"])
def test_a_serial_handler_that_waits_for_an_idle_client(end: str) -> None:
    with one_client("TCPServer", count_and_tell) as (server, client):
        getattr(server, end)()
        assert read_all(client) == b"0"


def test_a_serial_handler_that_writes_to_nobody(seen: Seen) -> None:
    with one_client("TCPServer", write_much) as (server, _):
        server.drain_timeout = 0.2
        server.shutdown()
    assert seen.reasons == [CloseReason.CUT]


def test_a_handler_may_drain_its_own_server(seen: Seen) -> None:
    """It is not waited for, by itself or by the loop's drain."""

    def handle(request: Any, client_address: Any, server: Any) -> None:
        request.sendall(b"!")
        server.shutdown(drain=DEADLINE)
        request.sendall(b"done")

    with one_client("ThreadingTCPServer", handle) as (_, client):
        assert read_all(client) == b"done"
    assert seen.reasons == [CloseReason.DONE]


def test_a_drain_is_cut_short_by_force(seen: Seen) -> None:
    with one_client("ThreadingTCPServer", write_much) as (server, _):
        stopping = in_background(lambda: server.shutdown(drain=3600.0))
        assert wait_until(lambda: bool(seen.of(telemetry.DrainStarted)))
        server._portside.force()
        stopping.join(DEADLINE)
        assert not stopping.is_alive()
    assert seen.reasons == [CloseReason.CUT]


def test_force_just_before_the_drain_is_not_lost(seen: Seen) -> None:
    """As by a second signal at once after the first; the handler would not notice that it was cut."""
    go_on = threading.Event()

    def handle(request: Any, client_address: Any, server: Any) -> None:
        request.sendall(b"!")
        go_on.wait(DEADLINE)

    with one_client("ThreadingTCPServer", handle) as (server, _):
        with telemetry.subscribe(lambda _: server._portside.force(), telemetry.DrainStarted):
            stopping = in_background(lambda: server.shutdown(drain=3600.0))
            stopping.join(DEADLINE)
        assert not stopping.is_alive()
        go_on.set()
    assert seen.reasons == [CloseReason.CUT]


@pytest.mark.parametrize("kind", ["ThreadingTCPServer", "ForkingTCPServer"])
def test_by_force(kind: str, seen: Seen) -> None:
    with one_client(kind, write_much) as (server, _):
        server._portside.force()
        server.shutdown(drain=DEADLINE)
    assert seen.reasons == [CloseReason.CUT]
