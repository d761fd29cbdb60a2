"""The watchdog: who keeps the hub too long is named, once, and who does not is left in peace."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

import portside
from portside import StreamRequestHandler, telemetry
from portside.core import hub
from portside.core.watchdog import watched
from tests.conftest import wait_until
from tests.engines.instruments import Gate, Journal
from tests.engines.kit import KITS, Stand, asked, serving

pytestmark = pytest.mark.usefixtures("no_leaks")

GREEN = next(kit for kit in KITS if kit.name == "green")
PATIENCE = 0.05  # seconds; what blocks here does so until it has been told of, or a hundred times as long
CALM = 0.5  # seconds; nobody is to be told of, also where a busy machine lets nobody run for a while
NAME = "portside-watchdog"

Heard = list[telemetry.HubBlocked]


@pytest.fixture
def heard() -> Iterator[Heard]:
    """What has been told."""
    events: Heard = []
    with telemetry.subscribe(events.append, telemetry.HubBlocked):
        yield events


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


def under_watch(function: Callable[[], Any], *, server: object = None, patience: float | None = PATIENCE) -> Any:
    """Run a function in a task of a watched hub."""

    def run() -> Any:
        hub.give_way()
        with watched(hub.get_hub(), server, patience):
            return function()

    return hub.run(run)


def block_until(condition: Callable[[], object]) -> bool:
    """Keep the hub, as a call does that waits for something else than the hub."""
    return wait_until(lambda: bool(condition()))


def turn_for(seconds: float) -> None:
    """Give way again and again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        hub.give_way()


# What it costs


def test_a_hub_at_work_does_not_wake_it_for_each_message() -> None:
    with serving(GREEN, GREEN.handlers.Echo) as stand:
        client = stand.dial()
        assert asked(client, b"first\n") == b"FIRST\n"
        (dog,) = threads()
        before = times_asleep(dog)
        assert [asked(client, b"line\n") for _ in range(2000)] == [b"LINE\n"] * 2000
        assert times_asleep(dog) - before < 1000


# Who is told of


def test_who_keeps_the_hub_is_told_with_the_place(heard: Heard) -> None:
    server = object()
    assert under_watch(lambda: block_until(lambda: heard), server=server)
    (event,) = heard
    assert event.server is server
    assert event.seconds >= PATIENCE
    assert "in block_until\n    return wait_until(" in event.stack
    assert "_stack_of" not in event.stack


def test_each_time_is_told_once(heard: Heard) -> None:
    def told(count: int) -> bool:
        return len(heard) >= count

    def twice() -> None:
        for count in (1, 2):
            block_until(partial(told, count))
            wait_until(partial(told, count + 1), 3 * PATIENCE)
            hub.sleep(0)

    under_watch(twice)
    assert len(heard) == 2


def test_task_beside_is_told_of_too(heard: Heard) -> None:
    def beside() -> None:
        hub.get_hub().spawn(block_until, lambda: heard).join()

    under_watch(beside)
    assert len(heard) == 1


# Who is not


def test_sleep_is_no_blockage(heard: Heard) -> None:
    under_watch(partial(hub.sleep, 2 * CALM), patience=CALM)
    assert heard == []


@pytest.mark.parametrize("others", [0, 5])
def test_whoever_gives_way_blocks_nobody(heard: Heard, others: int) -> None:
    def busy() -> None:
        tasks = [hub.get_hub().spawn(turn_for, 2 * CALM) for _ in range(others)]
        turn_for(2 * CALM)
        for task in tasks:
            task.join()

    under_watch(busy, patience=CALM)
    assert heard == []


def test_many_short_tasks_block_nobody(heard: Heard) -> None:
    def busy() -> None:
        tasks = [hub.get_hub().spawn(spin, CALM / 100) for _ in range(200)]
        for task in tasks:
            task.join()

    under_watch(busy, patience=CALM)
    assert heard == []


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_no_patience_watches_nothing(heard: Heard) -> None:
    def block() -> None:
        assert threads() == []
        wait_until(lambda: bool(heard), 4 * PATIENCE)

    under_watch(block, patience=None)
    assert heard == []


# The thread


def test_thread_sleeps_while_the_hub_does() -> None:
    def idle() -> tuple[int, int]:
        (dog,) = threads()
        hub.sleep(4 * PATIENCE)
        before = times_asleep(dog)
        hub.sleep(10 * PATIENCE)
        return before, times_asleep(dog)

    before, after = under_watch(idle)
    assert after - before < 20  # twice will do; looking all the time would make it 40


def times_asleep(thread: threading.Thread) -> int:
    """How often a thread has gone to sleep, as proc(5) counts it."""
    with open(f"/proc/self/task/{thread.native_id}/status", encoding="ascii") as status:
        return sum(int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt_switches"))


def test_thread_is_one_and_ends_with_the_last_server() -> None:
    def nested() -> None:
        (dog,) = threads()
        with watched(hub.get_hub(), "another", 1.0):
            assert threads() == [dog]
        assert threads() == [dog]

    under_watch(nested, server="one")
    assert wait_until(lambda: not threads())


def test_subscriber_may_stop_the_server() -> None:
    class Blocks(StreamRequestHandler):
        gate: Gate

        def handle(self) -> None:
            self.rfile.readline()
            os.read(self.gate._reading, 1)

    def stop(event: Any) -> None:
        gate.open()
        event.server.shutdown(drain=1)

    with (
        contextlib.closing(Gate()) as gate,
        telemetry.subscribe(stop, telemetry.HubBlocked),
        serving(GREEN, Blocks, handler_args={"gate": gate}, hub_patience=PATIENCE) as stand,
        stand.dial() as client,
    ):
        client.sendall(b"block\n")
        assert stand.has_ended()


def test_forked_child_has_no_watchdog() -> None:
    def fork() -> int:
        pid = os.fork()
        if pid == 0:
            with watched(hub.get_hub(), "child", None):
                os._exit(len(threads()) + (hub.get_hub().sentinel is not None))
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert under_watch(fork) == 0


# Servers


class Sleeper(StreamRequestHandler):
    """Blocks when it is asked to, until the watchdog has told."""

    heard: Heard

    def handle(self) -> None:
        for line in self.rfile:
            if line == b"block\n":
                block_until(lambda: self.heard)
            self.wfile.write(line.upper())


def asks(stand: Stand, question: bytes) -> bytes:
    return stand.ask(question)


def test_server_tells_who_blocks_it(heard: Heard, caplog: pytest.LogCaptureFixture) -> None:
    with serving(GREEN, Sleeper, handler_args={"heard": heard}, hub_patience=PATIENCE) as stand:
        assert asks(stand, b"quick\n") == b"QUICK\n"
        assert heard == []
        assert asks(stand, b"block\n") == b"BLOCK\n"
        assert heard[0].server is stand.server
    assert "in handle\n    block_until(lambda: self.heard)" in heard[0].stack
    (record,) = [each for each in caplog.records if "portside.offload" in each.message]
    assert (record.name, record.levelno) == ("portside", logging.WARNING)
    assert record.message.startswith("a handler has kept everybody waiting for 0.")
    assert "in handle" in record.message


def test_quarter_of_a_second_is_the_default() -> None:
    assert portside.socketserver.GreenTCPServer.hub_patience == 0.25


def test_journal_of_a_quiet_server_has_no_blockage() -> None:
    class Echo(StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                self.wfile.write(line)

    with contextlib.closing(Journal()) as journal, journal.listen(), serving(GREEN, Echo, hub_patience=1.0) as stand:
        for _ in range(100):
            assert asks(stand, b"hello\n") == b"hello\n"
        assert journal.all("HubBlocked") == []
