"""The hub: tasks, deadlines, threads, signals, forks, and what Python promises inside a task."""

import contextlib
import contextvars
import gc
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import greenlet
import pytest

from portside.core import hub
from tests.conftest import DEADLINE, descriptors
from tests.core.kit import pair, spawn

pytestmark = pytest.mark.usefixtures("no_leaks")

LONG = 1000.0  # seconds that never pass

variable = contextvars.ContextVar("variable", default="unset")


def running() -> hub.Hub:
    """The hub of the task that calls."""
    found = hub.running_hub()
    assert found is not None
    return found


def until(condition: Callable[[], bool]) -> None:
    """Give way until the condition holds."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it never came to hold"
        hub.sleep(0.001)


# -- tasks --


def test_result_of_run_and_of_tasks() -> None:
    assert hub.run(lambda: spawn(pow, 2, 5).result(DEADLINE)) == 32
    assert hub.run(lambda: hub.run(pow, 2, 5)) == 32
    assert (hub.running_hub(), hub.current_task()) == (None, None)


def test_failure_of_run_and_of_tasks() -> None:
    def fail() -> None:
        raise LookupError("as it should")

    def scenario() -> None:
        task = spawn(fail)
        with pytest.raises(LookupError, match="as it should") as found:
            task.result(DEADLINE)
        assert [entry.name for entry in traceback.extract_tb(found.value.__traceback__)][-1] == "fail"
        assert task.failure is found.value
        task.join()
        assert not task.is_alive()

    hub.run(scenario)
    with pytest.raises(LookupError, match="as it should"):
        hub.run(fail)


def test_a_failure_that_nobody_asks_for_is_told_as_a_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)

    def scenario() -> None:
        for error in (ValueError, SystemExit, greenlet.GreenletExit):
            spawn(_raise, error).join(DEADLINE)

    hub.run(scenario)
    assert [each.exc_type for each in told] == [ValueError]


def _raise(error: type[BaseException]) -> None:
    raise error


def test_a_task_that_takes_too_long() -> None:
    def scenario() -> None:
        task = spawn(hub.sleep, LONG)
        task.join(0.001)
        assert task.is_alive()
        with pytest.raises(TimeoutError, match="still at work"):
            task.result(0.001)
        with pytest.raises(TimeoutError, match="still at work"):
            task.result(-1)

    hub.run(scenario)


def test_kill_runs_what_is_to_be_run_at_the_end() -> None:
    ends: list[str] = []

    def work() -> None:
        try:
            hub.sleep(LONG)
        finally:
            hub.give_way()  # also waiting is allowed there
            ends.append("finally")

    def scenario() -> None:
        task = spawn(work)
        hub.give_way()
        task.kill()
        task.join(DEADLINE)
        assert isinstance(task.failure, greenlet.GreenletExit)
        task.kill()

    hub.run(scenario)
    assert ends == ["finally"]


def test_who_still_waits_when_run_ends_is_killed() -> None:
    ends: list[int] = []

    def work(number: int) -> None:
        with contextlib.suppress(ValueError):
            try:
                hub.sleep(LONG)
            finally:
                ends.append(number)

    def scenario() -> None:
        for number in range(5):
            spawn(work, number)
        hub.give_way()

    hub.run(scenario)
    assert sorted(ends) == [0, 1, 2, 3, 4]


def test_throw_strikes_where_the_task_waits() -> None:
    def work() -> str:
        try:
            hub.sleep(LONG)
        except KeyError as error:
            return f"caught {error}"
        return "slept"

    def scenario() -> None:
        task = spawn(work)
        hub.give_way()
        assert task.is_parked
        task.throw(KeyError("it"))
        assert task.result(DEADLINE) == "caught 'it'"

    hub.run(scenario)


def test_a_task_that_was_killed_before_it_began_never_does() -> None:
    begun: list[bool] = []

    def scenario() -> None:
        task = spawn(begun.append, True)
        task.kill()
        task.join(DEADLINE)
        assert not task.is_alive()

    hub.run(scenario)
    assert begun == []


def test_three_thousand_tasks() -> None:
    def work(number: int) -> int:
        for _ in range(3):
            hub.give_way()
        hub.sleep(0.001 * (number % 7))
        return number

    def scenario() -> int:
        tasks = [spawn(work, number) for number in range(3000)]
        assert len(running().tasks()) == running().living == 3001
        return sum(int(task.result(DEADLINE)) for task in tasks)

    assert hub.run(scenario) == sum(range(3000))


def test_tasks_take_turns_in_order() -> None:
    order: list[str] = []

    def work(name: str) -> None:
        for _ in range(3):
            order.append(name)
            hub.give_way()

    def scenario() -> None:
        for task in [spawn(work, name) for name in "abc"]:
            task.join(DEADLINE)

    hub.run(scenario)
    assert "".join(order) == "abcabcabc"


def test_outside_of_tasks() -> None:
    for call in (hub.park, lambda: hub.Timer(1), hub.nap):
        with pytest.raises(RuntimeError, match="only a task"):
            call()
    hub.give_way()
    hub.sleep(0)


# -- time --


def test_many_timers_ring_in_order() -> None:
    order: list[float] = []
    times = [number * 0.0005 for number in range(200)]
    random.Random(1).shuffle(times)

    def work(at: float) -> None:
        seconds = at - time.monotonic()
        hub.sleep(seconds)
        if seconds > 0:  # on a slow machine some are late already
            order.append(at)

    def scenario() -> None:
        start = time.monotonic() + 0.05
        for task in [spawn(work, start + each) for each in times]:
            task.join(DEADLINE)

    hub.run(scenario)
    assert order == sorted(order)


def test_a_timer_interrupts_and_can_be_cancelled() -> None:
    def scenario() -> None:
        hub.Timer(0, LookupError("dropped, so it never rings"))
        timer = hub.Timer(0, LookupError("cancelled"))
        timer.cancel()
        timer.cancel()
        hub.sleep(0.01)
        timer = hub.Timer(0.001, LookupError("time is over"))
        with pytest.raises(LookupError, match="time is over"):
            hub.sleep(LONG)
        assert timer.rang

    hub.run(scenario)


def test_many_timers_that_are_cancelled_leave_the_others_alone() -> None:
    source = random.Random(7)

    def scenario() -> None:
        timers = [hub.Timer(LONG + source.random(), ValueError()) for _ in range(500)]
        source.shuffle(timers)
        sleepers = [spawn(hub.sleep, 0.001 * source.random()) for _ in range(100)]
        for timer in timers:
            timer.cancel()
            if source.random() < 0.1:
                hub.give_way()
        for sleeper in sleepers:
            sleeper.result(DEADLINE)

    hub.run(scenario)


def test_a_deadline_that_is_put_off_at_each_read() -> None:
    def scenario() -> None:
        with pair() as (ours, theirs):
            ours.settimeout(LONG)
            for _ in range(100):
                task = spawn(ours.recv, 1)
                hub.give_way()
                theirs.send(b"x")
                assert task.result(DEADLINE) == b"x"
            ours.settimeout(0.001)
            with pytest.raises(TimeoutError):
                ours.recv(1)

    hub.run(scenario)


def test_each_reader_has_a_deadline_of_its_own() -> None:
    def scenario() -> None:
        with pair() as (ours, _):
            ours.settimeout(0.01)
            first = spawn(ours.recv, 1)
            hub.give_way()
            ours.settimeout(LONG)
            second = spawn(ours.recv, 1)
            with pytest.raises(TimeoutError):
                first.result(DEADLINE)
            assert second.is_alive()
            second.kill()
            second.join(DEADLINE)

    hub.run(scenario)


# -- threads --


def test_a_thread_wakes_a_task() -> None:
    def scenario() -> None:
        found: list[int] = []
        me = hub.current_task()
        assert me is not None

        def work() -> None:
            for number in range(100):
                found.append(number)
                hub.wake(me)

        thread = threading.Thread(target=work)
        thread.start()
        while len(found) < 100:
            hub.park()
        thread.join()

    hub.run(scenario)


def late(word: str) -> str:
    """The word, after a while."""
    hub.sleep(0.01)
    return word


def test_a_thread_calls_joins_and_reads_results() -> None:
    def scenario() -> list[Any]:
        mine, found = running(), list[Any]()
        task = spawn(late, "slept")
        thread = threading.Thread(target=lambda: found.append(task.result(DEADLINE)))
        thread.start()
        caller = threading.Thread(target=lambda: mine.call_from_thread(lambda: found.append(threading.get_ident())))
        caller.start()
        until(lambda: len(found) == 2)
        thread.join()
        caller.join()
        return found

    assert set(hub.run(scenario)) == {"slept", threading.get_ident()}


def test_two_hubs_share_a_socket() -> None:
    count = 200

    def collect(sock: socket.socket) -> int:
        total = 0
        while data := sock.recv(1):
            total += len(data)
        return total

    with pair() as (ours, theirs):
        totals: list[int] = []
        threads = [threading.Thread(target=lambda: totals.append(hub.run(collect, ours))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(count):
            theirs.send(b"x")
        theirs.shutdown(socket.SHUT_WR)
        for thread in threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()
        assert sum(totals) == count


def test_a_hub_can_be_closed_and_made_anew() -> None:
    before = len(descriptors())
    for _ in range(20):
        assert hub.run(lambda: spawn(hub.sleep, 0).result(DEADLINE)) is None
    first = hub.get_hub()
    first.close()
    second = hub.get_hub()
    assert second is not first
    second.close()
    assert len(descriptors()) == before


def test_a_hub_is_not_closed_from_within() -> None:
    with pytest.raises(RuntimeError, match="from within"):
        hub.run(lambda: running().close())


# -- what Python promises --


def test_context_variables() -> None:
    seen: dict[str, str] = {}

    def work(name: str) -> None:
        seen[f"{name} finds"] = variable.get()
        variable.set(name)
        hub.sleep(0.001)
        seen[f"{name} keeps"] = variable.get()

    def scenario() -> None:
        assert variable.get() == "of the caller"
        for task in [spawn(work, "a"), spawn(work, "b")]:
            task.join(DEADLINE)
        spawn(work, "c").join(DEADLINE)  # in a greenlet that was used before
        given = contextvars.copy_context()
        running().spawn(work, "d", context=given).join(DEADLINE)
        assert given[variable] == "d"
        assert variable.get() == "of the caller"

    token = variable.set("of the caller")
    try:
        hub.run(scenario)
    finally:
        variable.reset(token)
    assert {seen[f"{name} keeps"] == name for name in "abcd"} == {True}
    assert len({seen[f"{name} finds"] for name in "abc"}) == 1, "what one task has set, another has found"


def test_locals_of_threads_are_shared_by_the_tasks_of_a_thread() -> None:
    local = threading.local()

    def scenario() -> None:
        local.value = 1
        spawn(setattr, local, "value", 2).join(DEADLINE)
        assert local.value == 2

    hub.run(scenario)


def traced() -> str:
    """What the tests of tracing trace."""
    hub.sleep(0)
    return "done"


@pytest.mark.parametrize(
    ("install", "events"), [(sys.settrace, {"call", "line", "return"}), (sys.setprofile, {"call", "return"})]
)
def test_tracing_and_profiling_see_into_tasks(install: Callable[[Any], None], events: set[str]) -> None:
    seen: set[str] = set()
    before = {sys.settrace: sys.gettrace, sys.setprofile: sys.getprofile}[install]()

    def trace(frame: types.FrameType, event: str, _: Any) -> Any:
        if frame.f_code is traced.__code__:
            seen.add(event)
        return trace

    def scenario() -> None:
        for task in [spawn(traced), spawn(traced)]:
            assert task.result(DEADLINE) == "done"

    install(trace)
    try:
        hub.run(scenario)
    finally:
        install(before)
    assert events <= seen


def test_each_task_has_a_recursion_of_its_own() -> None:
    def deep(levels: int) -> int:
        if levels:
            return deep(levels - 1) + 1
        hub.sleep(0.001)
        return 0

    def endless() -> None:
        endless()

    def scenario() -> None:
        levels = sys.getrecursionlimit() * 2 // 3
        tasks = [spawn(deep, levels) for _ in range(20)]
        bottomless = spawn(endless)
        with pytest.raises(RecursionError):
            bottomless.result(DEADLINE)
        assert [task.result(DEADLINE) for task in tasks] == [levels] * 20

    hub.run(scenario)


def test_generators_wait_in_whichever_task_runs_them() -> None:
    def numbers() -> Iterator[int]:
        for number in range(5):
            hub.sleep(0.0001)
            yield number

    def scenario() -> None:
        source = numbers()
        found = [spawn(next, source).result(DEADLINE) for _ in range(5)]
        assert found == [0, 1, 2, 3, 4]

    hub.run(scenario)


def test_the_handled_exception_is_each_tasks_own() -> None:
    def work() -> None:
        assert sys.exc_info() == (None, None, None)
        try:
            _raise(KeyError)
        except KeyError:
            hub.sleep(0.001)
            assert sys.exc_info()[0] is KeyError

    def scenario() -> None:
        try:
            _raise(ValueError)
        except ValueError:
            for task in [spawn(work), spawn(work)]:
                task.result(DEADLINE)
            assert sys.exc_info()[0] is ValueError

    hub.run(scenario)


def test_greenlets_of_a_handlers_own_may_wait() -> None:
    def scenario() -> None:
        with pair() as (ours, theirs):
            me = hub.current_task()
            for _ in range(3):
                inner = greenlet.greenlet(lambda: ours.recv(5))
                spawn(theirs.sendall, b"hello")
                assert inner.switch() == b"hello"
                assert hub.current_task() is me
            timer = hub.Timer(0.001, LookupError("in time"))
            with pytest.raises(LookupError, match="in time"):
                hub.sleep(LONG)
            assert timer.rang

    hub.run(scenario)


def test_a_greenlet_between_two_functions() -> None:
    """As SQLAlchemy does it: the inner one hands what is to be awaited out to the outer one, and gets the result."""

    def inner() -> bytes:
        parent = greenlet.getcurrent().parent
        assert parent is not None
        return b"".join(parent.switch(number) for number in range(3))

    def handler() -> bytes:
        worker = greenlet.greenlet(inner)
        asked = worker.switch()
        while not worker.dead:
            hub.sleep(0.001)
            asked = worker.switch(b"%d" % asked)
        return bytes(asked)

    def scenario() -> list[bytes]:
        return [task.result(DEADLINE) for task in [spawn(handler) for _ in range(5)]]

    assert hub.run(scenario) == [b"012"] * 5


def test_nothing_stays_behind() -> None:
    watched: list[weakref.ref[Any]] = []

    def work(sock: socket.socket) -> None:
        watched.append(weakref.ref(greenlet.getcurrent()))
        with sock, sock.makefile("rb") as reader:
            watched.extend([weakref.ref(sock), weakref.ref(reader)])
            reader.readline()

    def scenario() -> None:
        for number in range(20):
            with pair() as (ours, theirs):
                task = spawn(work, ours)
                hub.give_way()
                if number % 2:
                    theirs.sendall(b"line\n")
                else:
                    task.kill()
                task.join(DEADLINE)
                watched.append(weakref.ref(task))

    gc.collect()
    gc.disable()
    try:
        hub.run(scenario)
        left = [each() for each in watched if each() is not None]
    finally:
        gc.enable()
    assert [type(each).__name__ for each in left] == []


# -- processes --


def program(text: str) -> "subprocess.Popen[str]":
    """A Python program, whose output is read; it prints "ready" first."""
    head = "import os, signal, socket, sys, threading, time\nfrom portside.core import hub\n"
    process = subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(text)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    return process


def ended(process: "subprocess.Popen[str]", *signals: signal.Signals) -> tuple[int, str, str]:
    """Send a signal after a line of output; returns the exit status and what was written.

    A signal that comes just before the kernel is asked is seen when the kernel answers, so another one follows.
    """
    with process:
        assert process.stdout is not None
        line = process.stdout.readline() if signals else ""
        for number in signals * 6:
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
                break
        output, errors = process.communicate(timeout=30)
        return process.returncode, line + output, errors


WAITS = {
    "for time": "hub.sleep(1000)",
    "for a socket": "socket.socketpair(); a, b = socket.socketpair(); hub.wait_readable(a.fileno())",
    "for nothing, and computes": "\n    while True: pass",
    "in another task": "hub.running_hub().spawn(hub.sleep, 1000).join()",
}


@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_ends_run(wait: str) -> None:
    code, output, _ = ended(
        program(
            f"""
def work():
    print("ready")
    {WAITS[wait]}
try:
    hub.run(work)
except KeyboardInterrupt:
    print("interrupted", hub.running_hub())
"""
        ),
        signal.SIGINT,
    )
    assert (code, output) == (0, "ready\ninterrupted None\n")


def test_a_signal_handler_runs_and_the_task_goes_on_waiting() -> None:
    code, output, _ = ended(
        program(
            """
            def work():
                me = hub.current_task()
                seen = []
                signal.signal(signal.SIGUSR1, lambda *_: (seen.append(1), hub.wake(me)))
                print("ready")
                while not seen:
                    hub.park()
                print("seen")
            hub.run(work)
            """
        ),
        signal.SIGUSR1,
    )
    assert (code, output) == (0, "ready\nseen\n")


def test_a_signal_while_a_handler_computes_reaches_the_caller_of_run() -> None:
    code, output, errors = ended(
        program(
            """
            def stop(*_):
                raise SystemExit(7)
            signal.signal(signal.SIGTERM, stop)
            def work():
                print("ready")
                hub.sleep(1000)
            hub.run(work)
            """
        ),
        signal.SIGTERM,
    )
    assert (code, output, errors) == (7, "ready\n", "")


def test_a_forked_child_does_its_own_input_and_output() -> None:
    code, output, errors = ended(
        program(
            """
            from portside.core.sockets import GreenSocket
            def other():
                hub.sleep(0.01)
                print("the parent's other task")
            def handler(a, b):
                pid = os.fork()
                if pid == 0:
                    hub.sleep(0.02)
                    b.sendall(b"from the child")
                    return
                print(a.recv(100).decode())
                print(os.waitpid(pid, 0)[1])
            def work():
                a, b = (GreenSocket(fileno=each.detach()) for each in socket.socketpair())
                tasks = [hub.running_hub().spawn(handler, a, b), hub.running_hub().spawn(other)]
                for task in tasks:
                    task.result(30)
                a.close(), b.close()
            hub.run(work)
            """
        )
    )
    assert (code, errors) == (0, "")
    assert sorted(output.splitlines()) == ["0", "from the child", "the parent's other task"]


def test_a_fork_outside_of_tasks_leaves_both_hubs_at_work() -> None:
    code, output, errors = ended(
        program(
            """
            hub.run(hub.sleep, 0)
            mine = hub.get_hub()
            pid = os.fork()
            hub.run(hub.sleep, 0.001)
            if pid == 0:
                os._exit(0)
            print(os.waitpid(pid, 0)[1])
            """
        )
    )
    assert (code, output, errors) == (0, "0\n", "")


def _child(number: int) -> None:
    hub.sleep(0.001)
    os._exit(number)


def test_processes_from_a_task() -> None:
    def scenario() -> None:
        done = subprocess.run([sys.executable, "-c", "print('hello')"], capture_output=True, check=True)
        assert done.stdout == b"hello\n"
        child = multiprocessing.get_context("fork").Process(target=_child, args=(5,))
        child.start()
        until(lambda: not child.is_alive())
        assert child.exitcode == 5
        child.close()

    hub.run(scenario)
