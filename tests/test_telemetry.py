"""Events: who hears which, what they cost when nobody listens, and the words in which logging tells them."""

import dataclasses
import errno
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from portside import connections, telemetry, transports
from portside.telemetry import CloseReason, Event, RefusalReason
from portside.telemetry.logging import ACTIVITY, TROUBLE, attach
from tests.engines.kit import KITS, serving

pytestmark = pytest.mark.usefixtures("no_leaks")

THREADS = next(kit for kit in KITS if kit.name == "threads")
STARTED = telemetry.ServerStarted(server=None, address=("127.0.0.1", 9000))
STOPPED = telemetry.ServerStopped(server=None, address=("127.0.0.1", 9000))


@pytest.fixture(autouse=True)
def everybody_has_left() -> Iterator[None]:
    """No test leaves a subscriber behind."""
    before = {event_type: event_type.subscribers for event_type in Event.__subclasses__()}
    yield
    assert {event_type: event_type.subscribers for event_type in Event.__subclasses__()} == before


# Subscribing


def test_subscriber_hears_what_it_asked_for() -> None:
    heard: list[Event] = []
    with telemetry.subscribe(heard.append, telemetry.ServerStarted):
        telemetry.emit(STARTED)
        telemetry.emit(STOPPED)
    telemetry.emit(STARTED)
    assert heard == [STARTED]


def test_subscriber_that_names_no_type_hears_everything() -> None:
    heard: list[Event] = []
    with telemetry.subscribe(heard.append):
        telemetry.emit(STARTED)
        telemetry.emit(STOPPED)
        assert all(heard.append in event_type.subscribers for event_type in Event.__subclasses__())
    assert heard == [STARTED, STOPPED]


def test_cancelling_twice_does_nothing_more() -> None:
    heard: list[Event] = []
    first = telemetry.subscribe(heard.append, telemetry.ServerStarted)
    second = telemetry.subscribe(heard.append, telemetry.ServerStarted)
    first.cancel()
    first.cancel()
    telemetry.emit(STARTED)
    assert heard == [STARTED]
    second.cancel()
    telemetry.emit(STARTED)
    assert heard == [STARTED]


def test_subscribers_hear_in_their_order() -> None:
    heard: list[str] = []
    with (
        telemetry.subscribe(lambda _: heard.append("first"), telemetry.ServerStarted),
        telemetry.subscribe(lambda _: heard.append("second"), telemetry.ServerStarted),
    ):
        telemetry.emit(STARTED)
    assert heard == ["first", "second"]


def test_subscription_ends_although_its_block_fails() -> None:
    heard: list[Event] = []
    with pytest.raises(LookupError), telemetry.subscribe(heard.append, telemetry.ServerStarted):
        raise LookupError
    telemetry.emit(STARTED)
    assert heard == []


def test_subscriber_that_raises_is_logged_and_harmless(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Event] = []

    def broken(_: Event) -> None:
        raise LookupError("broken on purpose")

    with (
        telemetry.subscribe(broken, telemetry.ServerStarted),
        telemetry.subscribe(heard.append, telemetry.ServerStarted),
    ):
        telemetry.emit(STARTED)
    assert heard == [STARTED]
    (record,) = [record for record in caplog.records if record.name == "portside.telemetry"]
    assert record.levelno == logging.ERROR
    assert "a telemetry subscriber raised on ServerStarted" in record.getMessage()
    assert "broken on purpose" in caplog.text


def test_subscriber_that_raises_does_not_end_the_server() -> None:
    def broken(_: Event) -> None:
        raise LookupError("broken on purpose")

    with telemetry.subscribe(broken), serving(THREADS, THREADS.handlers.Echo) as stand:
        assert [stand.ask(b"hello\n") for _ in range(2)] == [b"HELLO\n"] * 2


# Events


def made(event_type: type[Event]) -> Event:
    """An event with nothing in it."""
    fields: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(event_type))
    return event_type(**fields)


def test_every_event_is_exported() -> None:
    assert {event_type.__name__ for event_type in Event.__subclasses__()} <= set(telemetry.__all__)


@pytest.mark.parametrize("event_type", Event.__subclasses__())
def test_events_take_names_only_and_stay_as_they_are(event_type: Any) -> None:
    with pytest.raises(TypeError):
        event_type(None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        vars(Event)["__setattr__"](made(event_type), "server", 1)


class Priced:
    """Stands in for an event class, and counts what is made of it."""

    made = 0
    subscribers: ClassVar[tuple[Any, ...]] = ()

    def __init__(self, **_: Any) -> None:
        type(self).made += 1


def priced(heard: bool) -> type[Priced]:
    """One of its own, with a subscriber or without."""
    return type("Event", (Priced,), {"subscribers": (id,) * heard})


@pytest.mark.parametrize("heard", [False, True])
def test_connections_cost_no_event_when_nobody_listens(heard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, closed = priced(heard), priced(heard)
    monkeypatch.setattr(transports, "ConnectionOpened", opened)
    monkeypatch.setattr(transports, "ConnectionClosed", closed)
    monkeypatch.setattr(connections, "ConnectionClosed", closed)
    with serving(THREADS, THREADS.handlers.Echo) as stand:
        assert stand.ask(b"hello\n") == b"HELLO\n"
    assert (opened.made, closed.made) == (int(heard), int(heard))


# Logging

CLIENT = ("127.0.0.1", 5)
NO_DESCRIPTOR = OSError(errno.EMFILE, "Too many open files")

TROUBLES: list[tuple[Event, int, str]] = [
    (
        telemetry.HandlerFailed(server=None, client_address=CLIENT, error=LookupError("x")),
        logging.ERROR,
        "the handler of 127.0.0.1:5 raised LookupError('x')",
    ),
    (
        telemetry.AcceptPaused(server=None, error=NO_DESCRIPTOR, seconds=0.005),
        logging.WARNING,
        "accepting pauses for 0.005 s: [Errno 24] Too many open files"
        " (raise the limit with `ulimit -n`, or serve fewer)",
    ),
    (telemetry.AcceptResumed(server=None), logging.WARNING, "accepting again"),
    (
        telemetry.HubBlocked(server=None, seconds=0.3125, stack='  File "x.py", line 1, in handle\n    compute()\n'),
        logging.WARNING,
        "a handler has kept everybody waiting for 0.312 s: have portside.offload(fn, ...) run what takes so long in a"
        " thread, or choose engine='threads'. It is here:\n  File \"x.py\", line 1, in handle\n    compute()",
    ),
    (
        telemetry.DatagramUnsent(server=None, client_address=CLIENT, error=OSError(1, "Operation not permitted")),
        logging.WARNING,
        "the answer to 127.0.0.1:5 could not be sent: [Errno 1] Operation not permitted",
    ),
    (
        telemetry.DatagramTruncated(server=None, client_address=("::1", 5, 0, 0), limit=100),
        logging.WARNING,
        "a datagram from [::1]:5 was cut at 100 B (raise max_packet_size)",
    ),
    (
        telemetry.CertificateRejected(server=None, error=ValueError("the key does not fit")),
        logging.WARNING,
        "the certificates' files have changed and cannot be used, the ones before stay: the key does not fit",
    ),
    (telemetry.WorkerExited(server=None, pid=7, exit_code=-9), logging.ERROR, "the handler's process 7 ended with -9"),
    (
        telemetry.WorkerExited(server=None, pid=7, exit_code=1, role=telemetry.ProcessRole.WORKER),
        logging.ERROR,
        "the worker 7 ended with 1",
    ),
    (
        telemetry.WorkerFailed(server=None, pid=7, slot=0, reason="it ended with 1"),
        logging.ERROR,
        "the worker 7 could not start: it ended with 1",
    ),
    (telemetry.WorkerRestarted(server=None, slot=0, seconds=0), logging.WARNING, "a worker is started in its place"),
    (
        telemetry.WorkerRestarted(server=None, slot=0, seconds=0.5),
        logging.WARNING,
        "a worker is started in its place in 0.5 s",
    ),
    (
        telemetry.ReloadFailed(server=None, error="no such module"),
        logging.ERROR,
        "the reload has failed, and the workers that there were go on: no such module",
    ),
    (
        telemetry.HandOverFailed(server=None, pid=7, error="it ended with 3"),
        logging.ERROR,
        "the new version, process 7, has not taken over, and this one goes on: it ended with 3",
    ),
]
ACTIVITIES: list[tuple[Event, int, str]] = [
    (telemetry.WorkerStarted(server=None, pid=7, slot=0), logging.INFO, "the worker 7 starts"),
    (
        telemetry.WorkerReady(server=None, pid=7, slot=0, seconds=0.25),
        logging.INFO,
        "the worker 7 is ready after 0.25 s",
    ),
    (
        telemetry.WorkerWorn(server=None, pid=7, slot=0, reason="it has served 9 connections"),
        logging.INFO,
        "the worker 7 is replaced: it has served 9 connections",
    ),
    (telemetry.ReloadStarted(server=None, workers=2), logging.INFO, "replacing 2 workers, one by one"),
    (telemetry.ReloadFinished(server=None, seconds=0.5), logging.INFO, "the workers were replaced in 0.5 s"),
    (telemetry.HandOverStarted(server=None, pid=7), logging.INFO, "the new version starts as process 7"),
    (telemetry.HandOverFinished(server=None, pid=7), logging.INFO, "the new version, process 7, has taken over"),
    (
        telemetry.CertificateReloaded(server=None),
        logging.INFO,
        "new handshakes use the certificates' files as they are now",
    ),
    (STARTED, logging.INFO, "serving at 127.0.0.1:9000"),
    (STOPPED, logging.INFO, "stopped serving at 127.0.0.1:9000"),
    (
        telemetry.ConnectionRefused(server=None, client_address="", reason=RefusalReason.VERIFY_REQUEST),
        logging.INFO,
        "a local client was turned away: verify_request",
    ),
    (telemetry.DrainStarted(server=None, running=2, seconds=30.0), logging.INFO, "draining 2 handlers, at most 30 s"),
    (
        telemetry.DrainFinished(server=None, cut=1, abandoned=0),
        logging.INFO,
        "drained: 1 connections cut, 0 handlers abandoned",
    ),
    (
        telemetry.ScriptFailed(
            server=None, client_address=CLIENT, script="/cgi-bin/x", exit_code=3, reason="", errors="no cheese\n"
        ),
        logging.ERROR,
        "the CGI script '/cgi-bin/x' ended with 3; its last words: 'no cheese'",
    ),
    (
        telemetry.ScriptFailed(
            server=None, client_address=CLIENT, script="/x", exit_code=None, reason="cannot be started", errors=""
        ),
        logging.ERROR,
        "the CGI script '/x' cannot be started",
    ),
    (
        telemetry.RequestServed(
            server=None,
            client_address=CLIENT,
            request_line="GET / HTTP/1.1",
            status=200,
            bytes_out=3,
            seconds=0.5,
            headers={},
        ),
        logging.DEBUG,
        "127.0.0.1:5 was answered 200 to 'GET / HTTP/1.1' in 0.500 s, 3 B",
    ),
    (telemetry.ConnectionOpened(server=None, client_address=b"\0name"), logging.DEBUG, "@name connected"),
    (
        telemetry.ConnectionClosed(
            server=None, client_address=CLIENT, bytes_in=3, bytes_out=None, seconds=1.5, reason=CloseReason.CUT
        ),
        logging.DEBUG,
        "127.0.0.1:5 closed after 1.500 s: cut, 3 B in, ? out",
    ),
]


def test_every_event_has_its_words_once() -> None:
    assert sorted(map(repr, [*TROUBLE, *ACTIVITY])) == sorted(map(repr, Event.__subclasses__()))
    assert {type(event) for event, _, _ in TROUBLES} == set(TROUBLE)
    assert {type(event) for event, _, _ in ACTIVITIES} == set(ACTIVITY)


@pytest.mark.parametrize(("event", "level", "sentence"), TROUBLES)
def test_trouble_is_told(event: Event, level: int, sentence: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "portside")
    telemetry.emit(event)
    assert caplog.record_tuples == [("portside", level, sentence)]


@pytest.mark.parametrize(("event", "level", "sentence"), ACTIVITIES)
def test_activity_is_told_on_request(event: Event, level: int, sentence: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "portside")
    telemetry.emit(event)
    assert caplog.record_tuples == []
    with attach(verbose=True):
        telemetry.emit(event)
    assert caplog.record_tuples == [("portside", level, sentence)]


def test_failure_is_told_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    error = LookupError("x")
    telemetry.emit(telemetry.HandlerFailed(server=None, client_address=CLIENT, error=error))
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_words_are_not_made_for_a_level_that_is_off(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Event] = []

    def words(event: Event) -> str:
        asked.append(event)
        return "words"

    monkeypatch.setitem(ACTIVITY, telemetry.ServerStarted, (logging.INFO, words))
    with attach(verbose=True):
        caplog.set_level(logging.WARNING, "portside")
        telemetry.emit(STARTED)
        assert asked == []
        caplog.set_level(logging.INFO, "portside")
        telemetry.emit(STARTED)
        assert asked == [STARTED]


UNCONFIGURED = """
import socket
import portside

def broken(request, client_address, server):
    raise LookupError("broken on purpose")

with portside.start(broken, 0) as server:
    with socket.create_connection(("127.0.0.1", server.endpoint.port), timeout=10) as client:
        assert client.recv(1) == b""
"""


def test_program_that_configures_nothing_reads_of_its_bugs() -> None:
    command = [sys.executable, "-W", "error", "-c", UNCONFIGURED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)
    first, *_, last = done.stderr.splitlines()
    assert first.startswith("the handler of 127.0.0.1:")
    assert last == "LookupError: broken on purpose"
    assert done.stdout == ""
