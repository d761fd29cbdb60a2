"""Commands to all workers at once, from another thread of the supervisor's process."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from portside import Endpoint, Service, Supervisor
from portside.service.bound import Bound
from portside.service.loading import Deferred
from tests.conftest import wait_until
from tests.workers.kit import PATIENCE, Talker

pytestmark = pytest.mark.usefixtures("no_leaks")

Talk = Callable[[Supervisor], None]


@contextlib.contextmanager
def control(bound: Bound) -> Iterator[Callable[[Mapping[str, Any]], dict[str, Any]]]:
    """Answers, fails, or does not answer at all."""

    def handle(command: Mapping[str, Any]) -> dict[str, Any]:
        match command["do"]:
            case "where":
                return {"where": str(bound.endpoint)}
            case "fail":
                raise LookupError("no such thing")
            case "hang":
                threading.Event().wait()
        return {}

    yield handle


def supervised(folder: Path, talk: Talk) -> Supervisor:
    """Run a service here, in the main thread, and `talk` to it in another until that returns; then it ends."""
    failures: list[BaseException] = []

    def attend() -> None:
        try:
            assert ready.wait(PATIENCE)
            talk(supervisor)
        except BaseException as error:
            failures.append(error)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    ready = threading.Event()
    there = os.getcwd()
    os.chdir(folder)
    try:
        service = Service(
            handler=Deferred.named("talk:Talk"), endpoints=(Endpoint.parse("tcp://127.0.0.1:0"),), workers=2, drain=1.0
        )
        supervisor = Supervisor(service, control=control, ready=lambda _: ready.set())
        thread = threading.Thread(target=attend)
        thread.start()
        supervisor.run()
        thread.join()
    finally:
        os.chdir(there)
    if failures:
        raise failures[0]
    return supervisor


def test_every_worker_answers(folder: Path) -> None:
    def talk(supervisor: Supervisor) -> None:
        assert supervisor.is_ready
        described = supervisor.describe()
        assert [(each["slot"], each["phase"]) for each in described] == [(0, "ready"), (1, "ready")]
        pids = sorted(each["pid"] for each in described)
        where = str(supervisor.endpoints[0])
        assert supervisor.ask({"do": "where"}) == [{"pid": pid, "where": where} for pid in pids]
        assert supervisor.ask({"do": "ping"}) == [{"pid": pid, "ready": True} for pid in pids]
        assert supervisor.ask({"do": "fail"}) == [{"pid": pid, "error": "LookupError: no such thing"} for pid in pids]
        talker = Talker(supervisor.endpoints[0])
        assert talker.ask() == b"HELLO\n"
        talker.close()

    supervisor = supervised(folder, talk)
    assert supervisor.describe() == []


def test_stuck_worker_does_not_hold_the_others_up(folder: Path) -> None:
    def talk(supervisor: Supervisor) -> None:
        pids = sorted(each["pid"] for each in supervisor.describe())
        os.kill(pids[0], signal.SIGSTOP)
        assert wait_until(lambda: psutil.Process(pids[0]).status() == psutil.STATUS_STOPPED)  # every thread of it
        assert supervisor.ask({"do": "ping"}, timeout=0.5)[0] == {
            "pid": pids[0],
            "error": "the worker does not answer",
        }
        os.kill(pids[0], signal.SIGCONT)
        assert len(supervisor.ask({"do": "hang"}, timeout=0.2)) == 2
        assert supervisor.ask({"do": "where"}, timeout=0.2)[0]["error"] == "the worker does not answer"
        assert supervisor.ask({"do": "ping"}) == [{"pid": pid, "ready": True} for pid in pids]

    supervised(folder, talk)


def test_supervisor_cannot_wait_for_itself(folder: Path) -> None:
    def talk(supervisor: Supervisor) -> None:
        failed: list[BaseException] = []

        def errand() -> None:
            try:
                supervisor.ask({"do": "ping"})
            except RuntimeError as error:
                failed.append(error)
            done.set()

        done = threading.Event()
        supervisor._errands.add(errand)
        assert done.wait(PATIENCE)
        assert "call it from another thread" in str(failed[0])

    supervised(folder, talk)


def test_workers_need_the_main_thread(folder: Path) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        service = Service(handler=print, endpoints=(Endpoint.parse(0),), workers=1)
        supervisor = Supervisor(service)
        try:
            supervisor.run()
        except RuntimeError as error:
            failures.append(error)
        finally:
            supervisor._close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert "workers need the main thread" in str(failures[0])
