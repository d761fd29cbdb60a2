"""`sleep` and `timeout`: where they raise, how they nest, and what they are outside of tasks."""

import contextlib
import time

import pytest

from portside.core import timing
from portside.core.sync import Event
from portside.core.timing import sleep, timeout
from tests.conftest import DEADLINE
from tests.core.places import hub, in_tasks

pytestmark = pytest.mark.usefixtures("no_leaks")


# sleep


def test_the_others_run_meanwhile() -> None:
    event, order = Event(), []

    def first() -> None:
        sleep(0.001)
        order.append("slept")
        event.set()

    def second() -> None:
        order.append("ran")
        event.wait(DEADLINE)

    in_tasks(first, second)
    assert order == ["ran", "slept"]


def test_a_thread_sleeps() -> None:
    before = time.monotonic()
    sleep(0.01)
    assert time.monotonic() - before >= 0.01


def test_nobody_sleeps_less_than_nothing() -> None:
    def wrong() -> None:
        with pytest.raises(ValueError, match="sleep length must be non-negative"):
            sleep(-1)

    wrong()
    in_tasks(wrong)


# timeout


def test_a_block_that_waits_too_long() -> None:
    def work() -> bool:
        with pytest.raises(TimeoutError, match=r"the block took longer than its 0\.001 s"), timeout(0.001) as limit:
            Event().wait()
        sleep(0)  # and nothing comes afterwards
        return limit.expired

    assert in_tasks(work) == [True]


def test_a_block_that_is_done_in_time() -> None:
    def work() -> list[bool]:
        with timeout(DEADLINE) as limit, timeout(None) as none:
            sleep(0.001)
        return [limit.expired, none.expired]

    assert in_tasks(work) == [[False, False]]


def test_a_time_that_is_over_strikes_at_the_first_wait() -> None:
    def work(seconds: float) -> str:
        with pytest.raises(TimeoutError), timeout(seconds):
            reached = "the wait"
            sleep(DEADLINE)
        return reached

    assert in_tasks(lambda: work(0), lambda: work(-1)) == ["the wait"] * 2


def test_a_block_that_only_computes_is_left_alone() -> None:
    def work() -> str:
        with timeout(0):
            result = "computed"
        sleep(0.001)
        return result

    assert in_tasks(work) == ["computed"]


@pytest.mark.parametrize(("outer", "inner", "struck"), [(0.001, DEADLINE, "outer"), (DEADLINE, 0.001, "inner")])
def test_nested_blocks(outer: float, inner: float, struck: str) -> None:
    def work() -> tuple[bool, bool]:
        with contextlib.suppress(TimeoutError), timeout(outer) as out, timeout(inner) as within:
            Event().wait()
        return out.expired, within.expired

    assert in_tasks(work) == [(struck == "outer", struck == "inner")]


def test_the_outer_block_goes_on_after_the_inner_one() -> None:
    def work() -> list[str]:
        done = []
        with pytest.raises(TimeoutError), timeout(0.05):
            for _ in range(2):
                with contextlib.suppress(TimeoutError), timeout(0.001):
                    Event().wait()
                done.append("inner")
            Event().wait()
        return done

    assert in_tasks(work) == [["inner", "inner"]]


def test_each_task_has_its_own() -> None:
    def short() -> None:
        with pytest.raises(TimeoutError), timeout(0.001):
            Event().wait()

    def unlimited() -> None:
        sleep(0.01)

    in_tasks(short, unlimited, short)


def test_a_kill_goes_through() -> None:
    seen = []

    def work() -> None:
        try:
            with timeout(DEADLINE):
                Event().wait()
        except BaseException as error:
            seen.append(type(error).__name__)
            raise

    def main() -> None:
        task = hub.running_hub().spawn(work)
        hub.give_way()
        task.kill()
        task.join(DEADLINE)

    hub.run(main)
    assert seen == ["GreenletExit"]


def test_outside_of_tasks_it_is_refused() -> None:
    with pytest.raises(RuntimeError, match="works in green handlers only"), timeout(1):
        raise AssertionError("this is not reached")


def test_without_the_compiled_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portside.core.waiting._core", None)
    sleep(0)
    assert Event().wait(0.001) is False
    with pytest.raises(RuntimeError, match="works in green handlers only"), timing.timeout(1):
        raise AssertionError("this is not reached")
