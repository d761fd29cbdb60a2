"""The hub under a driver: what happens between two turns, what a turn raises, what falls due in one and the same."""

import contextlib
import select
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from portside.core.timing import timeout
from tests.conftest import DEADLINE
from tests.core.places import hub

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def driven() -> Iterator[Any]:
    """A hub that has taken a turn, as a driver leaves it; closed with the test."""
    found = hub.get_hub()
    found.turn()
    yield found
    found.close()


def drive(driven: Any, until: Callable[[], bool]) -> None:
    """Turns as a driver takes them: only when the descriptor says so."""
    poll = select.poll()
    poll.register(driven.fileno(), select.POLLIN)
    deadline = time.monotonic() + DEADLINE
    while not until():
        assert time.monotonic() < deadline
        assert poll.poll(DEADLINE * 1000), "the hub has something to do, and does not say so"
        driven.turn()


def parked(driven: Any) -> Any:
    """A task that ends when it is woken, or killed."""
    task = driven.spawn(hub.park)
    drive(driven, lambda: bool(task.is_parked))
    return task


@pytest.mark.parametrize(
    "end", [hub.wake, lambda task: task.kill(), lambda task: task.throw(SystemExit())], ids=["wake", "kill", "throw"]
)
def test_what_is_done_between_two_turns_is_seen(driven: Any, end: Callable[[Any], None]) -> None:
    task = parked(driven)
    end(task)
    drive(driven, lambda: not task.is_alive())


def test_a_task_that_is_spawned_between_two_turns_runs(driven: Any) -> None:
    task = driven.spawn(lambda: 5)
    drive(driven, lambda: not task.is_alive())
    assert task.value == 5


def test_a_wish_that_raises_costs_nobody_a_wake_up(driven: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    task = parked(driven)

    def fail() -> None:
        raise LookupError("a bug")

    driven.call_from_thread(fail)
    driven.call_from_thread(task)
    with contextlib.suppress(LookupError):
        driven.turn()
    drive(driven, lambda: not task.is_alive())
    assert [each.exc_type for each in told] == [LookupError]


def test_two_times_that_are_over_at_once_are_both_told(driven: Any) -> None:
    told = []

    def work() -> None:
        try:
            with timeout(0.002):
                try:
                    with timeout(0.001):
                        until = time.monotonic() + 0.01
                        while time.monotonic() < until:  # both fall due while nobody looks
                            continue
                        hub.sleep(DEADLINE)
                except TimeoutError:
                    told.append("inner")
                hub.sleep(DEADLINE)
        except TimeoutError:
            told.append("outer")

    task = driven.spawn(work)
    drive(driven, lambda: not task.is_alive())
    assert told == ["inner", "outer"]


def test_it_is_idle_between_turns(driven: Any) -> None:
    """Or the watchdog would tell that an idle hub is blocked."""
    seen, woken = list[bool](), list[object]()
    assert driven.idle
    driven.sentinel = woken.append
    task = driven.spawn(lambda: seen.append(driven.idle))
    drive(driven, lambda: not task.is_alive())
    assert (seen, woken, driven.idle) == ([False], [driven], True)
