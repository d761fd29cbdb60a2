"""SIGUSR2: a new version of the program takes over under load; or it does not, and nobody notices."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.conftest import wait_until
from tests.workers.kit import MODULE, PATIENCE, VERSION, Load, Talker, converse, served

pytestmark = pytest.mark.usefixtures("no_leaks")

NEW = MODULE.replace(VERSION, "two")


@pytest.mark.parametrize("balance", ["shared", "reuseport"])
def test_new_version_takes_over_under_load(balance: str, folder: Path) -> None:
    endpoints = ["tcp://127.0.0.1:0", "unix:s"]
    with served(folder, "talk:Talk", *endpoints, workers={"count": 2, "balance": balance}) as service:
        service.wait("WorkerReady", 2)
        endpoint = service.endpoint
        with Load(endpoint) as load:
            load.wait(200)
            (folder / "talk.py").write_text(NEW, encoding="utf-8")
            service.signal(signal.SIGUSR2)
            successor = service.wait("HandOverFinished")[0]["pid"]
            assert service.process.wait(PATIENCE) == 0
            load.wait(200)
            assert (folder / "s").exists()
            # ... and once more, from the new version to one that is newer still
            os.kill(successor, signal.SIGUSR2)
            service.wait("HandOverFinished", 2)
            load.wait(200)
        assert load.failures == []
        assert set(load.versions) == {"one", "two"}
        assert converse(endpoint)[1] == "two"
        last = service.of("HandOverFinished")[-1]["pid"]
        os.kill(last, signal.SIGTERM)
        assert wait_until(lambda: not (folder / "s").exists(), PATIENCE)


def test_conversation_outlives_a_hand_over(folder: Path) -> None:
    with served(folder, workers={"count": 1}) as service:
        service.wait("WorkerReady")
        talker = Talker(service.endpoint)
        service.signal(signal.SIGUSR2)
        service.wait("HandOverStarted")
        assert talker.ask() == b"HELLO\n"
        service.wait("HandOverFinished")
        assert talker.heard.read() == b""
        talker.close()


@pytest.mark.parametrize("broken", ["raise RuntimeError('out of cheese')", "import os; os.kill(os.getppid(), 9)"])
def test_version_that_cannot_start_changes_nothing(broken: str, folder: Path) -> None:
    with served(folder, workers={"count": 2}) as service:
        service.wait("WorkerReady", 2)
        endpoint = service.endpoint
        with Load(endpoint) as load:
            (folder / "talk.py").write_text(broken, encoding="utf-8")
            service.signal(signal.SIGUSR2)
            service.wait("HandOverFailed")
            load.wait(100)
        assert load.failures == []
        assert set(load.versions) == {"one"}
        (folder / "talk.py").write_text(NEW, encoding="utf-8")
        service.signal(signal.SIGUSR2)
        service.wait("HandOverFinished")
        assert wait_until(lambda: converse(endpoint)[1] == "two", PATIENCE)


def test_version_that_hangs_is_given_up(folder: Path) -> None:
    """Its first start is fast; then the program itself, before any worker, does not come along."""
    (folder / "sitecustomize.py").write_text(
        "import os, threading\nif 'PORTSIDE_HANDOVER' in os.environ:\n    threading.Event().wait()\n", encoding="utf-8"
    )
    hurried = {"PYTHONPATH": str(folder), "START_TIMES": "0.01"}
    with served(folder, workers={"count": 1}, env=hurried) as service:
        service.wait("WorkerReady")
        service.signal(signal.SIGUSR2)
        assert service.wait("HandOverFailed")[0]["error"] == "it was ended by SIGKILL"
        assert converse(service.endpoint)[1] == "one"


def test_service_that_ends_meanwhile_takes_its_new_version_with_it(folder: Path) -> None:
    with served(folder, workers={"count": 1}) as service:
        service.wait("WorkerReady")
        (folder / "talk.py").write_text("import threading\nthreading.Event().wait()", encoding="utf-8")
        service.signal(signal.SIGUSR2)
        successor = psutil.Process(service.wait("HandOverStarted")[0]["pid"])
        service.signal(signal.SIGTERM)
        assert service.outcome()[0] == 0
        assert wait_until(lambda: not successor.is_running(), PATIENCE)
