"""The pool of threads: reused, bounded, gone when they are not needed, and a new one in every process."""

import contextvars
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from portside.core import pool as pools
from portside.core.pool import WorkerPool
from portside.engines.threads import ThreadEngine
from portside.socketserver import ThreadingTCPServer
from tests.conftest import DEADLINE, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="empty")


class Task:
    """Runs until it is released; knows where."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.thread: threading.Thread | None = None

    def __call__(self) -> None:
        self.thread = threading.current_thread()
        self.begun.set()
        self.go_on.wait(DEADLINE)

    def is_at_work(self) -> bool:
        return self.begun.wait(DEADLINE)


class Room:
    """Counts how often the pool told that there is room again."""

    def __init__(self) -> None:
        self.told = 0

    def __call__(self) -> None:
        self.told += 1


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def make(room: Room) -> Iterator[Callable[[int], WorkerPool]]:
    made: list[WorkerPool] = []

    def make(limit: int) -> WorkerPool:
        made.append(WorkerPool(limit=limit, on_room=room))
        return made[-1]

    yield make
    for pool in made:
        pool.join(DEADLINE)


def submit(pool: WorkerPool, task: Callable[[], object] | None = None, *, daemon: bool = True) -> Task:
    """Submit a task, our own by default."""
    own = Task()
    pool.submit(task or own, daemon=daemon)
    return own


def work_off(pool: WorkerPool, task: Callable[[], object]) -> None:
    """Submit a task and wait until the pool has nothing to do any more."""
    pool.submit(task, daemon=True)
    assert wait_until(lambda: pool.busy() == 0)


# Reuse and limits


def test_a_thread_is_used_again(make: Callable[[int], WorkerPool]) -> None:
    pool, threads = make(5), []
    for _ in range(20):
        work_off(pool, lambda: threads.append(threading.current_thread()))
    assert len(set(threads)) == len(pool) == 1


def test_the_one_that_rested_last_works_first(make: Callable[[int], WorkerPool]) -> None:
    pool = make(2)
    first, second = submit(pool), submit(pool)
    assert first.is_at_work()
    assert second.is_at_work()
    first.go_on.set()
    assert wait_until(lambda: pool.busy() == 1)
    second.go_on.set()
    assert wait_until(lambda: pool.busy() == 0)
    again: list[threading.Thread] = []
    work_off(pool, lambda: again.append(threading.current_thread()))
    assert again == [second.thread]


@pytest.mark.parametrize("daemon", [True, False])
def test_threads_are_made_as_asked(make: Callable[[int], WorkerPool], daemon: bool) -> None:
    task = submit(make(1), daemon=daemon)
    assert task.is_at_work()
    assert task.thread is not None
    assert task.thread.daemon is daemon
    assert task.thread.name.startswith("portside-handler-")
    task.go_on.set()


def test_a_task_over_the_limit_waits_for_a_thread(make: Callable[[int], WorkerPool]) -> None:
    pool = make(1)
    first, second = submit(pool), submit(pool)
    assert first.is_at_work()
    assert (len(pool), pool.busy()) == (1, 2)
    assert not second.begun.is_set()
    first.go_on.set()
    assert second.is_at_work()
    assert second.thread is first.thread
    second.go_on.set()


def test_room_is_told_once_it_was_missed(make: Callable[[int], WorkerPool], room: Room) -> None:
    pool = make(1)
    task = submit(pool)
    assert task.is_at_work()
    assert pool.has_room() is False
    assert room.told == 0
    task.go_on.set()
    assert wait_until(lambda: room.told == 1)
    assert pool.has_room() is True
    work_off(pool, lambda: None)
    assert room.told == 1


def test_there_is_no_room_beside_a_task_that_waits(make: Callable[[int], WorkerPool]) -> None:
    pool = make(2)
    first = submit(pool)
    assert first.is_at_work()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more_threads)
        second = submit(pool)
    assert pool.has_room() is False
    first.go_on.set()
    assert second.is_at_work()
    second.go_on.set()


def test_room_is_waited_for(make: Callable[[int], WorkerPool]) -> None:
    pool = make(1)
    pool.wait_for_room()
    task = submit(pool)
    assert task.is_at_work()
    waiting = threading.Thread(target=pool.wait_for_room, daemon=True)
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    task.go_on.set()
    waiting.join(DEADLINE)
    assert not waiting.is_alive()


# Who is asked


def test_a_worker_does_not_count_itself(make: Callable[[int], WorkerPool]) -> None:
    pool, seen = make(1), []
    work_off(pool, lambda: seen.append((pool.is_worker(), pool.busy())))
    assert seen == [(True, 0)]
    assert pool.is_worker() is False


# What a task leaves behind


def test_every_task_begins_in_an_empty_context(make: Callable[[int], WorkerPool]) -> None:
    pool, seen = make(1), list[str]()
    token = VARIABLE.set("the submitter's")

    def look_and_leave() -> None:
        seen.append(VARIABLE.get())
        VARIABLE.set("a task's")

    work_off(pool, look_and_leave)
    work_off(pool, look_and_leave)
    VARIABLE.reset(token)
    assert seen == ["empty", "empty"]


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt, SystemExit])
def test_exceptions_go_to_the_threads_hook(
    make: Callable[[int], WorkerPool], error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    hooked: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", hooked.append)
    pool = make(1)
    raised = error("a bug")

    def fail() -> None:
        raise raised

    work_off(pool, fail)
    survivor = submit(pool)
    assert survivor.is_at_work()
    survivor.go_on.set()
    assert [(each.exc_type, each.exc_value, each.thread) for each in hooked] == [(error, raised, survivor.thread)]
    assert hooked[0].exc_traceback is not None


def test_nothing_of_a_task_is_kept(make: Callable[[int], WorkerPool]) -> None:
    pool = make(1)
    task = submit(pool)
    assert task.is_at_work()
    kept = weakref.ref(task)
    task.go_on.set()
    del task
    assert wait_until(lambda: kept() is None)


# Leaving


def test_an_idle_thread_leaves(make: Callable[[int], WorkerPool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "IDLE_SECONDS", 0.05)
    pool = make(2)
    task = submit(pool)
    assert task.is_at_work()
    assert task.thread is not None
    task.go_on.set()
    task.thread.join(DEADLINE)
    assert not task.thread.is_alive()
    assert len(pool) == 0
    work_off(pool, lambda: None)


def test_a_task_reaches_a_thread_that_was_about_to_leave(
    make: Callable[[int], WorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make(1)
    late = Task()
    wait = pools._Worker.wait

    def give_up_too_late(worker: Any) -> bool:
        """The first wait ends without a task, just when somebody hands one over."""
        monkeypatch.setattr(pools._Worker, "wait", wait)
        pool.submit(late, daemon=True)
        return False

    monkeypatch.setattr(pools._Worker, "wait", give_up_too_late)
    pool.submit(lambda: None, daemon=True)
    assert late.is_at_work()
    assert len(pool) == 1
    late.go_on.set()
    for _ in range(3):  # and it stays: what it missed is not mistaken for a later hand-over
        assert wait_until(lambda: pool.busy() == 0)
        done = threading.Event()
        pool.submit(done.set, daemon=True)
        assert done.wait(DEADLINE)


def test_close_sends_idle_threads_home_and_waits_for_none(make: Callable[[int], WorkerPool]) -> None:
    pool = make(2)
    idle, busy = submit(pool), submit(pool)
    assert idle.is_at_work()
    assert busy.is_at_work()
    idle.go_on.set()
    assert wait_until(lambda: pool.busy() == 1)
    pool.close()
    pool.close()
    assert idle.thread is not None
    idle.thread.join(DEADLINE)
    assert len(pool) == 1
    busy.go_on.set()
    assert busy.thread is not None
    busy.thread.join(DEADLINE)
    assert len(pool) == 0


def test_a_closed_pool_still_does_what_waits(make: Callable[[int], WorkerPool]) -> None:
    pool = make(1)
    first, second = submit(pool), submit(pool)
    pool.close()
    first.go_on.set()
    assert second.is_at_work()
    second.go_on.set()
    assert wait_until(lambda: len(pool) == 0)


def test_a_closed_pool_starts_a_thread_for_a_latecomer(make: Callable[[int], WorkerPool]) -> None:
    pool = make(1)
    pool.close()
    late = submit(pool)
    assert late.is_at_work()
    late.go_on.set()
    assert wait_until(lambda: len(pool) == 0)


def test_join_waits_so_long_and_no_longer(make: Callable[[int], WorkerPool]) -> None:
    pool = make(1)
    task = submit(pool)
    assert task.is_at_work()
    assert task.thread is not None
    pool.join(0.01)
    assert task.thread.is_alive()
    task.go_on.set()
    pool.join(DEADLINE)
    task.thread.join(DEADLINE)


def test_a_worker_may_join(make: Callable[[int], WorkerPool]) -> None:
    pool, joined = make(2), threading.Event()

    def join() -> None:
        pool.join(DEADLINE)
        joined.set()

    submit(pool, join)
    assert joined.wait(DEADLINE)


# No thread to be had


def no_more_threads(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_first_thread_that_cannot_start_is_told(
    make: Callable[[int], WorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make(2)
    monkeypatch.setattr(threading.Thread, "start", no_more_threads)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        submit(pool)
    assert (len(pool), pool.busy()) == (0, 0)
    monkeypatch.undo()
    work_off(pool, lambda: None)


@pytest.mark.parametrize("started", [False, True])
def test_an_interrupt_while_a_thread_starts_leaves_nothing_behind(
    make: Callable[[int], WorkerPool], monkeypatch: pytest.MonkeyPatch, started: bool
) -> None:
    start, done = threading.Thread.start, threading.Event()

    def interrupted(thread: threading.Thread) -> None:
        if started:
            start(thread)
        raise KeyboardInterrupt

    pool = make(1)
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pool.submit(done.set, daemon=True)
    monkeypatch.undo()
    assert done.wait(DEADLINE if started else 0) is started
    assert wait_until(lambda: pool.busy() == 0)
    assert pool.has_room()


# Processes


def test_a_child_has_a_pool_of_its_own() -> None:
    with ThreadingTCPServer(("127.0.0.1", 0), lambda *_: None) as server:
        engine = server._portside.engine
        assert isinstance(engine, ThreadEngine)
        parents = engine.pool()
        work_off(parents, lambda: None)
        pid = os.fork()
        if not pid:
            os._exit(engine.pool() is parents or len(engine.pool()) or in_a_child(engine.pool()))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert engine.pool() is parents


def in_a_child(pool: WorkerPool) -> bool:
    """Whether the pool fails to run a task."""
    done = threading.Event()
    pool.submit(done.set, daemon=True)
    return not done.wait(DEADLINE)


FOR_EVER = "import portside.core.pool; portside.core.pool.IDLE_SECONDS = 3600\n"
QUIET = [sys.executable, "-W", "ignore::DeprecationWarning", "-c"]  # 3.12 and later warn of fork() beside threads

IDLE_AT_THE_END = """
import threading
from portside.core.pool import WorkerPool
done = threading.Event()
pool = WorkerPool(limit=1, on_room=lambda: None)
pool.submit(done.set, daemon=False)
done.wait()
"""

BUSY_AT_THE_END = """
import threading
from portside.core.pool import WorkerPool
def work():
    threading.main_thread().join()
    print("finished", flush=True)
pool = WorkerPool(limit=1, on_room=lambda: None)
pool.submit(work, daemon=False)
"""

FORKED_AT_THE_END = """
import os, sys, threading
from portside.core.pool import WorkerPool
done = threading.Event()
pool = WorkerPool(limit=1, on_room=lambda: None)
pool.submit(done.set, daemon=False)
done.wait()
pid = os.fork()
if pid:
    assert os.waitpid(pid, 0)[1] == 0
print("ended")
"""


@pytest.mark.parametrize(
    ("program", "output"),
    [(IDLE_AT_THE_END, ""), (BUSY_AT_THE_END, "finished\n"), (FORKED_AT_THE_END, "ended\nended\n")],
    ids=["idle", "busy", "forked"],
)
def test_the_end_of_a_program_waits_for_work_and_nothing_else(program: str, output: str) -> None:
    """Idle threads are not daemons here, and would stay for IDLE_SECONDS."""
    found = subprocess.run([*QUIET, FOR_EVER + program], capture_output=True, text=True, timeout=50, check=True)
    assert (found.stdout, found.stderr) == (output, "")
