"""The dump: where every task stands, from any thread, also while a hub is blocked."""

import io
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from portside.core import dump, dump_on_signal, hub, network
from portside.core.sync import Event
from tests.conftest import DEADLINE, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")

end = threading.Event()  # set when a test with another thread's hub is over


def dumped() -> str:
    file = io.StringIO()
    dump(file)
    return file.getvalue()


def section(text: str, name: str) -> str:
    """What is told of the task that runs the function of that name."""
    (found,) = [part for part in text.split("\n\n") if part.partition("(")[0].endswith(name)]
    return found.rstrip("\n")


def waits_in_a_while(event: Event) -> None:
    event.wait()


def waits_for_input(sock: Any) -> None:
    with sock:
        sock.recv(1)


def never_begins() -> None:
    raise AssertionError


def is_ready() -> None:
    hub.give_way()


def spawn(function: Callable[..., Any], *arguments: Any) -> Any:
    return hub.get_hub().spawn(function, *arguments)


def test_every_task_has_its_stack() -> None:
    def main() -> str:
        one, other = network.socketpair()
        tasks = [spawn(waits_in_a_while, event := Event()), spawn(waits_for_input, one)]
        hub.give_way()
        tasks.append(spawn(is_ready))
        hub.give_way()
        late = spawn(never_begins)
        text = dumped()
        late.kill()
        event.set()
        other.close()
        for task in tasks:
            task.join(DEADLINE)
        return text

    text = hub.run(main)
    assert re.match(rf"hub of thread {threading.get_ident()}, at work: 5 tasks\n", text)
    assert re.search(r", running:\n.* in main\n    text = dumped\(\)", section(text, "main"), re.DOTALL)
    assert "waits_in_a_while(<portside.core.sync.Event object" in text
    assert re.search(r", waiting:\n.* in waits_in_a_while\n    event.wait\(\)", text, re.DOTALL)
    assert "GreenSocket fd=" in section(text, "waits_for_input")
    assert section(text, "waits_for_input").endswith("in waits_for_input\n    sock.recv(1)")
    assert section(text, "is_ready").endswith("in is_ready\n    hub.give_way()")
    assert section(text, "is_ready").partition("\n")[0].endswith("ready:")
    assert section(text, "never_begins") == "never_begins(), not begun:"


@pytest.fixture
def begun() -> threading.Event:
    return threading.Event()


@pytest.fixture
def elsewhere(begun: threading.Event) -> Iterator[Callable[[Callable[[], Any]], threading.Thread]]:
    """Runs a function in a task of another thread's hub."""
    started: list[threading.Thread] = []
    end.clear()

    def start(function: Callable[[], Any]) -> threading.Thread:
        started.append(threading.Thread(target=hub.run, args=(function,)))
        started[0].start()
        assert begun.wait(DEADLINE)
        return started[0]

    yield start
    end.set()
    for thread in started:
        thread.join(DEADLINE)


Start = Callable[[Callable[[], Any]], threading.Thread]


def test_hub_that_sleeps_shows_on_whose_stack(elsewhere: Start, begun: threading.Event) -> None:
    def sleeps() -> None:
        begun.set()
        while not end.is_set():
            hub.sleep(0.01)

    thread = elsewhere(sleeps)
    assert wait_until(lambda: "asleep" in dumped())
    assert wait_until(lambda: section(dumped(), "sleeps").endswith("in sleeps\n    hub.sleep(0.01)"))
    assert f"hub of thread {thread.ident}" in dumped()


def test_hub_that_is_blocked_shows_by_whom(elsewhere: Start, begun: threading.Event) -> None:
    def blocks() -> None:
        begun.set()
        end.wait(DEADLINE)

    elsewhere(blocks)
    text = dumped()
    assert ", running:\n" in section(text, "blocks")
    assert "in blocks\n    end.wait(DEADLINE)" in section(text, "blocks")


def test_argument_that_cannot_be_shown_does_no_harm() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise LookupError

    def main() -> str:
        task = spawn(waits_long, Broken(), "x" * 1000)
        text = dumped()
        task.kill()
        return text

    def waits_long(*_: object) -> None:
        raise AssertionError

    text = hub.run(main)
    assert "<Broken instance at" in text
    assert len(section(text, "waits_long")) < 400


def test_nothing_to_tell() -> None:
    assert dumped() == "no green tasks\n"


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    dump()
    assert capsys.readouterr().err == "no green tasks\n"


def test_import_of_the_core_is_not_needed() -> None:
    code = "import sys; from portside.core import dump; dump(sys.stdout); print('portside.core.hub' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout == "no green tasks\nFalse\n"


@pytest.fixture
def quiet_signals() -> Iterator[None]:
    before = [(number, signal.getsignal(number)) for number in (signal.SIGUSR1, signal.SIGUSR2)]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.usefixtures("quiet_signals")
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_signal_asks_for_it(capsys: pytest.CaptureFixture[str], number: int) -> None:
    dump_on_signal() if number == signal.SIGUSR1 else dump_on_signal(number)

    def blocks() -> None:
        os.kill(os.getpid(), number)

    def sleeps() -> None:
        hub.get_hub().call_from_thread(blocks)
        hub.sleep(0.01)

    hub.run(blocks)
    assert "in blocks\n    os.kill(" in capsys.readouterr().err
    hub.run(sleeps)
    assert "in sleeps\n    hub.sleep(0.01)" in capsys.readouterr().err
