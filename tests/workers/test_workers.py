"""Workers that are real processes, killed for real: nothing is lost but what a killed one had in hand."""

import os
import signal
import socket
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import psutil
import pytest

import portside
from portside import Endpoint
from portside.service.description import EngineName
from tests.conftest import wait_until
from tests.workers.kit import MODULE, PATIENCE, VERSION, Load, Served, Talker, converse, served

pytestmark = pytest.mark.usefixtures("no_leaks")

engines = pytest.mark.parametrize("engine", get_args(EngineName))
ENDINGS = [signal.SIGINT, signal.SIGTERM]


def handler(engine: str) -> str:
    return "talk:AsyncTalk" if engine == "async" else "talk:Talk"


def ready(service: Served, count: int = 2) -> Endpoint:
    """The service's endpoint, once all workers accept."""
    service.wait("WorkerReady", count)
    return service.endpoint


# Serving


@engines
def test_every_engine_serves_drains_and_ends_with_workers(engine: EngineName, folder: Path) -> None:
    with served(folder, handler(engine), workers={"count": 2}, engine=engine) as service:
        endpoint = ready(service)
        greeted = {int(converse(endpoint)[0]) for _ in range(4)}
        assert engine == "forks" or greeted <= set(service.workers())
        service.signal(signal.SIGTERM)
        assert service.outcome() == (0, b"")
        assert service.of("returned")


@pytest.mark.parametrize("number", ENDINGS)
def test_signal_drains_every_worker(number: int, folder: Path) -> None:
    with served(folder, workers={"count": 2}) as service:
        talkers = [Talker(ready(service)) for _ in range(8)]
        service.signal(number)
        for each in talkers:
            assert each.heard.read() == b""  # idle: it reads the end, not a reset
            each.close()
        assert service.outcome() == (0, b"")


def test_signal_to_every_process_drains_too(folder: Path) -> None:
    """systemd's KillMode=control-group, and Ctrl-C in a terminal."""
    with served(folder, workers={"count": 2}) as service:
        talker = Talker(ready(service))
        for pid in (service.process.pid, *service.workers()):
            os.kill(pid, signal.SIGTERM)
        assert talker.heard.read() == b""
        talker.close()
        assert service.outcome() == (0, b"")


def test_second_signal_ends_a_worker_whose_handler_does_not(folder: Path) -> None:
    stubborn = "\nimport threading\ndef never(*_):\n    _[0].sendall(b'1 one\\n')\n    threading.Event().wait()\n"
    (folder / "talk.py").write_text(MODULE + stubborn, encoding="utf-8")
    with served(folder, "talk:never", workers={"count": 1}, drain=3600.0) as service:
        talker = Talker(ready(service, 1))
        service.signal(signal.SIGTERM)
        assert wait_until(lambda: refuses(service.endpoint), PATIENCE)
        service.signal(signal.SIGTERM)
        assert service.outcome()[0] == 0
        talker.close()


def refuses(endpoint: Endpoint) -> bool:
    try:
        endpoint.connect(timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("engine", ["threads", "green"])
def test_clients_that_stay_are_shared(engine: EngineName, folder: Path) -> None:
    with served(folder, workers={"count": 2}, engine=engine) as service:
        endpoint = ready(service)
        talkers: list[Talker] = []
        while len(talkers) < 40 or few(talkers):
            talkers.append(Talker(endpoint))
            assert len(talkers) < 900, "one worker has nearly all"
        for each in talkers:
            each.close()


def few(talkers: list[Talker]) -> bool:
    """Some worker has less than a fourth."""
    counts = Counter(each.pid for each in talkers)
    return len(counts) < 2 or min(counts.values()) < len(talkers) / 4


def test_datagrams_are_served_by_every_worker(folder: Path) -> None:
    with (
        served(folder, "talk:Datagrams", "udp://127.0.0.1:0", workers={"count": 2}) as service,
        ready(service).connect(timeout=PATIENCE) as client,
    ):
        client.send(b"who")
        assert int(client.recv(100)) in service.workers()


def test_unix_socket_goes_with_the_service(folder: Path) -> None:
    with served(folder, "talk:Talk", "unix:s", workers={"count": 2}) as service:
        ready(service)
        path = folder / "s"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(os.path.relpath(path))
            assert client.makefile("rb").readline()
        service.signal(signal.SIGTERM)
        assert service.outcome()[0] == 0
        assert not path.exists()


# Workers that die


def test_killed_worker_loses_only_its_own_conversations(folder: Path) -> None:
    with served(folder, workers={"count": 2}) as service:
        endpoint = ready(service)
        killed = set()
        with Load(endpoint) as load:
            for round_ in range(3):
                load.wait(100)
                victim = service.wait("WorkerReady", 2 + round_)[-1]["pid"]
                os.kill(victim, signal.SIGKILL)
                killed.add(str(victim))
                service.wait("WorkerReady", 3 + round_)
            load.wait(100)
        assert {pid for pid, _ in load.failures if pid} <= killed, load.failures
        assert len(load.failures) <= 3 * 4
        assert [each["exit_code"] for each in service.of("WorkerExited", role="worker")] == [-9, -9, -9]


def test_pause_stays_short_when_a_worker_keeps_dying(folder: Path) -> None:
    with served(folder, workers={"count": 2}) as service:
        ready(service)
        for round_ in range(3):
            os.kill(service.wait("WorkerReady", 2 + round_)[-1]["pid"], signal.SIGKILL)
            service.wait("WorkerRestarted", 1 + round_)
        assert [each["seconds"] for each in service.of("WorkerRestarted")] == [
            0.0,
            0.5,
            0.5,
        ]  # else one crash a second would shut a service


def test_worker_that_ends_by_itself_is_replaced(folder: Path) -> None:
    with served(folder, workers={"count": 2}) as service:
        ready(service)
        os.kill(service.workers()[0], signal.SIGTERM)
        service.wait("WorkerReady", 3)
        assert not service.of("WorkerExited")


def test_supervisor_that_dies_takes_its_workers_with_it(folder: Path) -> None:
    with served(folder, workers={"count": 2}) as service:
        talker = Talker(ready(service))
        processes = [psutil.Process(pid) for pid in service.workers()]
        service.signal(signal.SIGKILL)
        assert talker.heard.read() == b""
        talker.close()
        gone, alive = psutil.wait_procs(processes, PATIENCE)
        assert len(gone) == 2, alive


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("raise RuntimeError('out of cheese')", "RuntimeError: out of cheese"),
        ("", "has no 'Talk'"),
        ("Talk = 1", "the handler 1 cannot be called"),
        ("import os; os._exit(7)", "it ended with 7"),
        ("import os; os.kill(os.getpid(), 9)", "it was ended by SIGKILL"),
    ],
)
def test_worker_that_cannot_start_ends_the_service(module: str, said: str, folder: Path) -> None:
    (folder / "talk.py").write_text(module, encoding="utf-8")
    with served(folder, workers={"count": 2}) as service:
        code, complaints = service.outcome()
        assert code == 3
        assert said in service.of("WorkerFailed")[0]["reason"]
        assert said.encode() in complaints
        assert not service.of("returned")


def test_worker_that_never_gets_ready_cannot_start(folder: Path) -> None:
    (folder / "talk.py").write_text("import threading\nthreading.Event().wait()", encoding="utf-8")
    with served(folder, workers={"count": 1, "start_timeout": 0.5}) as service:
        assert service.outcome()[0] == 3
        assert service.of("WorkerFailed")[0]["reason"] == "it was ended by SIGKILL"


# Replacing


@pytest.mark.parametrize(("engine", "balance"), [("threads", "shared"), ("green", "shared"), ("green", "reuseport")])
def test_reload_takes_new_code_and_loses_nobody(engine: EngineName, balance: str, folder: Path) -> None:
    with served(folder, workers={"count": 2, "balance": balance}, engine=engine) as service:
        endpoint = ready(service)
        with Load(endpoint) as load:
            load.wait(500)
            (folder / "talk.py").write_text(MODULE.replace(VERSION, "two"), encoding="utf-8")
            for round_ in range(3):
                service.signal(signal.SIGHUP)
                service.wait("ReloadFinished", 1 + round_)
                load.wait(200)
        assert load.failures == []
        assert set(load.versions) == {"one", "two"}
        assert wait_until(lambda: converse(endpoint)[1] == "two", PATIENCE)


def test_conversation_outlives_a_reload(folder: Path) -> None:
    with served(folder, workers={"count": 1}) as service:
        talker = Talker(ready(service, 1))
        service.signal(signal.SIGHUP)
        service.wait("ReloadFinished")
        assert talker.ask() == b"HELLO\n"
        talker.close()


def test_reload_of_broken_code_leaves_the_workers(folder: Path) -> None:
    with served(folder, workers={"count": 2}) as service:
        endpoint = ready(service)
        (folder / "talk.py").write_text("raise RuntimeError('out of cheese')", encoding="utf-8")
        service.signal(signal.SIGHUP)
        assert "out of cheese" in service.wait("ReloadFailed")[0]["error"]
        assert int(converse(endpoint)[0]) in service.workers()[:2]
        (folder / "talk.py").write_text(MODULE.replace(VERSION, "two"), encoding="utf-8")
        service.signal(signal.SIGHUP)
        service.wait("ReloadFinished")
        assert wait_until(lambda: converse(endpoint)[1] == "two", PATIENCE)


@pytest.mark.parametrize("balance", ["shared", "reuseport"])
def test_more_and_fewer_workers_lose_nobody(balance: str, folder: Path) -> None:
    with served(folder, workers={"count": 2, "balance": balance}) as service:
        endpoint = ready(service)
        with Load(endpoint) as load:
            service.signal(signal.SIGTTIN)
            service.wait("WorkerReady", slot=2)
            load.wait(50)
            for left in (2, 1):  # one after the other: of two signals that come before the first is seen, one is lost
                service.signal(signal.SIGTTOU)
                load.wait(20)
                assert comes_to(service, left)
            load.wait(50)
        assert load.failures == []


def comes_to(service: Served, workers: int) -> bool:
    """Wait until so many are left."""
    return wait_until(lambda: len(children(service)) == workers, PATIENCE)


def children(service: Served) -> list[psutil.Process]:
    return psutil.Process(service.process.pid).children()


def test_queue_of_a_worker_that_is_killed_waits_for_its_successor(folder: Path) -> None:
    """With a listener for each worker, the kernel would drop who waits in the queue of one that closes it."""
    with served(folder, workers={"count": 1, "balance": "reuseport"}) as service:
        endpoint = ready(service, 1)
        (pid,) = service.workers()
        os.kill(pid, signal.SIGSTOP)  # it accepts nobody
        clients = [endpoint.connect(timeout=PATIENCE) for _ in range(20)]
        os.kill(pid, signal.SIGKILL)
        for client in clients:
            with client, client.makefile("rb") as heard:
                assert heard.readline()


def test_workers_are_replaced_after_so_many_connections(folder: Path) -> None:
    with served(folder, workers={"count": 2, "max_connections_per_worker": 100}) as service:
        with Load(ready(service)) as load:
            worn = service.wait("WorkerWorn", 3)
            load.wait(100)
        assert load.failures == []
        assert all("connections" in each["reason"] for each in worn)


def test_worker_with_too_much_memory_is_replaced(folder: Path) -> None:
    hoarding = (
        MODULE + "\nHOARD = []\ndef hoard(r, *_):\n    HOARD.append(b'x' * 64 * 1024**2)\n    r.sendall(b'ok\\n')\n"
    )
    (folder / "talk.py").write_text(hoarding, encoding="utf-8")
    with served(folder, "talk:hoard", workers={"count": 1, "max_memory": 96 * 1024**2}) as service:
        endpoint = ready(service, 1)
        for _ in range(2):
            with endpoint.connect(timeout=PATIENCE) as client:
                assert client.recv(10) == b"ok\n"
        assert "MiB of memory" in service.wait("WorkerWorn")[0]["reason"]
        service.wait("WorkerReady", 2)


# What cannot be


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workers": 0}, "workers=0 must be a whole number from 1 on"),
        ({"workers": "2"}, "workers='2' must be a whole number from 1 on"),
        ({"workers": True}, "workers=True must be a whole number"),
        ({"user": "nobody-of-that-name"}, "user='nobody-of-that-name' is nobody"),
        ({"group": "no-such-group"}, "group='no-such-group' is none"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        portside.serve(print, 0, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"balance": "even"}, "balance='even' is none of 'shared', 'reuseport'"),
        ({"max_connections_per_worker": 0}, "max_connections_per_worker=0 must be"),
        ({"max_memory": 1.5}, "max_memory=1.5 must be"),
        ({"start_timeout": 0}, "start_timeout=0 must be"),
    ],
)
def test_workers_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        portside.Workers(**options)


def test_name_that_is_none() -> None:
    with pytest.raises(ValueError, match="is no handler: write a module, a colon and a name"):
        portside.serve("a b:c", 0)
