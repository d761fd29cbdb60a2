"""The admin endpoint: who may reach it, what it answers, and whom it refuses."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import portside
from portside.endpoints import Endpoint
from portside.service.admin.console import Console
from portside.service.admin.guard import refuse_action, refuse_host
from portside.service.admin.options import Admin
from portside.service.control import Command, Reply
from tests.admin.kit import HERE, Shout, ask, command, started, talk
from tests.conftest import wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")


# Where it may listen


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1:0", "tcp://127.8.8.8:9100", "tcp://[::1]:0", "tcp://localhost:0", "9100", "unix:/x"]
)
def test_this_machine_alone(endpoint: str) -> None:
    assert not Admin.parse(endpoint).public


@pytest.mark.parametrize(
    "endpoint",
    [
        *("tcp://:9100", "tcp://0.0.0.0:9100", "tcp://192.0.2.1:9100", "tcp://example.org:9100"),
        *("unix:/x?mode=660", "unix:/x?mode=777", "unix:@name", "fd:3"),
    ],
)
def test_others_only_where_that_is_said(endpoint: str) -> None:
    with pytest.raises(ValueError, match="could be reached by others: name a loopback address"):
        Admin.parse(endpoint)
    assert Admin(endpoint=Endpoint.parse(endpoint), public=True).public


@pytest.mark.parametrize("endpoint", ["udp://127.0.0.1:9100", "unixgram:/x"])
def test_no_datagrams(endpoint: str) -> None:
    with pytest.raises(ValueError, match="accepted is a tcp: or unix: endpoint"):
        Admin(endpoint=Endpoint.parse(endpoint), public=True)


def test_what_is_wrong_is_told_before_anything_is_bound(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="could be reached by others"):
        portside.start(Shout, f"unix:{tmp_path}/s", admin="tcp://:0")
    with pytest.raises(TypeError, match="must be an Admin"):
        wrong: Any = 9100
        portside.Service(handler=Shout, endpoints=(Endpoint.parse(HERE),), admin=wrong)
    assert not list(tmp_path.iterdir())


def test_a_port_that_is_taken_leaves_nothing_bound(tmp_path: Path) -> None:
    with portside.start(Shout, HERE) as other, pytest.raises(OSError, match="in use"):
        portside.start(Shout, f"unix:{tmp_path}/s", admin=other.endpoint)
    assert not list(tmp_path.iterdir())


def test_a_unix_socket_is_this_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with started(admin=f"unix:{path}") as running:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert ask(running, "/healthz", host="whatever.example").body == b"ok\n"
    assert not path.exists()


# What it answers


def test_health_and_readiness() -> None:
    with started() as running:
        assert [ask(running, path).status for path in ("/healthz", "/readyz")] == [200, 200]
        command(running, do="pause")
        assert [ask(running, path).status for path in ("/healthz", "/readyz")] == [200, 503]
        command(running, do="resume")
        assert ask(running, "/readyz").status == 200


def test_not_ready_while_it_drains() -> None:
    with started(drain=30.0) as running, talk(running.endpoint) as client:
        client.send(b"a")  # it is talkative, so that the drain lets it be at first
        assert command(running, do="drain", seconds=30).status == 200
        assert ask(running, "/readyz").status == 503
        assert ask(running, "/api/snapshot").json["processes"][0]["state"] == "draining"


def test_metrics_are_prometheus_own() -> None:
    with started() as running:
        answer = ask(running, "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b"\n# TYPE portside_connections_open gauge\n" in b"\n" + answer.body


def test_the_page_brings_all_that_it_needs() -> None:
    with started() as running:
        answer = ask(running, "/")
    page, policy = answer.body.decode(), answer.headers["Content-Security-Policy"]
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("portside_http_requests_total", "")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert answer.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/api/snapshot"])
def test_head_has_no_body(path: str) -> None:
    with started() as running:
        assert ask(running, path, method="HEAD").body == b""


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(("GET", "/nothing", 404), ("POST", "/", 405), ("GET", "/api/commands", 405), ("PUT", "/", 501)),
        *(("GET", "/api/snapshot?limit=x", 400), ("GET", "/api/snapshot?limit=2&stacks=0", 200)),
        ("GET", "/api/stacks", 200),
    ],
)
def test_paths(method: str, path: str, status: int) -> None:
    with started() as running:
        assert ask(running, path, method=method).status == status


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 50_000, b"\xff", b"7", b'{"do": "snapshot"}', b'{"do": ["pause"]}'])
def test_a_body_that_is_no_command(body: bytes) -> None:
    with started() as running:
        answer = ask(running, "/api/commands", method="POST", body=body, content_type="application/json")
        assert answer.status in (400, 409)
        assert answer.json["error"]
        assert ask(running, "/readyz").status == 200


def test_a_body_without_end_is_refused() -> None:
    with started() as running:
        answer = ask(running, "/api/commands", method="POST", body=b" " * 70_000, content_type="application/json")
        assert answer.status == 413


def test_a_command_that_is_refused() -> None:
    with started() as running:
        answer = command(running, do="close", id="nobody")
        assert answer.status == 409
        assert answer.json["error"] == "no connection has the id 'nobody' any more"


def test_what_the_admin_endpoint_does_itself_is_not_counted() -> None:
    with started() as running:
        ask(running, "/metrics")
        assert b"opened_total" in ask(running, "/metrics").body
        assert b"portside_http_requests_total" not in ask(running, "/metrics").body


def test_it_listens_until_all_else_has_ended_and_then_no_longer() -> None:
    running = started()
    running.stop()
    assert running.admin is not None
    with pytest.raises(ConnectionRefusedError):
        running.admin.endpoint.connect(1.0)


def test_a_forked_child_lets_go_of_it() -> None:
    with started() as running:
        assert running.admin is not None
        pid = os.fork()
        if pid == 0:
            os._exit(int(running.admin.servers[0].socket.fileno() >= 0))
        assert os.waitpid(pid, 0)[1] == 0
        assert ask(running, "/healthz").status == 200


# Whom it refuses


LOCAL = Admin.parse("9100")
PUBLIC = Admin(endpoint=Endpoint.parse("tcp://:9100"), public=True, hosts=("Metrics.internal",))


@pytest.mark.parametrize("host", ["localhost", "localhost:9100", "127.0.0.1:9100", "[::1]:9100", "127.0.0.2"])
def test_names_of_this_machine(host: str) -> None:
    assert refuse_host(LOCAL, {"host": host}.get) is None


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9100", "192.0.2.1", "localhost.evil.example", "[", ""])
def test_other_names(host: str) -> None:
    sentence = refuse_host(LOCAL, {"host": host}.get)
    assert sentence is not None
    assert "is not called" in sentence


@pytest.mark.parametrize("host", ["metrics.internal", "192.0.2.1:9100", "[2001:db8::1]"])
def test_names_of_a_public_endpoint(host: str) -> None:
    assert refuse_host(PUBLIC, {"host": host}.get) is None
    assert refuse_host(PUBLIC, {"host": "evil.example"}.get) is not None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "sent as JSON"),
        ({"content-type": "text/plain"}, "sent as JSON"),
        ({"content-type": "application/x-www-form-urlencoded"}, "sent as JSON"),
        ({"content-type": "application/json", "origin": "http://evil.example"}, "a page of http://evil.example"),
        ({"content-type": "application/json", "origin": "null"}, "a page of null"),
        ({"content-type": "application/json", "sec-fetch-site": "cross-site"}, "another site"),
        ({"content-type": "application/json", "sec-fetch-site": "same-site"}, "another site"),
    ],
    ids=str,
)
def test_requests_that_another_page_has_caused(fields: dict[str, str], said: str) -> None:
    sentence = refuse_action({"host": "localhost:9100", **fields}.get)
    assert sentence is not None
    assert said in sentence


@pytest.mark.parametrize("fields", [{}, {"origin": "http://localhost:9100", "sec-fetch-site": "same-origin"}], ids=str)
def test_requests_of_our_own_page(fields: dict[str, str]) -> None:
    assert refuse_action({"host": "localhost:9100", "content-type": "application/json; x=y", **fields}.get) is None


def test_over_the_wire() -> None:
    with started() as running:
        assert ask(running, "/metrics", host="evil.example").status == 421
        answer = ask(running, "/api/commands", method="POST", body=b'{"do": "pause"}', content_type="text/plain")
        assert answer.status == 403
        assert ask(running, "/readyz").status == 200


# Several processes


class Processes:
    """A fleet that a test makes up: what each process replies to anything."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.asked: list[Command] = []

    def ask(self, command: Command) -> list[Reply]:
        self.asked.append(command)
        return self.replies


def worker(pid: int, opened: int, **fields: Any) -> Reply:
    samples = [["portside_connections_opened_total", {"endpoint": "e"}, opened], ["portside_processes", {}, 1]]
    return {"pid": pid, "process": f"{pid}-1", "ready": True, "metrics": samples, **fields}


def counted(console: Console) -> list[str]:
    return [line for line in console.metrics().splitlines() if not line.startswith("#")]


def test_workers_are_added_up_and_those_that_ended_stay_counted() -> None:
    fleet = Processes(worker(1, 5), worker(2, 7))
    console = Console(fleet)
    assert counted(console) == ['portside_connections_opened_total{endpoint="e"} 12', "portside_processes 2"]
    fleet.replies = [worker(2, 8), worker(3, 1)]
    console.retire("1-1", worker(1, 5)["metrics"])
    assert counted(console) == ['portside_connections_opened_total{endpoint="e"} 14', "portside_processes 2"]


def test_a_worker_that_does_not_answer() -> None:
    fleet = Processes(worker(1, 5), worker(2, 7))
    console = Console(fleet)
    counted(console)
    assert console.health() == (True, True)
    fleet.replies = [worker(1, 6), {"pid": 2, "error": "the worker does not answer"}]
    assert console.health() == (False, False)
    assert counted(console)[0].endswith(" 13")


def test_a_supervisor_adds_what_it_knows_itself() -> None:
    supervisor = {"pid": 9, "process": "9-1", "metrics": [["portside_worker_restarts_total", {}, 3]]}
    console = Console(Processes(worker(1, 5, servers=[]), supervisor))
    assert "portside_worker_restarts_total 3" in counted(console)
    assert console.health() == (True, True)
    told = console.snapshot(10, stacks=False)
    assert [process["pid"] for process in told["processes"]] == [1]
    assert "metrics" not in told["processes"][0]


def test_without_any_process() -> None:
    console = Console(Processes())
    assert console.health() == (False, False)
    assert console.command({"do": "pause"}) == (False, {"replies": [], "error": "nobody serves"})


def test_one_worker_has_the_connection() -> None:
    console = Console(Processes({"pid": 1, "closed": 0}, {"pid": 2, "closed": 1}))
    assert console.command({"do": "close", "id": "x"})[0] is True


def test_a_worker_that_is_not_ready() -> None:
    assert Console(Processes(worker(1, 0), worker(2, 0, ready=False))).health() == (True, False)


# From the command line


def test_serve_with_an_admin_endpoint(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "portside", "echo", "0", "--admin", f"unix:{tmp_path}/a.sock", "--log-format=json"]
    with subprocess.Popen([*words, "-v"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said = [process.stderr.readline() for _ in range(2)]
            assert said[0] == f"telling of it at unix:{tmp_path}/a.sock\n"
            line = json.loads(process.stderr.readline())
            assert (line["event"], line["level"]) == ("ServerStarted", "INFO")
            done = subprocess.run(
                [*words[:3], "ctl", f"unix:{tmp_path}/a.sock", "drain"], capture_output=True, timeout=50, check=False
            )
            assert done.returncode == 0
            assert wait_until(lambda: process.poll() is not None, 50)
            assert process.returncode == 0
        finally:
            process.kill()


def test_a_public_endpoint_is_wrong_use() -> None:
    words = [sys.executable, "-m", "portside", "echo", "0", "--admin", "tcp://:9100"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 2
    assert "could be reached by others" in done.stderr
