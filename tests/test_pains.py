"""The failings of the standard library's servers, each shown on its class, and gone from ours.

The numbers are the project's own list of failings: docs/differences.md tells what each is about.
"""

import contextlib
import logging
import selectors
import signal
import socket
import socketserver as stdlib
import threading
import time
from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Any

import pytest

from portside import socketserver as ours
from portside import telemetry
from tests.conftest import DEADLINE, SETTLE, wait_until
from tests.pains.observing import observe
from tests.pains.serving import (
    LOOPBACK,
    answer,
    asleep,
    client_of,
    dial,
    in_background,
    queue_is,
    read_all,
    serving,
    switches,
    waiting_clients,
)

pytestmark = pytest.mark.usefixtures("no_leaks")

STDLIB, OURS = "socketserver", "portside.socketserver"


def both(failing: Any, gone: Any) -> pytest.MarkDecorator:
    """The same experiment on both faces: what is seen on the standard library's, and on ours."""
    marks = pytest.mark.slow if failing in ("hangs", "zombie") else ()
    rows = [pytest.param(STDLIB, failing, id="stdlib", marks=marks), pytest.param(OURS, gone, id="ours")]
    return pytest.mark.parametrize(("name", "seen"), rows)


def face(name: str) -> Any:
    return {STDLIB: stdlib, OURS: ours}[name]


def bigger_than(limit: float) -> Callable[[float], bool]:
    return lambda value: value > limit


def at_most(limit: float) -> Callable[[float], bool]:
    return lambda value: value <= limit


class Holding:
    """A handler that says "!" and stays until its client has left; tells how many are at work."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def __call__(self, request: Any, client_address: Any, server: Any) -> None:
        self.threads.append(threading.current_thread())
        request.sendall(b"!")
        read_all(request)


def hold(request: Any, client_address: Any, server: Any) -> None:
    request.sendall(b"!")
    read_all(request)


def echo(request: Any, client_address: Any, server: Any) -> None:
    request.sendall(read_all(request))


async def hold_async(request: Any, client_address: Any, server: Any) -> None:
    """Nobody comes in the tests that use it."""


# 1: shutdown() from anywhere, at any moment


@pytest.mark.parametrize("kind", ["TCPServer", "ForkingTCPServer"])
@both("hangs", "ends")
def test_01_shutdown_in_the_handler(name: str, seen: str, kind: str) -> None:
    assert observe(name, "shutdown_in_the_handler", kind).seen == seen


@pytest.mark.parametrize(
    "experiment", ["shutdown_in_service_actions", "shutdown_before_serving", "shutdown_in_a_signal_handler"]
)
@both("hangs", "ends")
def test_01_shutdown(name: str, seen: str, experiment: str) -> None:
    assert observe(name, experiment).seen == seen


# 2: shutdown() at once, and no wake-ups


@both(bigger_than(0.1), at_most(0.01))
def test_02_shutdown_of_an_idle_server(name: str, seen: Callable[[float], bool]) -> None:
    """A busy machine may need several tries, but no try of the one is as quick, or as slow, as the other's."""
    assert wait_until(lambda: seen(shutdown_seconds(face(name).TCPServer(LOOPBACK, echo))))


def shutdown_seconds(server: Any) -> float:
    """How long shutdown() takes when the loop has just gone to sleep."""
    with server:
        loop = in_background(server.serve_forever)
        assert asleep(loop)
        started = time.perf_counter()
        server.shutdown()
        taken = time.perf_counter() - started
        loop.join(DEADLINE)
    return taken


@both((10, DEADLINE, True), (2, 0.5, False))
def test_02_wake_ups_of_an_idle_server(name: str, seen: tuple[int, float, bool]) -> None:
    *limits, wakes = seen
    assert wait_until(lambda: wakes_up(face(name).TCPServer(LOOPBACK, echo), *limits) is wakes)


@pytest.mark.parametrize("kind", ["ThreadingTCPServer", "ForkingTCPServer", "AsyncTCPServer", "UDPServer"])
def test_02_no_engine_wakes_up(kind: str) -> None:
    assert wait_until(lambda: not wakes_up(getattr(ours, kind)(LOOPBACK, hold_async), 2, 0.5))


def wakes_up(server: Any, times: float, seconds: float) -> bool:
    """Whether the loop of an idle server wakes up more often than so many times, within so many seconds.

    A machine that stops and continues its processes wakes everybody, but not in every half second.
    """
    with server:
        loop = in_background(lambda: server.serve_forever(poll_interval=0.05))
        assert asleep(loop)
        before = switches(loop)
        found = wait_until(lambda: switches(loop) - before > times, seconds)
        server.shutdown()
        loop.join(DEADLINE)
    return found


def test_02_the_selector_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same without the kernel's own count: nothing but a client and the end wakes the loop."""
    waits = []

    class Counting(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            waits.append(timeout)
            return super().select(timeout)

    monkeypatch.setattr("portside.acceptor.selectors.DefaultSelector", Counting)
    with serving(ours.TCPServer(LOOPBACK, echo), 0.01):
        assert wait_until(lambda: len(waits) == 1)
        threading.Event().wait(0.2)
    assert waits == [None]


# 3: bounds


@both((5, 0), (2, 3))
def test_03_threads_are_bounded_and_clients_wait_outside(name: str, seen: tuple[int, int]) -> None:
    handler = Holding()
    server = face(name).ThreadingTCPServer(LOOPBACK, handler)
    server.max_threads = 2
    with serving(server), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client_of(server)) for _ in range(5)]
        assert queue_is(server, seen[1])
        assert wait_until(lambda: len(handler.threads) == seen[0])
        for client in clients:  # and everyone is served in turn
            assert client.recv(1) == b"!"
            client.close()
    assert len(handler.threads) == 5


@both(12, 1)
def test_03_threads_are_reused(name: str, seen: int) -> None:
    handler = Holding()
    server = face(name).ThreadingTCPServer(LOOPBACK, handler)
    server.max_threads = 1
    with serving(server):
        assert [answer(server) for _ in range(12)] == [b"!"] * 12
    assert len(set(handler.threads)) == seen


def test_03_children_are_bounded_and_clients_wait_outside() -> None:
    server = ours.ForkingTCPServer(LOOPBACK, hold)
    server.max_children = 2
    with serving(server), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client_of(server)) for _ in range(5)]
        assert queue_is(server, 3)
        assert wait_until(lambda: len(server.active_children or ()) == 2)
        for client in clients:
            assert client.recv(1) == b"!"
            client.shutdown(socket.SHUT_WR)  # the children have inherited no copy that would keep it open
        assert wait_until(lambda: not server.active_children)
        assert waiting_clients(server) == 0


@both("hangs", "ends")
def test_03_shutdown_with_as_many_children_as_there_may_be(name: str, seen: str) -> None:
    assert observe(name, "shutdown_while_full").seen == seen


@pytest.mark.parametrize(
    ("mix_in", "limit"), [(ours.ThreadingMixIn, "max_threads"), (ours.ForkingMixIn, "max_children")]
)
def test_03_our_mix_in_bounds_the_standard_librarys_server(mix_in: type, limit: str) -> None:
    """Its loop accepts one client more, and waits with it for room."""
    server = type("Mixed", (mix_in, stdlib.TCPServer), {limit: 1})(LOOPBACK, hold)
    with serving(server, 0.01), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client_of(server)) for _ in range(4)]
        assert queue_is(server, 2)
        for client in clients:
            assert client.recv(1) == b"!"
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b""


# 4: no descriptors left


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer", "ForkingTCPServer"])
@both((True, False), (False, True))
def test_04_no_descriptors_left(name: str, seen: tuple[bool, bool], kind: str) -> None:
    found = observe(name, "out_of_descriptors", kind).seen
    assert (found["busy"], found["turned away"], found["afterwards"]) == (*seen, "after")


# 5: the end of a connection


@pytest.mark.parametrize("kind", ["ThreadingTCPServer", "ForkingTCPServer"])
@both("hangs", "ends")
def test_05_close_beside_an_idle_client(name: str, seen: str, kind: str) -> None:
    assert observe(name, "close_beside_an_idle_client", kind).seen == seen


@both("half", "halfwhole")
def test_05_end_of_the_program_in_mid_answer(name: str, seen: str) -> None:
    assert observe(name, "end_of_the_program_in_mid_answer").seen == seen


# 9, 10, 11: binding


@both(at_most(10), bigger_than(59))
def test_09_a_burst_of_clients(name: str, seen: Callable[[float], bool]) -> None:
    with face(name).TCPServer(LOOPBACK, echo) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(60)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(server.server_address)
        wait_until(lambda: connected(clients) == 60, 0.3 if name == STDLIB else SETTLE)
        assert seen(connected(clients))


def connected(clients: list[socket.socket]) -> int:
    return sum(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == b"\1" for client in clients)


@both(["socket.gethostbyaddr"], [])
def test_10_names_looked_up_while_binding(name: str, seen: list[str]) -> None:
    assert observe(name, "lookups").seen == seen


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this system has no IPv6")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@both({"127.0.0.1": True, "::1": False}, {"127.0.0.1": True, "::1": True})
def test_11_dual_stack(name: str, seen: dict[str, bool], host: str) -> None:
    server_class = type("Dual", (face(name).TCPServer,), {"dual_stack": True})
    with serving(server_class(("", 0), tell_address)) as server:
        assert (served_address(host, server.server_address[1]) == host) is seen[host]


def tell_address(request: Any, client_address: Any, server: Any) -> None:
    request.sendall(client_address[0].encode())


def served_address(host: str, port: int) -> str | None:
    """What the server calls its client; None when nobody answers at that address."""
    try:
        with dial((host, port)) as client:
            return read_all(client).decode()
    except ConnectionRefusedError:
        return None


# 16, 17: events instead of prints


@both((True, 0), (False, 1))
def test_16_a_failing_handler_is_logged(
    name: str, seen: tuple[bool, int], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(face(name).TCPServer(LOOPBACK, fail)) as server:
        assert answer(server) == b""
    records = [record for record in caplog.records if record.name == "portside"]
    assert ("Traceback" in capfd.readouterr().err, len(records)) == seen
    assert all(record.levelno == logging.ERROR and record.exc_info for record in records)


def fail(request: Any, client_address: Any, server: Any) -> None:
    raise LookupError("a bug")


def test_16_a_failing_handler_is_an_event() -> None:
    failed: list[telemetry.HandlerFailed] = []
    with (
        telemetry.subscribe(failed.append, telemetry.HandlerFailed),
        serving(ours.ThreadingTCPServer(LOOPBACK, fail)) as server,
        client_of(server) as client,
    ):
        address = client.getsockname()
        assert client.recv(1) == b""
    assert [(each.server, each.client_address, repr(each.error)) for each in failed] == [
        (server, address, "LookupError('a bug')")
    ]


@pytest.mark.parametrize("failing", ["reading", "writing"])
@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer", "ForkingTCPServer"])
@both(True, False)
def test_17_a_client_that_vanishes(name: str, seen: bool, kind: str, failing: str) -> None:
    assert ("Traceback" in observe(name, "told", kind, failing).stderr) is seen


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer", "ForkingTCPServer"])
@both(True, True)
def test_17_a_reset_of_the_handlers_own_connection_is_told(name: str, seen: bool, kind: str) -> None:
    assert ("Traceback" in observe(name, "told", kind, "own").stderr) is seen


@pytest.mark.parametrize(("failing", "seen"), [("reading, async", False), ("own, async", True)])
def test_17_in_a_coroutine(failing: str, seen: bool) -> None:
    assert ("Traceback" in observe(OURS, "told", "AsyncTCPServer", failing).stderr) is seen


# 18: children


@both("zombie", "reaped")
def test_18_a_child_that_ended(name: str, seen: str) -> None:
    assert observe(name, "child_that_ended").seen == seen


@both(0, 7)
def test_18_exit_status_of_another_child(name: str, seen: int) -> None:
    assert observe(name, "exit_status_of_another_child").seen == seen


@both(True, True)
def test_18_the_programs_handler_of_sigchld_stays(name: str, seen: bool) -> None:
    assert observe(name, "handler_of_sigchld").seen is seen


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer", "ForkingTCPServer", "AsyncTCPServer"])
def test_18_no_signal_handler_is_set(kind: str) -> None:
    server = getattr(ours, kind)(LOOPBACK, hold_async)
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    during = []
    server.service_actions = lambda: during.append({number: signal.getsignal(number) for number in before})
    with serving(server, 0.01):
        assert wait_until(lambda: bool(during))
    assert during[0] == before == {number: signal.getsignal(number) for number in before}


# 19: datagrams


@both("", "was cut at 100 B")
def test_19_a_truncated_datagram_is_told(name: str, seen: str) -> None:
    found = observe(name, "long_datagram")
    assert found.seen == 100
    assert seen in found.stderr if seen else found.stderr == ""


def test_19_a_truncated_datagram_is_an_event() -> None:
    cut: list[telemetry.DatagramTruncated] = []
    with (
        telemetry.subscribe(cut.append, telemetry.DatagramTruncated),
        ours.UDPServer(LOOPBACK, lambda *_: None) as server,
        socket.socket(type=socket.SOCK_DGRAM) as client,
    ):
        server.max_packet_size = 100
        for size in (100, 101):
            client.sendto(bytes(size), server.server_address)
            server.handle_request()
        address = ("127.0.0.1", client.getsockname()[1])
        assert cut == [telemetry.DatagramTruncated(server=server, client_address=address, limit=100)]


@both(8192, 10_000)
def test_19_a_long_datagram(name: str, seen: int) -> None:
    sizes: list[int] = []
    with face(name).UDPServer(LOOPBACK, lambda request, *_: sizes.append(len(request[0]))) as server:
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.sendto(bytes(10_000), server.server_address)
        server.handle_request()
    assert sizes == [seen]


# 23: what handles a request


class Greeter(ours.StreamRequestHandler):
    greeting = b"nothing"

    def handle(self) -> None:
        self.wfile.write(self.greeting)


def greet(request: Any, client_address: Any, server: Any, greeting: bytes = b"nothing") -> None:
    request.sendall(greeting)


@pytest.mark.parametrize("handler", [Greeter, greet, partial(greet)])
def test_23_arguments_for_the_handler(handler: Any) -> None:
    with serving(ours.TCPServer(LOOPBACK, handler, handler_args={"greeting": b"hello"})) as server:
        assert answer(server) == b"hello"


def test_23_the_standard_library_has_no_arguments() -> None:
    with pytest.raises(TypeError, match="handler_args"):
        face(STDLIB).TCPServer(LOOPBACK, Greeter, handler_args={"greeting": b"hello"})


def test_23_arguments_fixed_by_a_subclass() -> None:
    class Fixed(ours.ThreadingTCPServer):
        handler_args = MappingProxyType({"greeting": b"fixed"})

    with serving(Fixed(LOOPBACK, Greeter)) as server:
        assert answer(server) == b"fixed"


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer", "ForkingTCPServer"])
def test_23_any_callable(kind: str) -> None:
    with serving(getattr(ours, kind)(LOOPBACK, partial(greet, greeting=b"partial"))) as server:
        assert answer(server) == b"partial"
