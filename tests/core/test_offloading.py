"""Calls in threads: what they return and raise, who waits, how many there are, and what becomes of abandoned ones."""

import contextvars
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import portside
from portside.core import offloading, pool
from portside.core.offloading import limit_offloading, offload
from tests.conftest import DEADLINE, wait_until
from tests.core.places import hub, in_tasks, until

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="empty")


pytestmark = pytest.mark.usefixtures("no_leaks")


def where() -> threading.Thread:
    return threading.current_thread()


def test_a_task_waits_and_the_others_run() -> None:
    gate = threading.Event()

    def wait() -> threading.Thread:
        assert gate.wait(DEADLINE)
        return where()

    def call() -> threading.Thread:
        return offload(wait)

    thread, _ = in_tasks(call, gate.set)
    assert thread.name.startswith("portside-offload-")
    assert thread.daemon


def test_outside_of_tasks_it_is_a_plain_call() -> None:
    assert offload(where) is threading.current_thread()


def test_arguments_and_result() -> None:
    def told(*args: int, **kwargs: int) -> tuple[tuple[int, ...], dict[str, int]]:
        return args, kwargs

    assert in_tasks(lambda: offload(told, 1, 2, function=3)) == [((1, 2), {"function": 3})]


@pytest.mark.parametrize("error", [LookupError, StopIteration, SystemExit])
def test_what_it_raises_is_raised(error: type[BaseException]) -> None:
    raised = error("a bug")

    def fail() -> None:
        raise raised

    def call() -> Any:
        with pytest.raises(error) as caught:
            offload(fail)
        return caught.value

    assert in_tasks(call) == [raised]


def test_context_variables_are_copied() -> None:
    def look_and_set() -> str:
        found = VARIABLE.get()
        VARIABLE.set("the thread's")
        return found

    def call() -> tuple[str, str]:
        VARIABLE.set("the task's")
        return offload(look_and_set), VARIABLE.get()

    assert in_tasks(call) == [("the task's", "the task's")]


def test_threads_are_used_again() -> None:
    def call() -> threading.Thread:
        thread = offload(where)
        until(lambda: offloading._threads._current().busy() == 0)  # it answers before it rests
        return thread

    assert len(set(in_tasks(lambda: [call() for _ in range(20)])[0])) == 1


def test_no_more_at_once_than_the_limit() -> None:
    limit_offloading(2)
    running, most, order = list[int](), list[int](), list[int]()
    gate = threading.Event()

    def count(number: int) -> None:
        running.append(number)
        most.append(len(running))
        order.append(number)
        gate.wait(DEADLINE)
        running.remove(number)

    def main() -> None:
        tasks = [hub.running_hub().spawn(offload, count, number) for number in range(6)]
        until(lambda: len(running) == 2)
        gate.set()
        for task in tasks:
            task.result(DEADLINE)

    hub.run(main)
    assert max(most) == 2
    assert sorted(order) == list(range(6))


@pytest.mark.parametrize("wrong", [0, -1])
def test_a_limit_that_cannot_be(wrong: int) -> None:
    with pytest.raises(ValueError, match=f"threads={wrong} must be a whole number from 1 on"):
        limit_offloading(wrong)


# Waiters that go


def abandoned(function: Callable[[], object], *, is_begun: threading.Event, go_on: threading.Event) -> None:
    """Offload something, and have the waiting task killed while it runs."""

    def main() -> None:
        task = hub.running_hub().spawn(offload, function)
        until(is_begun.is_set)
        task.kill()
        task.join(DEADLINE)
        assert not task.is_alive()
        go_on.set()

    hub.run(main)


def test_a_killed_waiter_leaves_the_thread_to_finish_alone() -> None:
    is_begun, go_on, finished = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        is_begun.set()
        go_on.wait(DEADLINE)
        finished.set()

    abandoned(work, is_begun=is_begun, go_on=go_on)
    assert finished.wait(DEADLINE)


def test_what_an_abandoned_call_raises_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    hooked: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", hooked.append)
    is_begun, go_on = threading.Event(), threading.Event()

    def fail() -> None:
        is_begun.set()
        go_on.wait(DEADLINE)
        raise LookupError("nobody asks")

    abandoned(fail, is_begun=is_begun, go_on=go_on)
    assert wait_until(lambda: [each.exc_type for each in hooked] == [LookupError])


def test_a_call_that_nobody_waits_for_any_more_is_not_begun() -> None:
    limit_offloading(1)
    gate, made = threading.Event(), list[int]()

    def main() -> None:
        first = hub.running_hub().spawn(offload, gate.wait, DEADLINE)
        second, third = (hub.running_hub().spawn(offload, made.append, number) for number in (2, 3))
        hub.give_way()
        second.kill()
        second.join(DEADLINE)
        gate.set()
        first.result(DEADLINE)
        third.result(DEADLINE)

    hub.run(main)
    assert made == [3]


def test_a_timeout() -> None:
    gate = threading.Event()

    def call() -> None:
        with pytest.raises(TimeoutError), portside.timeout(0.01):
            offload(gate.wait, DEADLINE)

    in_tasks(call)
    gate.set()


# Threads that go


def test_idle_threads_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.01)
    (thread,) = in_tasks(lambda: offload(where))
    thread.join(DEADLINE)
    assert not thread.is_alive()


BUSY_AT_THE_END = """
import threading, portside
from portside.core import hub
def main():
    hub.running_hub().spawn(portside.offload, threading.Event().wait)
    assert portside.offload(threading.current_thread).daemon
    print("the end")
hub.run(main)
"""

FORKED = """
import os, portside
from portside.core import hub
def main():
    assert portside.offload(os.getpid) == os.getpid()
    child = os.fork()
    if not child:
        os._exit(portside.offload(os.getpid) != os.getpid())
    print(portside.offload(os.waitstatus_to_exitcode, os.waitpid(child, 0)[1]))
hub.run(main)
"""


@pytest.mark.parametrize(("program", "output"), [(BUSY_AT_THE_END, "the end\n"), (FORKED, "0\n")])
def test_programs(program: str, output: str) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE * 2, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (output, "", 0)
