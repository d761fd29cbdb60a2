"""Commands to a service that runs, on every engine: what is seen of it, and what can be done to it."""

import asyncio
import os
import threading
from typing import Any

import pytest

import portside
from portside.engines.asynchronous import new_event_loop
from portside.service import gauges
from portside.service.control import ACTIONS, COMMANDS, Control
from tests.admin.kit import HANDLERS, HERE, command, connections, metrics, started, talk
from tests.conftest import DEADLINE, wait_until


@pytest.fixture(scope="module")
def uvloops_pipe() -> None:
    """The first loop of uvloop's opens a pipe that the process keeps."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(asyncio.sleep(0))


pytestmark = pytest.mark.usefixtures("uvloops_pipe", "no_leaks")

ENGINES = list(HANDLERS)


class Controlled:
    """A control of a service without an admin endpoint, for the test's own use."""

    def __init__(self, engine: Any = "threads", handler: Any = None, **options: Any) -> None:
        handler = HANDLERS[engine] if handler is None else handler
        self.running = portside.start(handler, HERE, engine=engine, drain=DEADLINE, **options)
        self.control = Control(self.running)
        assert wait_until(lambda: self.control.ready)

    def __enter__(self) -> Control:
        return self.control

    def __exit__(self, *_: object) -> None:
        self.running.stop()
        self.control.close()


# What is seen


@pytest.mark.parametrize("engine", ENGINES)
def test_open_connections_are_told_of(engine: str) -> None:
    with started(engine) as running, talk(running.endpoint) as client:
        host, port = client.socket.getsockname()
        [found] = connections(running)
        assert (found["peer"], found["host"]) == (f"{host}:{port}", host)
        assert (found["received"], found["sent"], found["state"]) == (6, 6, "open")
        assert found["age"] > 0


@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine != "forks"])
def test_where_the_handler_stands_is_told(engine: str) -> None:
    with started(engine) as running, talk(running.endpoint):
        # The handler has answered, and may not be back at the next line.
        assert wait_until(lambda: bool(connections(running)[0]["at"]))
        [found] = connections(running)
        assert found["at"].startswith("admin/kit.py:")
        assert found["at"].endswith(" handle")
        assert any(line == found["at"] for line in found["stack"])


def test_the_handler_of_a_forked_child_is_not_seen() -> None:
    with started("forks") as running, talk(running.endpoint):
        assert [(each["at"], each["stack"]) for each in connections(running)] == [("", [])]


def test_stacks_of_all_handlers() -> None:
    with Controlled("green") as control, talk(control._bound.endpoints[0]), talk(control._bound.endpoints[0]):
        handlers = control.handle({"do": "stacks"})["handlers"]
        assert [each["at"].rpartition(" ")[2] for each in handlers] == ["handle", "handle"]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_was_counted(engine: str) -> None:
    with started(engine) as running:
        with talk(running.endpoint):
            open_now = metrics(running)
        assert wait_until(lambda: metrics(running)["portside_connections_open"] == 0)
        found = metrics(running)
    assert open_now["portside_connections_open"] == open_now["portside_connections_opened_total"] == 1
    assert open_now["portside_handlers_running"] == 1
    assert open_now["portside_received_bytes_total"] == found["portside_received_bytes_total"] == 6
    assert found["portside_sent_bytes_total"] == 6
    assert found["portside_connections_closed_total[done]"] == found["portside_connections_opened_total"] == 1
    assert found["portside_handler_seconds_count"] == found["portside_handler_seconds_bucket[+Inf]"] == 1
    assert found["portside_handler_seconds_sum"] > 0
    assert found["portside_accepting"] == found["portside_processes"] == 1
    assert ("portside_hub_lag_seconds" in found) == (engine in ("green", "async"))
    assert found["portside_process_open_fds"] > 0


def test_a_child_that_fails_is_counted_by_its_parent() -> None:
    def fail(*_: Any) -> None:
        raise LookupError("no cheese")

    with started("forks", fail) as running:
        with portside.connect(running.endpoint, timeout=DEADLINE) as client:
            assert client.socket.recv(1) == b""
        assert wait_until(lambda: metrics(running).get("portside_connections_closed_total[failed]") == 1)
        assert metrics(running)["portside_handler_failures_total"] == 1


def test_who_waits_to_be_accepted_is_counted() -> None:
    with started() as running:
        running.servers[0]._portside.accept(False)
        # The loop may be on its way to the client that comes first: it is woken, and looks.
        assert wait_until(lambda: not gauges.is_serving(running.servers[0]))
        clients = [portside.connect(running.endpoint, timeout=DEADLINE) for _ in range(3)]
        assert wait_until(lambda: metrics(running)["portside_accept_queue_connections"] >= 2)
        for client in clients:
            client.close()


def test_a_blocked_hub_lags() -> None:
    go_on, blocked = threading.Event(), threading.Event()

    def block(*_: Any) -> None:
        blocked.set()
        go_on.wait(DEADLINE)

    with started("green", block) as running, portside.connect(running.endpoint, timeout=DEADLINE):
        assert blocked.wait(DEADLINE)
        lag = metrics(running)["portside_hub_lag_seconds"]
        go_on.set()
        assert lag >= gauges.LAG_SECONDS
        assert metrics(running)["portside_hub_blocked_total"] == 1


def test_a_unix_listener_has_no_queue_that_is_told(tmp_path: Any) -> None:
    with portside.start(HANDLERS["threads"], f"unix:{tmp_path}/s") as running:
        assert gauges.accept_queue(running.servers[0].socket) is None


def test_a_snapshot_is_as_long_as_asked() -> None:
    with Controlled() as control:
        endpoint = control._bound.endpoints[0]
        with talk(endpoint) as first, talk(endpoint):
            [server] = control.handle({"do": "snapshot", "limit": 1, "stacks": False})["servers"]
            assert (server["open"], len(server["connections"])) == (2, 1)
            assert server["connections"][0]["peer"].endswith(f":{first.socket.getsockname()[1]}")
            assert server["connections"][0]["stack"] == []


# What can be done


@pytest.mark.parametrize("engine", ENGINES)
def test_pause_and_resume(engine: str) -> None:
    with Controlled(engine) as control:
        endpoint = control._bound.endpoints[0]
        with talk(endpoint):
            pass
        assert control.handle({"do": "pause"}) == {"pid": os.getpid(), "state": "paused"}
        assert control.handle({"do": "health"})["ready"] is False
        with portside.connect(endpoint, timeout=DEADLINE) as client:
            client.send(b"hello")
            # Whoever was at the door when the pause was asked for may have come in; this one's answer tells.
            assert control.handle({"do": "resume"})["state"] == "serving"
            assert client.receive() == b"HELLO"
        assert control.handle({"do": "health"})["ready"] is True


@pytest.mark.parametrize("engine", ENGINES)
def test_nobody_comes_in_during_a_pause(engine: str) -> None:
    with Controlled(engine) as control:
        endpoint = control._bound.endpoints[0]
        with talk(endpoint):
            pass
        control.handle({"do": "pause"})
        # One loop may still be in the turn that began before: the first client may get in, no later one may.
        clients = [portside.connect(endpoint, timeout=DEADLINE) for _ in range(3)]
        queue = gauges.accept_queue(control._bound.servers[0].socket)
        assert queue is not None
        assert queue[0] >= 2
        for client in clients:
            client.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_close_cuts_one_connection(engine: str) -> None:
    with Controlled(engine) as control, talk(control._bound.endpoints[0]) as client:
        [server] = control.handle({"do": "snapshot"})["servers"]
        [connection] = server["connections"]
        assert control.handle({"do": "close", "id": connection["id"]})["closed"] == 1
        assert client.socket.recv(1) == b""
        assert control.handle({"do": "close", "id": "nobody"})["closed"] == 0


def test_close_leaves_the_others_alone() -> None:
    with started() as running, talk(running.endpoint) as first, talk(running.endpoint) as second:
        assert command(running, do="close", id=connections(running)[0]["id"]).status == 200
        assert first.socket.recv(1) == b""
        second.send(b"still here")
        assert second.receive() == b"STILL HERE"


@pytest.mark.parametrize("engine", ENGINES)
def test_drain_ends_the_service(engine: str) -> None:
    with Controlled(engine) as control, talk(control._bound.endpoints[0]) as client:
        assert control.handle({"do": "drain", "seconds": 20})["state"] == "draining"
        assert client.socket.recv(1) == b""
        assert control.handle({"do": "snapshot"})["state"] == "draining"


def test_ban_keeps_a_host_out_and_cuts_what_it_has() -> None:
    with Controlled() as control:
        with talk(control._bound.endpoints[0]) as client:
            done = control.handle({"do": "ban", "host": "127.0.0.1", "seconds": 5})
            assert client.socket.recv(1) == b""
        assert (done["banned"], done["closed"]) == ("127.0.0.1", 1)
        access = control._bound.servers[0].access
        assert access is not None
        assert access.is_banned("127.0.0.1")
        assert control.handle({"do": "ban", "host": "me"})["error"].startswith("'me' is no host")


def test_a_ban_needs_an_access_list() -> None:
    with Controlled() as control:
        control._bound.servers[0].access = None  # as in the drop-in face
        assert "access=Access()" in control.handle({"do": "ban", "host": "127.0.0.1"})["error"]


@pytest.mark.parametrize(
    "command",
    [
        *(None, [], "snapshot", {}, {"do": None}, {"do": []}, {"do": "explode"}),
        *({"do": "close"}, {"do": "close", "id": 5}, {"do": "ban", "host": ""}),
        *({"do": "drain", "seconds": bad} for bad in ("5", -1, True, float("nan"), float("inf"))),
        *({"do": "snapshot", "limit": bad} for bad in (-1, "all", None)),
    ],
    ids=repr,
)
def test_a_bad_command_is_told_what_is_wrong(command: Any) -> None:
    with Controlled() as control:
        reply = control.handle(command)
        assert reply.keys() == {"pid", "error"}
        assert len(reply["error"].splitlines()) == 1
        assert control.handle({"do": "health"})["state"] == "serving"


def test_what_changes_something_is_known() -> None:
    assert {"snapshot", "health", "metrics", "stacks"} == COMMANDS - ACTIONS


def test_a_fleet_of_one() -> None:
    with Controlled() as control:
        assert [reply["pid"] for reply in control.ask({"do": "health"})] == [os.getpid()]
