"""The waker: wishes arrive, from anywhere, and never block."""

import gc
import os
import select
import signal
import threading
from collections.abc import Iterator

import pytest

from portside.waker import Waker, Wish
from tests.conftest import DEADLINE

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def waker() -> Iterator[Waker]:
    waker = Waker()
    yield waker
    waker.close()


def readable(waker: Waker, seconds: float = 0) -> bool:
    return bool(select.select([waker], [], [], seconds)[0])


def test_nobody_has_woken_it(waker: Waker) -> None:
    assert not readable(waker)
    assert waker.collect() is False


@pytest.mark.parametrize(
    ("wishes", "stop"),
    [
        ([Wish.LOOK], False),
        ([Wish.STOP], True),
        ([Wish.LOOK, Wish.STOP, Wish.LOOK], True),
        ([Wish.LOOK] * 3, False),
    ],
)
def test_wishes_are_collected_at_once(waker: Waker, wishes: list[Wish], stop: bool) -> None:
    for wish in wishes:
        waker.wake(wish)
    assert readable(waker)
    assert waker.collect() is stop
    assert not readable(waker)


def test_a_wish_to_look_is_the_default(waker: Waker) -> None:
    waker.wake()
    assert readable(waker)
    assert waker.collect() is False


def test_a_thread_that_sleeps_is_woken(waker: Waker) -> None:
    woken: list[bool] = []
    sleeper = threading.Thread(target=lambda: woken.append(readable(waker, DEADLINE)))
    sleeper.start()
    waker.wake(Wish.STOP)
    sleeper.join(DEADLINE)
    assert woken == [True]
    assert waker.collect()


def test_a_full_pair_keeps_nobody_waiting(waker: Waker) -> None:
    for _ in range(100_000):
        waker.wake()
    while readable(waker):
        assert waker.collect() is False


def test_a_child_can_wish(waker: Waker) -> None:
    pid = os.fork()
    if not pid:
        waker.wake(Wish.STOP)
        os._exit(0)
    os.waitpid(pid, 0)
    assert waker.collect() is True


def test_a_signal_handler_can_wish(waker: Waker) -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: waker.wake(Wish.STOP))
    try:
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert waker.collect() is True


def test_a_signal_ends_a_wait_that_begins_after_it(waker: Waker) -> None:
    """Its handler has run already: without the byte, nothing would end the wait."""
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with waker.rung_by_signals():
            signal.raise_signal(signal.SIGUSR1)
            assert readable(waker, DEADLINE)
        assert waker.collect() is False
        signal.raise_signal(signal.SIGUSR1)
        assert not readable(waker)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_somebody_elses_wake_up_descriptor_stays(waker: Waker) -> None:
    theirs = Waker()
    theirs._waking.setblocking(False)
    signal.set_wakeup_fd(theirs._waking.fileno())
    try:
        with waker.rung_by_signals():
            assert signal.set_wakeup_fd(theirs._waking.fileno()) == theirs._waking.fileno()
    finally:
        assert signal.set_wakeup_fd(-1) == theirs._waking.fileno()
        theirs.close()


def test_only_the_main_thread_is_rung(waker: Waker) -> None:
    inside: list[int] = []

    def enter() -> None:
        with waker.rung_by_signals():
            inside.append(1)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join(DEADLINE)
    assert inside == [1]
    assert signal.set_wakeup_fd(-1) == -1


def test_a_dropped_one_closes_itself() -> None:
    """Under warnings that are errors: see `no_leaks`."""
    Waker()
    gc.collect()


def test_a_closed_one_is_deaf(waker: Waker) -> None:
    waker.close()
    waker.wake(Wish.STOP)
    assert waker.collect() is False
    assert waker.fileno() == -1
    waker.close()
