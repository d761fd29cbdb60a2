"""Runs, and how they end: from anywhere, at any moment, any number of times; and what programs do to loops."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from portside import socketserver, telemetry
from portside.lifecycle import Lifecycle, Run, awaitable
from tests.conftest import DEADLINE, wait_until
from tests.pains.serving import LOOPBACK, answer, asleep, client_of, in_background, read_all, serving

pytestmark = pytest.mark.usefixtures("no_leaks")

KINDS = ["TCPServer", "ThreadingTCPServer", "ForkingTCPServer", "AsyncTCPServer"]


def echo(request: Any, client_address: Any, server: Any) -> None:
    request.sendall(read_all(request))


async def silence(request: Any, client_address: Any, server: Any) -> None:
    """Ends at once."""


def make(kind: str, handler: Any = None) -> Any:
    return getattr(socketserver, kind)(LOOPBACK, handler or (silence if kind.startswith("Async") else echo))


def looping(server: Any) -> threading.Thread:
    """A loop that sleeps."""
    loop = in_background(server.serve_forever)
    assert asleep(loop)
    return loop


def ends(thread: threading.Thread) -> bool:
    thread.join(DEADLINE)
    return not thread.is_alive()


# Runs


@pytest.fixture
def run() -> Iterator[Run]:
    run = Run()
    yield run
    run.end()


def test_a_new_run(run: Run) -> None:
    assert (run.stopping, run.drain, run.process, run.thread) == (False, None, os.getpid(), threading.get_ident())


def test_a_stop(run: Run) -> None:
    run.stop()
    assert (run.stopping, run.drain) == (True, None)


def test_the_first_who_wants_a_drain_decides(run: Run) -> None:
    for drain in (None, 5.0, None, 1.0):
        run.stop(drain)
    assert run.drain == 5


def test_a_stop_from_elsewhere_is_seen_when_the_loop_looks(run: Run) -> None:
    pid = os.fork()
    if not pid:
        run.stop()
        os._exit(0)
    os.waitpid(pid, 0)
    assert not run.stopping
    run.look()
    assert run.stopping


def test_a_wish_to_look_is_no_stop(run: Run) -> None:
    run.waker.wake()
    run.look()
    assert not run.stopping


def test_waiting_for_a_run(run: Run) -> None:
    assert run.wait(0.01, drained=False) is False
    run.leave()
    assert run.wait(0, drained=False) is True
    assert run.wait(0.01, drained=True) is False
    run.end()
    assert run.wait(0, drained=True) is True


def test_the_end_releases_who_waits_for_the_loop(run: Run) -> None:
    run.end()
    assert run.wait(0, drained=False) is True


def test_nobody_waits_for_himself_or_for_another_process(run: Run) -> None:
    assert awaitable([run]) == []
    run.thread = -1
    assert awaitable([run]) == [run]
    run.process = -1
    assert awaitable([run]) == []


def test_a_stop_is_kept_for_the_first_run_once() -> None:
    lifecycle = Lifecycle()
    assert lifecycle.stop(3.0) == []
    first, second = lifecycle.begin(), lifecycle.begin()
    assert (first.stopping, first.drain) == (True, 3)
    assert not second.stopping
    lifecycle.end(first)
    lifecycle.end(second)
    assert lifecycle.stop() == []
    third = lifecycle.begin()
    assert not third.stopping
    lifecycle.end(third)


def test_a_stop_reaches_every_run() -> None:
    lifecycle = Lifecycle()
    runs = [lifecycle.begin() for _ in range(3)]
    assert lifecycle.stop(1.0) == runs == lifecycle.running()
    assert [(run.stopping, run.drain) for run in runs] == [(True, 1)] * 3
    for run in runs:
        lifecycle.end(run)
    assert lifecycle.running() == []


def test_a_run_for_one_request_is_parked_or_over() -> None:
    lifecycle, run = Lifecycle(), Run()
    lifecycle.resume(run)
    assert lifecycle.park(run) is True
    assert not run.wait(0, drained=True)
    lifecycle.resume(run)
    lifecycle.stop()
    assert lifecycle.park(run) is False
    assert run.wait(0, drained=True)


def test_every_loop_is_told_to_look() -> None:
    lifecycle = Lifecycle()
    runs = [lifecycle.begin() for _ in range(2)]
    lifecycle.wake()
    assert [run.waker.collect() for run in runs] == [False, False]
    assert not any(run.stopping for run in runs)
    for run in runs:
        lifecycle.end(run)


def test_a_child_does_not_inherit_a_held_lock() -> None:
    lifecycle = Lifecycle()
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with lifecycle._lock:
            held.set()
            go_on.wait(DEADLINE)

    holder = in_background(hold)
    assert held.wait(DEADLINE)
    pid = os.fork()
    if not pid:
        signal.alarm(5)
        lifecycle.after_fork()
        lifecycle.stop()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    go_on.set()
    assert ends(holder)


# shutdown()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("drain", [None, 5.0])
def test_shutdown_while_serving_and_after(kind: str, drain: float | None) -> None:
    with make(kind) as server:
        loop = looping(server)
        server.shutdown(drain=drain)
        server.shutdown(drain=drain)
        assert ends(loop)
        server.shutdown(drain=drain)
    server.shutdown(drain=drain)


@pytest.mark.parametrize("kind", KINDS)
def test_shutdown_before_serving_is_kept_once(kind: str) -> None:
    with make(kind) as server:
        server.shutdown()
        server.serve_forever()  # returns at once
        loop = looping(server)
        server.shutdown()
        assert ends(loop)


def test_shutdown_after_serving_is_not_kept() -> None:
    with make("TCPServer") as server:
        loop = looping(server)
        server.shutdown()
        assert ends(loop)
        server.shutdown()
        assert ends_only_when_asked(server)


def ends_only_when_asked(server: Any) -> bool:
    loop = looping(server)
    server.shutdown()
    return ends(loop)


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_may_serve_again(kind: str) -> None:
    with make(kind) as server:
        for _ in range(3):
            loop = looping(server)
            assert answer(server) == b""
            server.shutdown()
            assert ends(loop)


def shut_down(request: Any, client_address: Any, server: Any) -> None:
    server.shutdown()
    request.sendall(b"done")


async def shut_down_async(request: Any, client_address: Any, server: Any) -> None:
    shut_down(request, client_address, server)


@pytest.mark.parametrize("kind", KINDS)
def test_shutdown_by_a_handler(kind: str) -> None:
    with make(kind, shut_down_async if kind.startswith("Async") else shut_down) as server:
        loop = looping(server)
        assert answer(server) == b"done"
        assert ends(loop)


def test_shutdown_by_a_handlers_own_thread() -> None:
    """The handler does not wait for it."""

    def handle(request: Any, client_address: Any, server: Any) -> None:
        in_background(server.shutdown)

    with make("TCPServer", handle) as server:
        loop = looping(server)
        assert answer(server) == b""
        assert ends(loop)


def test_shutdown_by_many_at_once() -> None:
    with make("ThreadingTCPServer") as server:
        loop = looping(server)
        callers = [in_background(server.shutdown) for _ in range(16)]
        assert all(ends(thread) for thread in [*callers, loop])


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer", "ForkingTCPServer"])
def test_shutdown_by_a_signal_handler_of_the_serving_thread(kind: str) -> None:
    with make(kind) as server:
        before = signal.signal(signal.SIGALRM, lambda *_: server.shutdown())
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        started = time.monotonic()
        try:
            server.serve_forever()
        finally:
            signal.signal(signal.SIGALRM, before)
        assert time.monotonic() - started < DEADLINE


SIGNALLED = """
import signal, sys
from portside import socketserver
server = getattr(socketserver, sys.argv[1])(("127.0.0.1", 0), lambda *_: None)
signal.signal(signal.SIGTERM, lambda *_: server.shutdown())
print("ready", flush=True)
server.serve_forever()
server.server_close()
print("ended", flush=True)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_that_stops_at_a_signal(kind: str) -> None:
    command = [sys.executable, "-c", SIGNALLED, kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        program.terminate()
        assert program.communicate(timeout=DEADLINE)[0] == "ended\n"
        assert program.returncode == 0


def test_the_name_mangled_flag_stops_the_loop() -> None:
    """Programs set the standard library's private flag, since its shutdown() would hang."""

    def handle(request: Any, client_address: Any, server: Any) -> None:
        request.sendall(repr(server._BaseServer__shutdown_request).encode())
        server._BaseServer__shutdown_request = True
        request.sendall(repr(server._BaseServer__shutdown_request).encode())

    with make("TCPServer", handle) as server:
        loop = looping(server)
        assert answer(server) == b"FalseTrue"
        assert ends(loop)
        assert server._BaseServer__shutdown_request is False


def test_the_name_mangled_flag_may_be_put_back() -> None:
    with make("TCPServer") as server:
        loop = looping(server)
        server._BaseServer__shutdown_request = False
        assert answer(server, b"x") == b"x"
        server._BaseServer__shutdown_request = True
        assert ends(loop)


# Several loops


def test_a_pool_of_threads_serves_one_listener() -> None:
    with make("TCPServer") as server:
        loops = [looping(server) for _ in range(16)]
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(client_of(server)) for _ in range(16)]
            for client in reversed(clients):  # all at once: each loop has one
                client.sendall(b"x")
                client.shutdown(socket.SHUT_WR)
                assert read_all(client) == b"x"
        server.shutdown()
        assert all(ends(loop) for loop in loops)


def test_closing_ends_all_loops() -> None:
    server = make("ThreadingTCPServer")
    loops = [looping(server) for _ in range(16)]
    server.server_close()
    assert all(ends(loop) for loop in loops)


def tell_process(request: Any, client_address: Any, server: Any) -> None:
    request.sendall(str(os.getpid()).encode())


def serve_in_a_child(server: Any) -> int:
    """A process that serves the inherited listener until SIGTERM, and exits with 0."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.signal(signal.SIGTERM, lambda *_: server.shutdown())
        server.serve_forever()
        status = 0
    finally:
        os._exit(status)


def serves(server: Any) -> int:
    """The process that answered."""
    return int(answer(server))


def tell_process_and_stay(request: Any, client_address: Any, server: Any) -> None:
    tell_process(request, client_address, server)
    read_all(request)


def serve_together(server: Any) -> set[int]:
    """The processes that answered two clients, of whom neither left before both were answered."""
    with client_of(server) as first, client_of(server) as second:
        return {int(client.recv(100)) for client in (first, second)}


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
def test_processes_that_were_forked_before_serve_one_listener(kind: str) -> None:
    with make(kind, tell_process_and_stay) as server:
        server.max_threads = 1  # each process has room for one client
        pids = {serve_in_a_child(server) for _ in range(2)}
        seen = serve_together(server)
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        assert {os.waitpid(pid, 0)[1] for pid in pids} == {0}
    assert seen == pids


def test_a_stop_in_one_process_leaves_the_other_alone() -> None:
    with make("TCPServer", tell_process_and_stay) as server:
        loop = looping(server)
        pid = serve_in_a_child(server)
        assert serve_together(server) == {os.getpid(), pid}
        os.kill(pid, signal.SIGTERM)
        assert os.waitpid(pid, 0)[1] == 0
        assert serves(server) == os.getpid()
        server.shutdown()
        assert ends(loop)


# Closing


@pytest.mark.parametrize("kind", KINDS)
def test_closing_twice_and_unserved(kind: str) -> None:
    server = make(kind)
    server.server_close()
    server.server_close()
    server.shutdown()


@pytest.mark.parametrize("kind", KINDS)
def test_closing_while_another_thread_serves(kind: str) -> None:
    server = make(kind)
    loop = looping(server)
    server.server_close()
    assert ends(loop)


def close(request: Any, client_address: Any, server: Any) -> None:
    server.server_close()
    request.sendall(b"done")


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
def test_closing_by_a_handler(kind: str) -> None:
    server = make(kind, close)
    loop = looping(server)
    assert answer(server) == b"done"
    assert ends(loop)
    server.server_close()


def test_what_the_loop_raises_is_raised_and_leaves_nothing() -> None:
    def give_up() -> None:
        raise LookupError("a bug in service_actions")

    with make("TCPServer") as server:
        server.service_actions = give_up
        with pytest.raises(LookupError):
            server.serve_forever(0.01)
        del server.service_actions
        assert ends_only_when_asked(server)


def test_start_and_stop_are_told() -> None:
    seen: list[telemetry.Event] = []
    with telemetry.subscribe(seen.append, telemetry.ServerStarted, telemetry.ServerStopped):
        with serving(make("TCPServer")) as server:
            assert wait_until(lambda: len(seen) == 1)
        where = {"server": server, "address": server.server_address}
    assert seen == [telemetry.ServerStarted(**where), telemetry.ServerStopped(**where)]


def test_a_closed_server_does_not_serve() -> None:
    with make("TCPServer") as server:
        assert ends_only_when_asked(server)
    with pytest.raises(ValueError, match=r"127\.0\.0\.1:\d+ is closed: make a new one"):
        server.serve_forever()


# One request at a time


class Patient(socketserver.TCPServer):
    """Counts its time-outs."""

    timeouts = 0

    def handle_timeout(self) -> None:
        self.timeouts += 1


def test_handle_request() -> None:
    with Patient(LOOPBACK, echo) as server:
        for _ in range(3):
            with client_of(server) as client:
                client.sendall(b"x")
                client.shutdown(socket.SHUT_WR)
                server.handle_request()
                assert read_all(client) == b"x"
        assert server.timeouts == 0


TIMEOUTS = [(0.05, None), (None, 0.05), (0.05, 60.0), (60.0, 0.05), (0.0, None)]


@pytest.mark.parametrize(("own", "of_the_socket"), TIMEOUTS)
def test_handle_request_gives_up(own: float | None, of_the_socket: float | None) -> None:
    with Patient(LOOPBACK, echo) as server:
        server.timeout = own
        server.socket.settimeout(of_the_socket)
        started = time.monotonic()
        server.handle_request()
        assert time.monotonic() - started < DEADLINE
        assert server.timeouts == 1


def test_handle_request_is_ended_by_shutdown() -> None:
    with Patient(LOOPBACK, echo) as server:
        waiting = in_background(server.handle_request)
        assert asleep(waiting)
        assert wait_until(lambda: bool(server._portside.lifecycle.running()))
        server.shutdown()
        assert ends(waiting)
        assert server.timeouts == 0


def test_handle_request_leaves_a_stop_for_serve_forever() -> None:
    with Patient(LOOPBACK, echo) as server:
        server.shutdown()
        server.timeout = 0.01
        server.handle_request()
        assert server.timeouts == 1
        server.serve_forever()


def test_handle_request_in_a_process_that_was_forked_after_another() -> None:
    """What the parent keeps between its requests is not the child's."""
    with Patient(LOOPBACK, tell_process) as server:
        server.timeout = 0.01
        server.handle_request()
        server.timeout = DEADLINE
        pid = os.fork()
        if not pid:
            server.handle_request()
            os._exit(0)
        assert serves(server) == pid
        assert os.waitpid(pid, 0)[1] == 0
        with client_of(server) as client:
            server.handle_request()
            assert int(read_all(client)) == os.getpid()
        assert server.timeouts == 1


def test_the_standard_librarys_private_name_for_one_request() -> None:
    with Patient(LOOPBACK, echo) as server, client_of(server) as client:
        client.sendall(b"x")
        client.shutdown(socket.SHUT_WR)
        server._handle_request_noblock()
        assert read_all(client) == b"x"


# service_actions


def test_overridden_service_actions_are_called_every_poll_interval() -> None:
    class Ticking(socketserver.TCPServer):
        ticks = 0

        def service_actions(self) -> None:
            self.ticks += 1

    with serving(Ticking(LOOPBACK, echo), 0.01) as server:
        assert wait_until(lambda: server.ticks > 5)


def test_overridden_service_actions_are_called_after_a_request() -> None:
    called = threading.Event()
    server = make("TCPServer")
    server.service_actions = called.set
    with serving(server, 60):
        assert not called.is_set()
        answer(server)
        assert called.wait(DEADLINE)


# Names that programs use


NAMES = ("_dispatch", "_connections", "_loop", "_tasks", "_lifecycle", "_engine", "_pool", "_run", "_drain")


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer", "ForkingTCPServer"])
def test_private_names_of_a_subclass_are_its_own(kind: str) -> None:
    """xmlrpc's dispatcher, a base of its server, has a `_dispatch`."""
    server_class = type("Own", (getattr(socketserver, kind),), dict.fromkeys(NAMES, "a subclass's"))
    server = server_class(LOOPBACK, echo)
    for name in NAMES:
        setattr(server, name, "an object's")
    with serving(server):
        assert answer(server, b"x") == b"x"
    assert {getattr(server, name) for name in NAMES} == {"an object's"}
