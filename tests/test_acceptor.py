"""The acceptor and the loop around it: idle, woken, paused, out of everything, and never ended by a client."""

import errno
import os
import select
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from portside import socketserver, telemetry
from portside.acceptor import Acceptor
from portside.lifecycle import Run
from portside.policy.accepting import Backoff
from portside.telemetry import RefusalReason
from portside.waker import Waker
from tests.conftest import DEADLINE, StillClock
from tests.pains.serving import LOOPBACK, answer, asleep, client_of, dial, in_background, queue_is, serving

pytestmark = pytest.mark.usefixtures("no_leaks")

# The acceptor by itself


@pytest.fixture
def run() -> Iterator[Run]:
    run = Run()
    yield run
    run.end()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(LOOPBACK) as listener:
        yield listener


@pytest.fixture
def acceptor(listener: socket.socket, run: Run) -> Iterator[Acceptor]:
    with Acceptor(listener, run) as acceptor:
        yield acceptor


def test_nobody_is_at_the_door(acceptor: Acceptor) -> None:
    assert acceptor.wait(0, accepting=True) is False


def test_somebody_is_at_the_door(acceptor: Acceptor, listener: socket.socket) -> None:
    with dial(listener.getsockname()):
        assert acceptor.wait(DEADLINE, accepting=True) is True
        assert acceptor.wait(DEADLINE, accepting=True) is True


def test_without_room_clients_are_left_alone(acceptor: Acceptor, listener: socket.socket) -> None:
    with dial(listener.getsockname()):
        assert acceptor.wait(0.01, accepting=False) is False
        assert acceptor.wait(DEADLINE, accepting=True) is True
        assert acceptor.wait(0.01, accepting=False) is False


def test_a_wish_to_look_ends_a_wait(acceptor: Acceptor, run: Run) -> None:
    run.waker.wake()
    assert acceptor.wait(DEADLINE, accepting=True) is False
    assert not run.stopping


def test_a_stop_ends_a_wait(acceptor: Acceptor, run: Run) -> None:
    run.stop()
    assert acceptor.wait(DEADLINE, accepting=True) is False
    assert run.stopping


def test_an_extra_ends_a_wait(listener: socket.socket, run: Run) -> None:
    extra = Waker()
    with Acceptor(listener, run, [extra]) as acceptor:
        extra.wake()
        assert acceptor.wait(None, accepting=True) is False
    extra.close()


def test_another_loop_can_watch_it(acceptor: Acceptor, listener: socket.socket) -> None:
    acceptor.wait(0, accepting=True)
    assert not select.select([acceptor], [], [], 0)[0]
    with dial(listener.getsockname()):
        assert select.select([acceptor], [], [], DEADLINE)[0]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StillClock:
    """The acceptor's clock, which stands still unless the test moves it; its selector has its own."""
    clock = StillClock()
    monkeypatch.setattr("portside.acceptor.time", clock)
    return clock


def test_a_pause(acceptor: Acceptor, listener: socket.socket, clock: StillClock) -> None:
    with dial(listener.getsockname()):
        pauses = [acceptor.failed() for _ in range(4)]
        assert pauses == [0.005, 0.01, 0.02, 0.04]
        assert (acceptor.failing, acceptor.paused) == (True, True)
        clock.now = 0.01
        assert acceptor.remaining() == pytest.approx(0.03)
        assert acceptor.wait(None, accepting=True) is False  # until it is over
        clock.now = 0.04
        assert not acceptor.paused
        assert acceptor.wait(DEADLINE, accepting=True) is True
        acceptor.succeeded()
        assert (acceptor.failing, acceptor.paused, acceptor.remaining()) == (False, False, None)
        assert acceptor.failed() == 0.005


def pause_for_an_hour(acceptor: Acceptor) -> None:
    acceptor._backoff = Backoff(first=3600.0, limit=3600.0)
    assert acceptor.failed() == 3600


def test_a_pause_does_not_outlast_the_callers_timeout(acceptor: Acceptor) -> None:
    pause_for_an_hour(acceptor)
    assert acceptor.wait(0.01, accepting=True) is False
    assert acceptor.paused


def test_a_stop_ends_a_pause(acceptor: Acceptor, run: Run) -> None:
    pause_for_an_hour(acceptor)
    run.stop()
    acceptor.wait(None, accepting=True)
    assert (run.stopping, acceptor.paused) == (True, True)


# What accept may fail with


class Failing(socketserver.TCPServer):
    """Fails to accept, with each of these first."""

    def __init__(self, *errors: BaseException) -> None:
        super().__init__(LOOPBACK, say_hello)
        self.errors = list(errors)

    def get_request(self) -> tuple[Any, Any]:
        if self.errors:
            raise self.errors.pop(0)
        return super().get_request()


def say_hello(request: Any, client_address: Any, server: Any) -> None:
    request.sendall(b"hello")


def os_errors(*numbers: int) -> list[BaseException]:
    return [OSError(number, os.strerror(number)) for number in numbers]


SURVIVED = [
    errno.EAGAIN,
    errno.EINTR,
    errno.ECONNABORTED,
    errno.ECONNRESET,
    errno.EPROTO,
    errno.EPERM,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOBUFS,
    errno.ENOMEM,
    errno.EINVAL,
    errno.EIO,
]


@pytest.mark.parametrize("number", SURVIVED, ids=errno.errorcode.get)
def test_the_loop_survives(number: int) -> None:
    with serving(Failing(*os_errors(*[number] * 4))) as server:
        assert answer(server) == b"hello"
        assert server.errors == []
        assert answer(server) == b"hello"


ODD = [OSError("without a number"), TimeoutError("timed out"), ssl.SSLError(1, "wrong version number")]


@pytest.mark.parametrize("error", ODD, ids=[type(error).__name__ for error in ODD])
def test_the_loop_survives_what_is_odd(error: OSError) -> None:
    with serving(Failing(error)) as server:
        assert answer(server) == b"hello"


@pytest.mark.parametrize("number", [errno.ENOTSOCK, errno.EFAULT], ids=errno.errorcode.get)
def test_no_listener_is_told(number: int) -> None:
    with Failing(*os_errors(number)) as server, client_of(server), pytest.raises(OSError, match=os.strerror(number)):
        server.serve_forever()


def test_a_closed_listener_ends_the_loop() -> None:
    with Failing(*os_errors(errno.EBADF)) as server, client_of(server):
        server.serve_forever()


@pytest.fixture
def seen() -> Iterator[list[telemetry.Event]]:
    """Events of the accept loop, in their order."""
    seen: list[telemetry.Event] = []
    kinds = (telemetry.AcceptPaused, telemetry.AcceptResumed, telemetry.ConnectionRefused)
    with telemetry.subscribe(seen.append, *kinds):
        yield seen


def test_a_shortage_is_told_once(seen: list[telemetry.Event]) -> None:
    errors = os_errors(*[errno.ENOBUFS] * 5)
    with serving(Failing(*errors)) as server:
        assert answer(server) == b"hello"
        assert seen == [
            telemetry.AcceptPaused(server=server, error=errors[0], seconds=0.005),
            telemetry.AcceptResumed(server=server),
        ]


def test_without_a_descriptor_a_client_is_turned_away(seen: list[telemetry.Event]) -> None:
    errors = os_errors(errno.EMFILE)
    with serving(Failing(*errors)) as server:
        with client_of(server) as client:
            assert client.recv(1) == b""
            refused = telemetry.ConnectionRefused(
                server=server, client_address=client.getsockname(), reason=RefusalReason.DESCRIPTORS
            )
        assert answer(server) == b"hello"
        paused = telemetry.AcceptPaused(server=server, error=errors[0], seconds=0.005)
        assert seen == [refused, paused, telemetry.AcceptResumed(server=server)]


def test_many_are_turned_away_at_once(monkeypatch: pytest.MonkeyPatch, seen: list[telemetry.Event]) -> None:
    """With our own get_request a whole batch is turned away before the first pause."""
    with socketserver.TCPServer(LOOPBACK, say_hello) as server:
        clients = [client_of(server) for _ in range(20)]
        accept, failures = server.socket.accept, os_errors(errno.EMFILE)

        class Listener(socket.socket):
            def accept(self) -> Any:
                if failures:
                    raise failures.pop()
                return accept()

        listener = Listener(fileno=os.dup(server.socket.fileno()))
        monkeypatch.setattr(server, "socket", listener)
        loop = in_background(server.serve_forever)
        answers = []
        for client in clients:
            with client:
                answers.append(client.recv(10))
        assert answers == [b""] * 16 + [b"hello"] * 4
        server.shutdown()
        loop.join(DEADLINE)
        listener.close()
        monkeypatch.undo()
    kinds = [type(event) for event in seen]
    assert kinds == [telemetry.ConnectionRefused] * 16 + [telemetry.AcceptPaused, telemetry.AcceptResumed]


def test_without_a_spare_nobody_is_turned_away(seen: list[telemetry.Event], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portside.spare.SpareDescriptor.lend", lambda *_: False)
    with serving(Failing(*os_errors(errno.EMFILE))) as server:
        assert answer(server) == b"hello"
    assert [type(event) for event in seen] == [telemetry.AcceptPaused, telemetry.AcceptResumed]


# What the hooks do about a client


class Choosy(socketserver.TCPServer):
    """Judges its first clients, each in another way."""

    def __init__(self, *verdicts: Any) -> None:
        super().__init__(LOOPBACK, say_hello)
        self.verdicts = list(verdicts)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        if not self.verdicts:
            return True
        verdict = self.verdicts.pop(0)
        if isinstance(verdict, BaseException):
            raise verdict
        return bool(verdict)


@pytest.mark.parametrize(
    "verdict", [LookupError("odd"), OSError(errno.EMFILE, "none left"), ConnectionResetError(), MemoryError()], ids=repr
)
def test_a_hook_that_raises_costs_one_client(verdict: Exception) -> None:
    failed: list[telemetry.HandlerFailed] = []
    with telemetry.subscribe(failed.append, telemetry.HandlerFailed), serving(Choosy(verdict)) as server:
        assert answer(server) == b""
        assert answer(server) == b"hello"
    assert [event.error for event in failed] == [verdict]


def test_a_client_that_is_refused_is_told_of(seen: list[telemetry.Event]) -> None:
    with serving(Choosy(False)) as server:
        with client_of(server) as client:
            assert client.recv(1) == b""
            address = client.getsockname()
        assert answer(server) == b"hello"
        reason = RefusalReason.VERIFY_REQUEST
        assert seen == [telemetry.ConnectionRefused(server=server, client_address=address, reason=reason)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_ends_the_loop_and_closes_the_client(error: type[BaseException]) -> None:
    with Choosy(error()) as server, client_of(server) as client:
        with pytest.raises(error):
            server.serve_forever()
        assert client.recv(1) == b""


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
def test_handlers_that_fail_cost_one_client_each(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    failures = [LookupError("a bug"), RecursionError(), OSError(errno.EBADF, "closed by the handler")]

    def handle(request: Any, client_address: Any, server: Any) -> None:
        if failures:
            raise failures.pop()
        say_hello(request, client_address, server)

    with serving(getattr(socketserver, kind)(LOOPBACK, handle)) as server:
        assert [answer(server) for _ in range(4)] == [b"", b"", b"", b"hello"]
    assert len(caplog.records) == 3


def test_a_process_that_cannot_be_forked_costs_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with serving(socketserver.ForkingTCPServer(LOOPBACK, say_hello)) as server:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fork", refuse)
            assert answer(server) == b""
        assert answer(server) == b"hello"


# Fairness, and several requests at once


def test_a_burst_is_served_whole() -> None:
    with serving(socketserver.ThreadingTCPServer(LOOPBACK, say_hello)) as server:
        clients = [client_of(server) for _ in range(100)]
        for client in clients:
            with client:
                assert client.recv(10) == b"hello"


def test_other_business_is_seen_to_within_a_burst() -> None:
    """A stop is obeyed after the client at hand, not after all that wait."""
    with socketserver.TCPServer(LOOPBACK, lambda *_: server.shutdown()) as server:
        clients = [client_of(server) for _ in range(5)]
        server.serve_forever()
        assert queue_is(server, 4)
        for client in clients:
            client.close()


# Its listener may be taken away


def test_the_listener_may_be_closed_by_a_handler() -> None:
    def handle(request: Any, client_address: Any, server: Any) -> None:
        server.socket.close()

    with socketserver.TCPServer(LOOPBACK, handle) as server:
        loop = in_background(server.serve_forever)
        with client_of(server) as client:
            assert client.recv(1) == b""
        loop.join(DEADLINE)
        assert not loop.is_alive()


def test_closing_while_the_loop_runs() -> None:
    server = socketserver.TCPServer(LOOPBACK, say_hello)
    errors: list[BaseException] = []

    def serve() -> None:
        try:
            server.serve_forever()
        except BaseException as error:
            errors.append(error)

    loop = in_background(serve)
    assert asleep(loop)
    server.server_close()
    loop.join(DEADLINE)
    assert not loop.is_alive()
    assert errors == []
