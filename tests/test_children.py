"""Children: told as they end, collected once, and nobody else's."""

import os
import select
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from portside import socketserver
from portside.engines import children as module
from portside.engines.children import Child, Children
from tests.conftest import DEADLINE, wait_until
from tests.pains.serving import LOOPBACK, answer, serving

pytestmark = pytest.mark.usefixtures("no_leaks")


class Held:
    """A child that lives until it is released, and then exits with its status."""

    def __init__(self, status: int = 0) -> None:
        self._waiting, self._releasing = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.read(self._waiting, 1)
            os._exit(status)

    def release(self) -> None:
        """A byte says so: closing would not do, as the children that came later hold the pipe too."""
        os.write(self._releasing, b"!")
        os.close(self._releasing)
        os.close(self._waiting)


def refuse(pid: int, flags: int = 0) -> int:
    raise OSError(38, "Function not implemented")


@pytest.fixture(params=["pidfd", "refused", "missing"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Process descriptors, an old kernel's refusal of them, and a system that has none."""
    if request.param == "refused":
        monkeypatch.setattr(os, "pidfd_open", refuse)
    elif request.param == "missing":
        monkeypatch.delattr(os, "pidfd_open")
    return str(request.param)


@pytest.fixture
def children() -> Iterator[Children]:
    children = Children()
    yield children
    children.kill()
    for child, _ in children.ended(blocking=True):
        child.close()
    children.close()


def outcomes(ended: list[tuple[Child, int]]) -> list[tuple[int, int]]:
    """Process id and exit code of each; closes them."""
    for child, _ in ended:
        child.close()
    return [(child.pid, code) for child, code in ended]


def next_end(children: Children) -> list[tuple[int, int]]:
    """Wait until somebody has ended, as the accept loop does."""
    found: list[tuple[int, int]] = []

    def look() -> bool:
        found.extend(outcomes(children.ended()))
        return bool(found)

    assert wait_until(look)
    return found


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("status", [0, 1, 77])
def test_an_exit_status(children: Children, status: int) -> None:
    child = Held(status)
    children.add(child.pid, None)
    assert (len(children), children.ended()) == (1, [])
    child.release()
    children.wait()
    assert outcomes(children.ended(blocking=True)) == [(child.pid, status)]
    assert (len(children), children.ended(), children.tells()) == (0, [], True)


@pytest.mark.usefixtures("system")
def test_a_signal(children: Children) -> None:
    child = Held()
    children.add(child.pid, None)
    children.kill()
    assert outcomes(children.ended(blocking=True)) == [(child.pid, -signal.SIGKILL)]
    children.kill()  # nobody is left
    child.release()


def test_the_selector_tells(children: Children) -> None:
    child = Held()
    children.add(child.pid, None)
    assert children.tells()
    assert not select.select([children], [], [], 0)[0]
    child.release()
    assert select.select([children], [], [], DEADLINE)[0]
    assert outcomes(children.ended()) == [(child.pid, 0)]
    assert not select.select([children], [], [], 0)[0]


def test_without_process_descriptors_somebody_has_to_look(children: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    first = Held()
    children.add(first.pid, None)
    monkeypatch.setattr(os, "pidfd_open", refuse)
    second = Held()
    children.add(second.pid, None)
    assert not children.tells()
    children.wait()  # returns, although nobody has ended
    assert len(children) == 2
    second.release()
    assert next_end(children) == [(second.pid, 0)]
    assert children.tells()
    first.release()
    assert outcomes(children.ended(blocking=True)) == [(first.pid, 0)]


@pytest.mark.usefixtures("system")
def test_only_those_that_ended_are_collected(children: Children) -> None:
    held = [Held(status) for status in (3, 4, 5)]
    for child in held:
        children.add(child.pid, None)
    held[1].release()
    assert next_end(children) == [(held[1].pid, 4)]
    assert len(children) == 2
    held[0].release()
    held[2].release()
    assert outcomes(children.ended(blocking=True)) == [(held[0].pid, 3), (held[2].pid, 5)]


@pytest.mark.usefixtures("system")
def test_somebody_else_has_waited_for_it(children: Children) -> None:
    child = Held(9)
    children.add(child.pid, None)
    child.release()
    os.waitpid(child.pid, 0)
    assert outcomes(children.ended()) == [(child.pid, 0)]
    assert children.tells()


@pytest.mark.usefixtures("system")
def test_killing_one_that_has_gone(children: Children) -> None:
    child = Held()
    children.add(child.pid, None)
    child.release()
    os.waitpid(child.pid, 0)
    children.kill()
    assert outcomes(children.ended()) == [(child.pid, 0)]


def test_somebody_elses_children_are_left_alone(children: Children) -> None:
    other = Held(6)
    other.release()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert children.ended() == []
    assert children.ended(blocking=True) == []
    assert os.waitstatus_to_exitcode(os.waitpid(other.pid, 0)[1]) == 6


@pytest.mark.usefixtures("system")
def test_a_childs_connection_is_closed_with_it(children: Children) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        child = Held()
        children.add(child.pid, ours)
        child.release()
        ended = children.ended(blocking=True)
        assert ended[0][0].connection is ours
        outcomes(ended)
        assert ours.fileno() == -1


@pytest.mark.usefixtures("system")
def test_close_gives_everything_back_at_once() -> None:
    children = Children()
    ours, theirs = socket.socketpair()
    child = Held()
    children.add(child.pid, ours)
    children.close()
    with theirs:
        theirs.settimeout(DEADLINE)
        child.release()
        assert theirs.recv(1) == b""
    assert len(children) == 0
    assert os.waitpid(child.pid, 0) == (child.pid, 0)


@pytest.mark.usefixtures("system")
def test_one_thread_collects_and_the_others_need_not_wait(children: Children) -> None:
    child = Held()
    children.add(child.pid, None)
    collected: list[tuple[int, int]] = []
    collecting = threading.Thread(target=lambda: collected.extend(outcomes(children.ended(blocking=True))))
    collecting.start()
    assert wait_until(children._lock.locked)
    assert children.ended() == []
    child.release()
    collecting.join(DEADLINE)
    assert collected == [(child.pid, 0)]


@pytest.mark.usefixtures("system")
def test_an_idle_server_collects(capfd: pytest.CaptureFixture[str]) -> None:
    with serving(socketserver.ForkingTCPServer(LOOPBACK, tell_process), 60) as server:
        pid = int(answer(server))
        assert wait_until(lambda: not os.path.exists(f"/proc/{pid}"))
        assert wait_until(lambda: not server.active_children)
    assert capfd.readouterr().err == ""


def tell_process(request: Any, client_address: Any, server: Any) -> None:
    request.sendall(str(os.getpid()).encode())
    threading.Event().wait(0.1)  # the parent is back in its loop


def test_it_knows_whose_children_they_are(children: Children) -> None:
    assert children.process == os.getpid()
