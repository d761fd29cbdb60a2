"""The admin endpoint over real workers: what it tells of all of them, and what it has them do."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from portside.cli.failure import Failure, Unreachable
from portside.cli.figures import total
from portside.cli.remote import Remote
from portside.endpoints import Endpoint
from portside.service.supervision.adminprocess import SupervisedFleet
from portside.service.supervision.channel import Channel
from portside.service.supervision.standing import MOST_BANS, StandingOrders
from tests.conftest import wait_until
from tests.workers.kit import MODULE, PATIENCE, Served, Talker, served

pytestmark = pytest.mark.usefixtures("no_leaks")


PORTSIDE = [sys.executable, "-W", "error", "-m", "portside"]


class Watched:
    """A service with two workers, and who asks its admin endpoint.

    Attributes:
        remote: asks there.
        path: of its socket.
    """

    def __init__(self, service: Served, path: Path) -> None:
        self.service = service
        self.path = path
        self.remote = Remote(Endpoint.parse(f"unix:{path}"))
        self.endpoint = service.endpoint
        service.wait("WorkerReady", 2)

    def snapshot(self) -> dict[str, Any]:
        return self.remote.snapshot(1000)

    def pids(self) -> list[int]:
        """The workers that tell of themselves."""
        return [each["pid"] for each in self.snapshot()["processes"] if "error" not in each]

    def connections(self) -> list[dict[str, Any]]:
        servers = [server for each in self.snapshot()["processes"] for server in each.get("servers", ())]
        return [each for server in servers for each in server["connections"]]

    def count(self, name: str) -> float:
        return total(self.snapshot(), name) or 0.0

    def do(self, **command: Any) -> list[dict[str, Any]]:
        replies: list[dict[str, Any]] = self.remote.command(command)["replies"]
        return replies

    @property
    def is_ready(self) -> bool:
        return self.remote.health()["ready"]

    def admin_process(self) -> psutil.Process:
        """The child that is no worker."""
        workers = {each["pid"] for each in self.service.of("WorkerStarted")}
        [found] = [each for each in psutil.Process(self.service.process.pid).children() if each.pid not in workers]
        return found


@contextmanager
def watched(folder: Path, handler: str = "talk:Talk", **options: Any) -> Iterator[Watched]:
    path = folder / "admin.sock"
    with served(folder, handler, workers={"count": 2}, admin=f"unix:{path}", **options) as service:
        yield Watched(service, path)


def talkers(endpoint: Endpoint, pids: list[int]) -> dict[int, Talker]:
    """A connection to each of these workers."""
    found: dict[int, Talker] = {}
    while found.keys() != set(pids):
        talker = Talker(endpoint)
        if int(talker.pid) in found:
            talker.close()
        else:
            found[int(talker.pid)] = talker
    return found


def ended(talker: Talker) -> bool:
    """The connection is over."""
    try:
        return talker.heard.read() == b""
    except ConnectionResetError:
        return True
    finally:
        talker.close()


# What is told


def test_all_workers_are_told_of_and_counted_together(folder: Path) -> None:
    with watched(folder, engine="green") as admin:
        assert stat.S_IMODE(admin.path.stat().st_mode) == 0o600
        assert wait_until(lambda: admin.is_ready, PATIENCE)
        workers = sorted(admin.service.workers())
        assert admin.pids() == workers
        both = talkers(admin.endpoint, workers)
        addresses = {"{}:{}".format(*each.socket.getsockname()) for each in both.values()}
        assert {each["peer"] for each in admin.connections()} >= addresses
        seen = admin.snapshot()
        assert [(each["pid"], each["phase"]) for each in seen["workers"]] == [(pid, "ready") for pid in workers]
        assert total(seen, "portside_processes") == 2
        assert admin.count("portside_connections_opened_total") >= 2
        done = subprocess.run(
            [*PORTSIDE, "top", f"unix:{admin.path}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.startswith("serving · 2 processes, up "), done
        assert psutil.Process(admin.service.process.pid).num_threads() == 1
        for each in both.values():
            each.close()


def test_counts_outlive_the_workers_that_made_them(folder: Path) -> None:
    with watched(folder) as admin:
        first, second = admin.service.workers()
        both = talkers(admin.endpoint, [first, second])
        before = admin.count("portside_connections_opened_total")
        assert before >= 2
        os.kill(first, signal.SIGKILL)
        assert ended(both[first])
        admin.service.wait("WorkerReady", 3)
        assert admin.count("portside_connections_opened_total") == before
        assert admin.count("portside_worker_restarts_total") == 1

        # One that retires tells what nobody has asked it for since.
        talker = Talker(admin.endpoint)
        admin.service.signal(signal.SIGHUP)
        admin.service.wait("ReloadFinished")
        both[second].close()
        talker.close()
        assert wait_until(lambda: len(admin.snapshot()["workers"]) == 2, PATIENCE)
        assert admin.count("portside_connections_opened_total") == before + 1

        # Nor is anything lost when the process is, which adds up.
        admin.admin_process().kill()
        assert wait_until(lambda: answers(admin), PATIENCE)
        assert admin.count("portside_connections_opened_total") == before + 1


def answers(admin: Watched) -> bool:
    try:
        return admin.is_ready
    except Unreachable:
        return False


# What is done


def test_one_connection_is_closed_and_a_host_banned(folder: Path) -> None:
    with watched(folder) as admin:
        both = talkers(admin.endpoint, admin.service.workers())
        one, other = both.values()
        address = "{}:{}".format(*one.socket.getsockname())
        [wanted] = [each["id"] for each in admin.connections() if each["peer"] == address]
        assert sum(reply["closed"] for reply in admin.do(do="close", id=wanted)) == 1
        assert ended(one)
        assert other.ask() == b"HELLO\n"
        with pytest.raises(Failure, match="no connection has the id"):
            admin.do(do="close", id=wanted)
        assert [reply["banned"] for reply in admin.do(do="ban", host="127.0.0.1", seconds=3600)] == ["127.0.0.1"] * 2
        assert ended(other)
        assert is_turned_away(admin.endpoint)

        # Later workers are told.
        admin.service.signal(signal.SIGHUP)
        admin.service.wait("ReloadFinished")
        assert all(is_turned_away(admin.endpoint) for _ in range(4))
        assert admin.count("portside_connections_refused_total") >= 1


def is_turned_away(endpoint: Endpoint) -> bool:
    with endpoint.connect(timeout=PATIENCE) as client:
        try:
            return client.recv(1) == b""
        except ConnectionResetError:
            return True


def test_a_pause_holds_for_later_workers_too(folder: Path) -> None:
    with watched(folder) as admin:
        assert [reply["state"] for reply in admin.do(do="pause")] == ["paused", "paused"]
        assert admin.remote.health() == {"healthy": True, "ready": False}
        admin.service.signal(signal.SIGHUP)
        admin.service.wait("ReloadFinished")
        assert wait_until(lambda: len(admin.pids()) == 2, PATIENCE)
        assert {each["state"] for each in admin.snapshot()["processes"]} == {"paused"}
        client = admin.endpoint.connect(timeout=PATIENCE)
        assert [reply["state"] for reply in admin.do(do="resume")] == ["serving", "serving"]
        with client, client.makefile("rb") as heard:
            assert heard.readline()
        assert wait_until(lambda: admin.is_ready, PATIENCE)


def test_a_drain_ends_the_service_and_is_told_of_until_its_end(folder: Path) -> None:
    stubborn = "\ndef slow(request, *_):\n    request.sendall(b'1 one\\n')\n    request.recv(1)\n    request.recv(1)\n"
    with (folder / "talk.py").open("a", encoding="utf-8") as module:
        module.write(stubborn)
    with watched(folder, "talk:slow", drain=3600.0) as admin:
        talker = Talker(admin.endpoint)
        with pytest.raises(Failure, match="seconds='x' is not accepted"):
            admin.do(do="drain", seconds="x")
        os.kill(admin.admin_process().pid, signal.SIGTERM)  # as systemd and Ctrl-C do: it is not its turn
        talker.socket.sendall(b"x")
        [reply] = admin.do(do="drain", seconds=30)
        assert reply == {"pid": admin.service.process.pid, "state": "draining"}
        assert wait_until(lambda: len(admin.connections()) == 1, PATIENCE)
        assert admin.remote.health() == {"healthy": True, "ready": False}
        assert admin.do(do="drain")[0]["state"] == "draining"
        talker.socket.sendall(b"y")
        assert ended(talker)
        assert admin.service.outcome() == (0, b"")
        assert not admin.path.exists()


def test_a_new_version_takes_the_endpoint_over(folder: Path) -> None:
    with watched(folder) as admin:
        old = admin.service.process.pid
        admin.service.signal(signal.SIGUSR2)
        successor = admin.service.wait("HandOverFinished")[0]["pid"]
        assert wait_until(lambda: answers(admin), PATIENCE)
        assert admin.service.process.wait(PATIENCE) == 0
        assert admin.do(do="drain") == [{"pid": successor, "state": "draining"}]
        assert successor != old
        assert wait_until(lambda: not psutil.pid_exists(successor) or not admin.path.exists(), PATIENCE)


def test_from_the_command_line(folder: Path) -> None:
    words = [*PORTSIDE, "serve", "talk:Talk", "0", "--workers", "2", "--admin", "0"]
    with subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            assert said.startswith("telling of it at tcp://127.0.0.1:")
            assert process.stderr.readline().startswith("serving Talk at ")
            where = said.split()[-1]
            done = subprocess.run([*PORTSIDE, "ctl", where, "drain"], capture_output=True, text=True, check=False)
            assert json.loads(done.stdout)["replies"] == [{"pid": process.pid, "state": "draining"}]
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a start as root")
def test_it_is_bound_before_rights_are_given_up(open_folder: Path) -> None:
    (open_folder / "talk.py").write_text(MODULE, encoding="utf-8")
    with watched(open_folder, user="nobody") as admin:
        assert stat.S_IMODE(admin.path.stat().st_mode) == 0o600
        assert admin.path.stat().st_uid == 0
        assert {os.getuid(), 65534} == {0, admin.admin_process().uids().real}
        assert len(admin.pids()) == 2


# Parts


def test_standing_orders_hold_as_long_as_they_were_meant() -> None:
    now = [10.0]
    orders = StandingOrders(lambda: now[0])
    assert orders.for_new() == []
    orders.pause(True)
    now[0] = 20.0
    orders.ban("192.0.2.1", 30)
    assert orders.for_new() == [{"do": "pause"}, {"do": "ban", "host": "192.0.2.1", "seconds": 30.0}]
    assert orders.since(15.0) == [{"do": "ban", "host": "192.0.2.1", "seconds": 30.0}]
    now[0] = 45.0
    orders.pause(False)
    assert orders.for_new() == [{"do": "ban", "host": "192.0.2.1", "seconds": 5.0}]
    assert orders.since(30.0) == [{"do": "resume"}]
    now[0] = 51.0
    assert orders.for_new() == []
    for number in range(MOST_BANS + 1):
        orders.ban(str(number), 100 + number)
    assert len(orders.for_new()) == MOST_BANS
    assert "0" not in {command["host"] for command in orders.for_new()}


def test_a_long_answer_waits_for_room_without_holding_anybody_up() -> None:
    ours, theirs = Channel.pair()
    try:
        ours.offer({"text": "x" * 3_000_000})
        assert ours.is_full
        heard: list[dict[str, Any]] = []
        while not heard:
            messages, more = theirs.arrived()
            assert more
            heard += messages
            ours.offer_rest()
        assert len(heard[0]["text"]) == 3_000_000
    finally:
        ours.close()
        theirs.close()


def test_whoever_asks_hears_that_the_supervisor_is_gone() -> None:
    ours, theirs = Channel.pair()
    fleet = SupervisedFleet(ours)
    theirs.close()
    assert fleet.ask({"do": "health"})[0]["error"] == "the supervisor does not answer"
    fleet.hear(1, [])  # too late: nobody's any more
    ours.close()
