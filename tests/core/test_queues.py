"""Queues: the standard library's names and exceptions, for tasks and threads at once."""

import inspect
import queue
import threading
from typing import Any

import pytest

from portside.core import queues
from portside.core.queues import LifoQueue, PriorityQueue, Queue, ShutDown
from tests.conftest import DEADLINE
from tests.core.places import Place, everywhere, hub, in_tasks, until

pytestmark = pytest.mark.usefixtures("no_leaks")

ITEMS = 200
kinds = pytest.mark.parametrize("name", ["Queue", "LifoQueue", "PriorityQueue"])


@kinds
def test_methods_are_those_of_queue(name: str) -> None:
    ours, standard = getattr(queues, name), getattr(queue, name)
    for method, function in inspect.getmembers(standard, inspect.isfunction):
        assert list(inspect.signature(getattr(ours, method)).parameters) == list(inspect.signature(function).parameters)


@kinds
def test_order_is_that_of_queue(name: str) -> None:
    ours, standard = getattr(queues, name)(), getattr(queue, name)()
    for item in (3, 1, 2):
        ours.put(item)
        standard.put(item)
    assert [ours.get() for _ in range(3)] == [standard.get() for _ in range(3)]


@everywhere
@kinds
@pytest.mark.parametrize("maxsize", [0, 1, 7])
def test_everything_arrives_once(place: Place, name: str, maxsize: int) -> None:
    box = getattr(queues, name)(maxsize)

    def produce() -> None:
        for number in range(ITEMS):
            box.put(number, timeout=DEADLINE)

    def consume() -> list[int]:
        return [box.get(timeout=DEADLINE) for _ in range(ITEMS)]

    first, second = place(produce, produce, consume, consume)[2:]
    assert sorted(first + second) == sorted([*range(ITEMS)] * 2)
    assert (box.qsize(), box.empty(), box.full()) == (0, True, False)


def test_threads_feed_a_task() -> None:
    box = Queue[int](3)

    def produce() -> None:
        for number in range(ITEMS):
            box.put(number)

    threads = [threading.Thread(target=produce) for _ in range(3)]
    for thread in threads:
        thread.start()
    found = in_tasks(lambda: [box.get(timeout=DEADLINE) for _ in range(3 * ITEMS)])[0]
    for thread in threads:
        thread.join(DEADLINE)
    assert sorted(found) == sorted([*range(ITEMS)] * 3)


def test_first_come_first_served() -> None:
    box, order = Queue[int](), []

    def get(number: int) -> None:
        box.get()
        order.append(number)

    def main() -> None:
        tasks = [hub.running_hub().spawn(get, number) for number in range(3)]
        until(lambda: len(box._items._line) == 3)
        for item in range(3):
            box.put(item)
            with pytest.raises(queue.Empty):  # it is meant for those who wait
                box.get_nowait()
        for task in tasks:
            task.join(DEADLINE)

    hub.run(main)
    assert order == [0, 1, 2]


@everywhere
def test_empty_and_full(place: Place) -> None:
    def work() -> None:
        box = Queue[int](1)
        with pytest.raises(queue.Empty):
            box.get_nowait()
        with pytest.raises(queue.Empty):
            box.get(timeout=0.001)
        box.put_nowait(1)
        assert box.full()
        with pytest.raises(queue.Full):
            box.put_nowait(2)
        with pytest.raises(queue.Full):
            box.put(2, timeout=0.001)
        with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
            box.get(timeout=-1)

    place(work, work)


def test_what_a_killed_getter_was_promised_goes_to_the_next() -> None:
    box = Queue[int]()

    def main() -> int:
        tasks = [hub.running_hub().spawn(box.get) for _ in range(2)]
        until(lambda: len(box._items._line) == 2)
        box.put(1)
        tasks[0].kill()
        return int(tasks[1].result(DEADLINE))

    assert hub.run(main) == 1


@everywhere
def test_join_waits_for_what_is_done(place: Place) -> None:
    box, done = Queue[int](), []

    def work() -> None:
        for _ in range(3):
            item = box.get(timeout=DEADLINE)
            done.append(item)
            box.task_done()

    def give() -> list[int]:
        for item in range(3):
            box.put(item)
        box.join()
        return done[:]

    assert place(work, give)[1] == [0, 1, 2]
    with pytest.raises(ValueError, match="called too many times"):
        box.task_done()


# The end


@everywhere
def test_shutdown_is_told_to_all_who_wait(place: Place) -> None:
    empty, full = Queue[int](), Queue[int](1)
    full.put(1)

    def get() -> str:
        with pytest.raises(ShutDown):
            empty.get()
        return "told"

    def put() -> str:
        with pytest.raises(ShutDown):
            full.put(2)
        return "told"

    def end() -> None:
        until(lambda: len(empty._items._line) == 2 and full._room is not None and len(full._room._line) == 2)
        empty.shutdown()
        full.shutdown()

    assert place(get, get, put, put, end)[:4] == ["told"] * 4
    assert full.get() == 1
    for wrong in (full.get, full.get_nowait, lambda: full.put(3), lambda: full.put_nowait(3)):
        with pytest.raises(ShutDown):
            wrong()


@pytest.mark.parametrize("immediate", [True, False])
def test_what_is_left_after_shutdown(immediate: bool) -> None:
    box = Queue[int]()
    for item in range(3):
        box.put(item)
    box.shutdown(immediate)
    if not immediate:
        assert [box.get() for _ in range(3)] == [0, 1, 2]
        for _ in range(3):
            box.task_done()
    box.join()
    with pytest.raises(ShutDown):
        box.get()


def test_shutdown_is_the_standard_librarys_where_it_has_one() -> None:
    assert getattr(queue, "ShutDown", ShutDown) is ShutDown


def test_items_that_cannot_be_compared_take_no_room() -> None:
    box = PriorityQueue[Any](2)
    box.put(1)
    with pytest.raises(TypeError):
        box.put("one")
    assert box._room is not None
    assert box._room._value == 1


def test_lifo() -> None:
    box = LifoQueue[int]()
    box.put(1)
    box.put(2)
    assert (box.get(), box.get()) == (2, 1)
