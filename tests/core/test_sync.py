"""Locks, semaphores, conditions and events: in tasks, in threads and across hubs, fair, and nothing lost."""

import inspect
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from portside.core import sync
from portside.core.sync import BoundedSemaphore, Condition, Event, Lock, RLock, Semaphore
from tests.conftest import DEADLINE
from tests.core.places import Place, everywhere, hub, in_tasks, until

pytestmark = pytest.mark.usefixtures("no_leaks")

ROUNDS = 200


def waiting(primitive: Any) -> int:
    """How many wait in line."""
    inner = getattr(primitive, "_permit", getattr(primitive, "_lock", primitive))
    line = primitive._line if hasattr(primitive, "_line") else waiting_line(inner)
    return len(line)


def waiting_line(inner: Any) -> Any:
    return inner._line if hasattr(inner, "_line") else inner._permit._line


# Names


@pytest.mark.parametrize("name", ["Event", "Semaphore", "BoundedSemaphore", "Condition"])
def test_methods_are_those_of_threading(name: str) -> None:
    ours, standard = getattr(sync, name), getattr(threading, name)
    for method, function in inspect.getmembers(standard, inspect.isfunction):
        if not method.startswith(("_", "notifyAll", "isSet")):
            assert list(inspect.signature(getattr(ours, method)).parameters) == list(
                inspect.signature(function).parameters
            )


@pytest.mark.parametrize("kind", [Lock, RLock])
def test_methods_of_locks(kind: type[Any]) -> None:
    assert {"acquire", "release", "locked", "__enter__", "__exit__"} <= set(dir(kind))
    assert list(inspect.signature(kind().acquire).parameters) == ["blocking", "timeout"]


# Exclusion


@everywhere
@pytest.mark.parametrize("kind", [Lock, RLock, Semaphore, BoundedSemaphore, Condition])
def test_one_at_a_time(place: Place, kind: type[Any]) -> None:
    lock, inside, most = kind(), [], []

    def work() -> None:
        for _ in range(ROUNDS):
            with lock:
                inside.append(1)
                most.append(len(inside))
                hub.give_way()
                inside.pop()

    place(work, work, work, work)
    assert (len(most), max(most)) == (4 * ROUNDS, 1)


def test_a_task_and_a_thread_share_a_lock() -> None:
    lock, count = Lock(), [0]

    def work() -> None:
        for _ in range(ROUNDS):
            with lock:
                before = count[0]
                hub.give_way()
                count[0] = before + 1

    thread = threading.Thread(target=work)
    thread.start()
    in_tasks(work, work)
    thread.join(DEADLINE)
    assert count == [3 * ROUNDS]


@everywhere
def test_a_semaphore_lets_so_many_in(place: Place) -> None:
    semaphore, inside, most = Semaphore(2), deque[int](), deque[int]()

    def work() -> None:
        for _ in range(ROUNDS):
            with semaphore:
                inside.append(1)
                most.append(len(inside))
                hub.give_way()
                inside.pop()

    place(work, work, work, work)
    assert max(most) <= 2


# First come, first served


@everywhere
@pytest.mark.parametrize("kind", [Lock, RLock, Semaphore])
def test_first_come_first_served(place: Place, kind: type[Any]) -> None:
    lock, order = kind(), []

    def first() -> None:
        with lock:
            until(lambda: waiting(lock) == 3)

    def other(number: int) -> Callable[[], None]:
        def come() -> None:
            until(lambda: lock_is_taken(lock) and waiting(lock) == number)
            with lock:
                order.append(number)

        return come

    place(first, other(0), other(1), other(2))
    assert order == [0, 1, 2]


def lock_is_taken(lock: Any) -> bool:
    return bool(lock.locked() if hasattr(lock, "locked") else lock._value == 0)


def test_who_comes_later_does_not_overtake() -> None:
    lock, order = Lock(), []

    def holder() -> None:
        lock.acquire()
        until(lambda: waiting(lock) == 1)
        lock.release()
        assert lock.acquire(blocking=False) is False  # it is the other's already
        with lock:
            order.append("holder")

    def other() -> None:
        with lock:
            order.append("other")

    in_tasks(holder, other)
    assert order == ["other", "holder"]


# Timeouts and kills


@everywhere
def test_timeouts(place: Place) -> None:
    def work() -> list[bool]:
        lock, condition = Lock(), Condition()
        lock.acquire()
        with condition:
            notified = condition.wait(0.001)
        return [
            lock.acquire(timeout=0.001),
            lock.acquire(timeout=0),
            lock.acquire(blocking=False),
            Semaphore(0).acquire(timeout=0.001),
            Event().wait(0.001),
            Event().wait(-1),
            notified,
        ]

    assert place(work, work) == [[False] * 7] * 2


def test_a_timeout_longer_than_the_system_knows() -> None:
    lock = Lock()
    assert in_tasks(lambda: lock.acquire(timeout=1e10)) == [True]
    event = Event()
    threading.Timer(0, event.set).start()
    assert event.wait(1e30) is True


@pytest.mark.parametrize("kind", [Lock, RLock, Semaphore])
def test_a_killed_waiter_is_passed_over(kind: type[Any]) -> None:
    lock = kind()

    def main() -> None:
        lock.acquire()
        tasks = [hub.running_hub().spawn(lock.acquire) for _ in range(2)]
        until(lambda: waiting(lock) == 2)
        tasks[0].kill()
        until(lambda: waiting(lock) == 1)
        lock.release()
        assert tasks[1].result(DEADLINE) is True

    hub.run(main)


@pytest.mark.parametrize("kind", [Lock, Semaphore])
def test_what_a_killed_waiter_was_given_goes_to_the_next(kind: type[Any]) -> None:
    lock = kind()

    def main() -> None:
        lock.acquire()
        tasks = [hub.running_hub().spawn(lock.acquire) for _ in range(2)]
        until(lambda: waiting(lock) == 2)
        lock.release()  # the first one's, which has not run since
        tasks[0].kill()
        assert tasks[1].result(DEADLINE) is True

    hub.run(main)


def test_a_notification_that_a_killed_waiter_got_goes_to_the_next() -> None:
    condition = Condition(Lock())

    def wait() -> bool:
        with condition:
            return condition.wait(DEADLINE)

    def main() -> None:
        tasks = [hub.running_hub().spawn(wait) for _ in range(2)]
        until(lambda: waiting(condition) == 2)
        with condition:
            condition.notify()
            tasks[0].kill()
        assert tasks[1].result(DEADLINE) is True
        assert not condition._lock.locked()

    hub.run(main)


def test_a_killed_waiter_has_the_lock_in_its_finally() -> None:
    lock = RLock()
    condition, seen = Condition(lock), []

    def wait() -> None:
        with condition:
            try:
                condition.wait()
            finally:
                seen.append(lock._is_owned())

    def main() -> None:
        task = hub.running_hub().spawn(wait)
        until(lambda: waiting(condition) == 1)
        with condition:
            task.kill()
            hub.give_way()
            task.kill()  # while it waits for the lock
            hub.give_way()
        task.join(DEADLINE)
        assert not task.is_alive()

    hub.run(main)
    assert seen == [True]
    assert not condition._lock.locked()


def test_kills_and_timeouts_lose_nothing() -> None:
    """Whatever strikes the waiters, in the end every permit is back."""
    semaphore, done = Semaphore(3), []

    def work(number: int) -> None:
        for turn in range(ROUNDS // 10):
            if semaphore.acquire(timeout=0.0001 * (1 + (number * turn) % 5)):
                try:
                    hub.sleep(0.0001)
                finally:
                    semaphore.release()
        done.append(number)

    def main() -> None:
        tasks = [hub.running_hub().spawn(work, number) for number in range(30)]
        for task in tasks[::3]:
            hub.give_way()
            task.kill()
        for task in tasks:
            task.join(DEADLINE)
        assert not any(task.is_alive() for task in tasks)

    hub.run(main)
    assert len(done) >= 20
    assert semaphore._value == 3
    assert waiting(semaphore) == 0


# Events


@everywhere
def test_an_event_wakes_all(place: Place) -> None:
    event = Event()

    def set_it() -> bool:
        until(lambda: waiting(event) == 2)
        event.set()
        return event.wait()

    assert place(lambda: event.wait(DEADLINE), lambda: event.wait(DEADLINE), set_it) == [True] * 3
    assert event.is_set()
    event.clear()
    assert event.wait(0) is False


def test_a_thread_sets_an_event_of_several_hubs() -> None:
    event = Event()
    threads = [threading.Thread(target=hub.run, args=(in_five_tasks, event)) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: waiting(event) == 15)
    event.set()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()


def in_five_tasks(event: Event) -> None:
    tasks = [hub.running_hub().spawn(event.wait) for _ in range(5)]
    for task in tasks:
        task.join(DEADLINE)


def test_ping_pong_between_a_thread_and_a_task() -> None:
    to_task, to_thread = Event(), Event()

    def answer() -> None:
        for _ in range(ROUNDS):
            assert to_thread.wait(DEADLINE)
            to_thread.clear()
            to_task.set()

    def ask() -> None:
        for _ in range(ROUNDS):
            to_thread.set()
            assert to_task.wait(DEADLINE)
            to_task.clear()

    thread = threading.Thread(target=answer)
    thread.start()
    hub.run(ask)
    thread.join(DEADLINE)
    assert not thread.is_alive()


# Conditions


@everywhere
@pytest.mark.parametrize("lock", [Lock, RLock])
def test_condition(place: Place, lock: type[Any]) -> None:
    condition, box = Condition(lock()), list[int]()

    def consume() -> Any:
        with condition:
            assert condition.wait_for(lambda: box, DEADLINE)
            return box.pop()

    def produce() -> None:
        for number in range(2):
            with condition:
                box.append(number)
                condition.notify()

    assert sorted(place(consume, consume, produce)[:2]) == [0, 1]


def test_wait_for_gives_up() -> None:
    condition = Condition()

    def main() -> Any:
        with condition:
            return condition.wait_for(lambda: [], 0.001)

    assert in_tasks(main) == [[]]


def test_notify_all_and_a_lock_taken_twice() -> None:
    condition = Condition()

    def wait() -> bool:
        with condition, condition:
            return condition.wait(DEADLINE)

    def tell() -> None:
        until(lambda: waiting(condition) == 2)
        with condition:
            condition.notify_all()

    assert in_tasks(wait, wait, tell) == [True, True, None]


# What is wrong


@everywhere
def test_misuse_is_told_as_threading_does(place: Place) -> None:
    def misuse() -> None:
        taken = RLock()
        taken.acquire()
        for wrong, error, text in (
            (Lock().release, RuntimeError, "release unlocked lock"),
            (RLock().release, RuntimeError, "cannot release un-acquired lock"),
            (Condition().wait, RuntimeError, "cannot wait on un-acquired lock"),
            (Condition(Lock()).notify, RuntimeError, "cannot notify on un-acquired lock"),
            (BoundedSemaphore().release, ValueError, "Semaphore released too many times"),
            (lambda: Semaphore().release(0), ValueError, "n must be one or more"),
            (lambda: Semaphore(-1), ValueError, "semaphore initial value must be >= 0"),
            (lambda: Semaphore().acquire(False, 1), ValueError, "can't specify timeout for non-blocking acquire"),
            (lambda: Lock().acquire(False, 1), ValueError, "can't specify a timeout for a non-blocking call"),
            (lambda: taken.acquire(True, -2), ValueError, "timeout value must be a non-negative number"),
        ):
            with pytest.raises(error, match=text):
                wrong()

    place(misuse)


def test_an_rlock_belongs_to_its_task() -> None:
    lock = RLock()

    def own() -> None:
        with lock, lock:
            hub.give_way()
            hub.give_way()
            assert lock.locked()
        assert not lock.locked()

    def intrude() -> None:
        assert lock.acquire(blocking=False) is False
        with pytest.raises(RuntimeError):
            lock.release()

    in_tasks(own, intrude)
