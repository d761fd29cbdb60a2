"""The modern face: what may be asked for, what is made of it, and how it ends."""

import contextlib
import errno
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import psutil
import pytest

import portside
from portside import Endpoint, Service, telemetry
from portside.endpoints import EndpointError
from portside.engines import AsyncMixIn, ForkingMixIn, GreenMixIn, SerialMixIn, ThreadingMixIn
from portside.servers import UnixStreamServer
from portside.service.building import build
from portside.service.description import EngineName
from portside.service.running import Running
from tests.conftest import DEADLINE, Connect, wait_until
from tests.engines import fixtures
from tests.engines.blocking import DatagramEcho, Echo, FrameEcho, Tells, plain
from tests.engines.coroutines import DatagramEcho as AsyncDatagramEcho
from tests.engines.coroutines import Echo as AsyncEcho
from tests.engines.coroutines import plain as coroutine
from tests.engines.kit import KITS, asked, rest

pytestmark = pytest.mark.usefixtures("no_leaks")

warm = fixtures.warm

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
engines = pytest.mark.parametrize("engine", get_args(EngineName))

ROOT = Path(__file__).parent.parent
ANYWHERE = "tcp://127.0.0.1:0"
ABSTRACT = f"unix:@portside-test-service-{os.getpid()}"  # nobody else's: the whole machine shares these names
HANDLERS = {kit.name: kit.handlers for kit in KITS}


def connected(running: Running, connect: Connect) -> socket.socket:
    """A client of the first endpoint."""
    return connect(running.servers[0].server_address)


# What may be asked for

Misplaced = type("Misplaced", (portside.BaseRequestHandler,), {"handle": coroutine})
UDP = "udp://127.0.0.1:0"

WRONG: dict[str, tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = {
    "no-endpoint": ((Echo,), {}, ValueError, "no endpoint was given: name at least one, such as"),
    "engine": (
        (Echo, 0),
        {"engine": "thread"},
        ValueError,
        "engine='thread' is none of 'serial', 'threads', 'forks', 'green', 'async'",
    ),
    "max_handlers of text": ((Echo, 0), {"max_handlers": "5"}, ValueError, "max_handlers='5' must be a whole number"),
    "max_handlers and a half": (
        (Echo, 0),
        {"max_handlers": 2.5},
        ValueError,
        "max_handlers=2.5 must be a whole number",
    ),
    "no drain": ((Echo, 0), {"drain": None}, ValueError, "drain=None must be a number of seconds, 0 or more"),
    "handler_args": ((Echo, 0), {"handler_args": 5}, TypeError, "handler_args=5 must be a mapping of names to values"),
    "max_handlers": (
        (Echo, 0),
        {"max_handlers": 0},
        ValueError,
        "max_handlers=0 must be a whole number from 1 on, or None",
    ),
    "drain": ((Echo, 0), {"drain": -1}, ValueError, "drain=-1 must be a number of seconds, 0 or more"),
    "drain-without-end": ((Echo, 0), {"drain": float("inf")}, ValueError, "drain=inf must be a number of seconds"),
    "drain-nan": ((Echo, 0), {"drain": float("nan")}, ValueError, "drain=nan must be a number of seconds"),
    "proxy_protocol": (
        (Echo, 0),
        {"proxy_protocol": ["127.0.0.1"]},
        TypeError,
        "proxy_protocol=['127.0.0.1'] must be a portside.ProxyProtocol, or None",
    ),
    "proxy_protocol-for-datagrams": (
        (portside.DatagramRequestHandler, "udp://127.0.0.1:0"),
        {"proxy_protocol": portside.ProxyProtocol()},
        ValueError,
        "proxy_protocol is for connections, and udp://127.0.0.1:0 takes datagrams",
    ),
    "handler": (("Echo", 0), {}, TypeError, "the handler 'Echo' cannot be called: give a handler class or a function"),
    "blocking-handler": (
        (Echo, 0),
        {"engine": "async"},
        TypeError,
        "engine='async' needs `async def handle(self)`: derive Echo from an Async... handler",
    ),
    "async-handler": ((AsyncEcho, 0), {}, TypeError, "Echo is a coroutine's handler: choose engine='async'"),
    "coroutine": ((coroutine, 0), {}, TypeError, "plain is a coroutine's handler: choose engine='async'"),
    "async-handle": ((Misplaced, 0), {}, TypeError, "Misplaced.handle is `async def`: derive it from an Async..."),
    "stream-on-udp": (
        (Echo, ANYWHERE, UDP),
        {},
        TypeError,
        "Echo cannot serve udp://127.0.0.1:0, whose requests are datagrams",
    ),
    "datagram-on-tcp": (
        (DatagramEcho, UDP, ANYWHERE),
        {},
        TypeError,
        "DatagramEcho cannot serve tcp://127.0.0.1:0, whose requests are connections",
    ),
    "async-datagram-on-tcp": (
        (AsyncDatagramEcho, ANYWHERE),
        {"engine": "async"},
        TypeError,
        "DatagramEcho cannot serve tcp://127.0.0.1:0, whose requests are connections",
    ),
    "endpoint": ((Echo, "http://127.0.0.1"), {}, EndpointError, "http://127.0.0.1"),
    "descriptor": ((Echo, "fd:1000000"), {}, EndpointError, "fd:1000000 is no open socket"),
}


@pytest.mark.parametrize("run", [portside.start, portside.serve])
@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_told_before_anything_binds(name: str, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, options, kind, said = WRONG[name]
    monkeypatch.delattr("portside.service.bound.build")
    with pytest.raises(kind, match=re.escape(said)):
        run(*arguments, **options)


def test_service_is_a_value() -> None:
    endpoints = (Endpoint.parse(ANYWHERE),)
    service = Service(handler=Echo, endpoints=endpoints)
    assert service == Service(handler=Echo, endpoints=endpoints)
    assert (service.engine, service.max_handlers, service.drain, dict(service.handler_args)) == (
        "threads",
        None,
        30.0,
        {},
    )
    with pytest.raises(AttributeError):
        vars(Service)["__setattr__"](service, "engine", "forks")


# What is made of it

MIX_INS = {
    "serial": SerialMixIn,
    "threads": ThreadingMixIn,
    "forks": ForkingMixIn,
    "green": GreenMixIn,
    "async": AsyncMixIn,
}
BOUNDS = {
    "serial": None,
    "threads": "max_threads",
    "forks": "max_children",
    "green": "max_greenlets",
    "async": "max_tasks",
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path leaves room in the 108 bytes of a socket address, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="ps-") as path:
        yield Path(path)


@pytest.mark.parametrize("scheme", ["tcp", "unix", "udp", "unixgram"])
@engines
def test_every_engine_serves_every_endpoint(engine: EngineName, scheme: str, folder: Path) -> None:
    where = f"{scheme}:{folder}/s" if "unix" in scheme else f"{scheme}://127.0.0.1:0"
    handlers = HANDLERS[engine]
    handler = handlers.DatagramEcho if scheme in ("udp", "unixgram") else handlers.FrameEcho
    with portside.start(handler, where, engine=engine) as running:
        assert isinstance(running.servers[0], MIX_INS[engine])
        with portside.connect(running.endpoint, timeout=DEADLINE) as client:
            client.send(b"HELLO")
            assert client.receive() == b"HELLO"
    assert not any(folder.iterdir())


def test_several_endpoints_at_once(connect: Connect) -> None:
    with portside.start(Echo, ANYWHERE, 0, ABSTRACT) as running:
        assert len(running.endpoints) == len(set(running.endpoints)) == 3
        assert running.endpoint == running.endpoints[0]
        for endpoint, server in zip(running.endpoints, running.servers, strict=True):
            assert endpoint == Endpoint.from_socket(server.socket)
            address = server.server_address
            client = connect(address if isinstance(address, tuple) else os.fsdecode(address))
            assert asked(client, b"hello\n") == b"HELLO\n"


@engines
def test_options_reach_the_classes(engine: EngineName, folder: Path) -> None:
    service = Service(
        handler=coroutine if engine == "async" else plain,
        endpoints=(
            Endpoint.parse(f"{ANYWHERE}?backlog=7&reuse_port=1"),
            Endpoint.parse(f"unix:{folder}/s?mode=640"),
        ),
        engine=engine,
        max_handlers=3,
        drain=1.5,
        handler_args={"word": b"hello"},
        proxy_protocol=portside.ProxyProtocol(trusted=["192.0.2.1"]),
    )
    tcp, unix = build(service)
    with tcp, unix:
        assert tcp.proxy_protocol is unix.proxy_protocol is service.proxy_protocol
        assert isinstance(unix, UnixStreamServer)
        assert (tcp.request_queue_size, tcp.allow_reuse_port, tcp.allow_reuse_address) == (7, True, True)
        assert (unix.request_queue_size, unix.allow_reuse_port, unix.allow_reuse_address) == (65_535, False, False)
        assert (unix.socket_mode, unix.unlink_on_close) == (0o640, True)
        assert stat.S_IMODE(os.lstat(folder / "s").st_mode) == 0o640
        for server in (tcp, unix):
            assert (server.drain_timeout, dict(server.handler_args)) == (1.5, {"word": b"hello"})
            bound = BOUNDS[engine]
            assert bound is None or getattr(server, bound) == 3
            assert getattr(server, "daemon_threads", True)


@engines
def test_bound_is_the_engines_own_unless_given(engine: EngineName) -> None:
    handler = coroutine if engine == "async" else plain
    (server,) = build(Service(handler=handler, endpoints=(Endpoint.parse(ANYWHERE),), engine=engine))
    bound = BOUNDS[engine]
    with server:
        assert bound is None or getattr(server, bound) == getattr(MIX_INS[engine], bound)


def test_handler_args_and_functions(connect: Connect) -> None:
    for handler in (Tells, plain):
        with portside.start(handler, 0, handler_args={"word": b"hello"}) as running:
            assert rest(connected(running, connect)) == b"hello"


@needs_ipv6
def test_all_interfaces_are_both_families_on_one_port(connect: Connect) -> None:
    with portside.start(Echo, "tcp://:0") as running:
        port = running.endpoint.port
        assert running.endpoint == Endpoint(scheme="tcp", host="", port=port)
        for host in ("127.0.0.1", "::1"):
            assert asked(connect((host, port)), b"hello\n") == b"HELLO\n"


def test_endpoint_that_cannot_be_bound_closes_those_before_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"tcp://127.0.0.1:{port} is in use: another program") as caught:
            portside.start(Echo, ANYWHERE, ABSTRACT, port)
        assert caught.value.errno == errno.EADDRINUSE
    with portside.start(Echo, ABSTRACT):
        pass


def test_host_that_nobody_knows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(socket.gaierror, match=r"tcp://nowhere\.invalid:1 cannot be bound \(Name or"):
        portside.start(Echo, "tcp://nowhere.invalid:1")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_inherited_socket_is_served(kind: socket.SocketKind) -> None:
    inherited = socket.socket(socket.AF_INET, kind)
    inherited.bind(("127.0.0.1", 0))
    address = inherited.getsockname()
    handler = FrameEcho if kind == socket.SOCK_STREAM else DatagramEcho
    with portside.start(handler, f"fd:{inherited.detach()}") as running:
        assert running.servers[0].server_address == address
        assert running.endpoint == Endpoint.from_socket(running.servers[0].socket)
        with portside.connect(running.endpoint, timeout=DEADLINE) as client:
            client.send(b"HELLO")
            assert client.receive() == b"HELLO"


def test_inherited_descriptor_that_is_no_endpoint_leaves_nothing_open() -> None:
    ends = socket.socketpair()
    with pytest.raises((EndpointError, OSError)):
        portside.start(Echo, ANYWHERE, f"fd:{ends[0].detach()}")
    ends[1].close()


# How it ends


def test_service_runs_without_a_block_until_it_is_stopped(connect: Connect) -> None:
    running = portside.start(Echo, 0)
    assert asked(connected(running, connect), b"hello\n") == b"HELLO\n"
    running.stop()
    with pytest.raises(ConnectionRefusedError):
        connected(running, connect)
    running.stop()


def test_service_that_never_ran_can_be_stopped() -> None:
    Running(Service(handler=Echo, endpoints=(Endpoint.parse(ANYWHERE),))).stop()


def test_stop_may_name_its_own_time(connect: Connect) -> None:
    told: list[telemetry.DrainStarted] = []
    with telemetry.subscribe(told.append, telemetry.DrainStarted):
        running = portside.start(Echo, 0)
        client = connected(running, connect)
        assert asked(client, b"hello\n") == b"HELLO\n"
        running.stop(drain=7.0)
    assert [(event.running, event.seconds) for event in told] == [(1, 7.0)]
    assert rest(client) == b""


def test_forced_end_cuts_at_once(connect: Connect) -> None:
    with portside.start(Echo, 0) as running:
        client = connected(running, connect)
        assert asked(client, b"hello\n") == b"HELLO\n"
        running.force()
        assert rest(client) == b""


def broken() -> Any:
    """In the place of `get_request`: the loop cannot go on."""
    raise LookupError("the loop was written to fail")


def test_error_of_a_loop_ends_the_service_and_surfaces_once(connect: Connect) -> None:
    running = portside.start(Echo, 0, 0)
    first, second = running.servers
    vars(first)["get_request"] = broken
    other = connect(second.server_address)
    assert asked(other, b"hello\n") == b"HELLO\n"
    connect(first.server_address)
    assert rest(other) == b""
    with pytest.raises(LookupError, match="written to fail"):
        running.stop()
    running.stop()


@engines
def test_error_of_a_loop_surfaces_at_the_end_of_the_block(engine: EngineName, connect: Connect) -> None:
    handler = HANDLERS[engine].Echo
    with pytest.raises(LookupError, match="written to fail"), portside.start(handler, 0, engine=engine) as running:
        vars(running.servers[0])["get_request"] = broken
        connected(running, connect)
        assert wait_until(lambda: not any(thread.is_alive() for thread in running._threads))


class Stops(portside.StreamRequestHandler):
    def handle(self) -> None:
        self.rfile.readline()
        self.server.shutdown()
        self.wfile.write(b"STOPPED\n")


class StopsAll(portside.StreamRequestHandler):
    running: list[Running]

    def handle(self) -> None:
        self.rfile.readline()
        self.running[0].stop()
        self.wfile.write(b"STOPPED\n")


@pytest.mark.parametrize("engine", ["serial", "threads"])
def test_handler_stops_the_whole_service(engine: EngineName, connect: Connect) -> None:
    several: list[Running] = []
    with portside.start(StopsAll, 0, engine=engine, handler_args={"running": several}) as running:
        several.append(running)
        assert asked(connected(running, connect), b"please\n") == b"STOPPED\n"
        assert wait_until(lambda: not any(thread.is_alive() for thread in running._threads))


def test_handler_that_stops_one_endpoint_ends_the_service(connect: Connect) -> None:
    with portside.start(Stops, 0, 0) as running:
        assert asked(connected(running, connect), b"please\n") == b"STOPPED\n"
        assert wait_until(lambda: not any(thread.is_alive() for thread in running._threads))


def test_handler_that_stops_its_server_ends_serving() -> None:
    """Outside the main thread, where no signal arrives."""
    started: list[telemetry.ServerStarted] = []
    with telemetry.subscribe(started.append, telemetry.ServerStarted):
        thread = threading.Thread(target=portside.serve, args=(Stops, ANYWHERE))
        thread.start()
        assert wait_until(lambda: bool(started))
    port = started[0].address
    assert isinstance(port, tuple)
    with socket.create_connection(port, timeout=DEADLINE) as client:
        assert asked(client, b"please\n") == b"STOPPED\n"
    thread.join(DEADLINE)
    assert not thread.is_alive()


# Signals

SERVING = """
import os, sys
import portside
from portside import telemetry
from portside.service import running
from tests.engines import blocking, coroutines
from tests.engines.instruments import Gate

class Printed:
    def note(self, kind):
        print(kind, flush=True)

class Ending(running._Ending):  # tells the test of each signal that was taken
    def __call__(self, *arguments):
        try:
            super().__call__(*arguments)
        finally:
            if os.getpid() == self._owner:
                os.write(1, b"signal\\n")

running._Ending = Ending

name, engine, drain = sys.argv[1:]
gate = Gate(patience=3600)
os.dup2(0, gate._reading)  # the test opens it through standard input
handler = getattr(coroutines if engine == "async" else blocking, name)
arguments = {"journal": Printed(), "gate": gate}
telemetry.subscribe(lambda event: print(event.address[1], flush=True), telemetry.ServerStarted)
portside.serve(handler, "tcp://127.0.0.1:0", engine=engine, drain=float(drain), handler_args=arguments)
print("returned", flush=True)
"""


class Program:
    """A program that serves, in a process of its own.

    Args:
        handler: its handler's name.
        engine: its engine.
        drain: its drain, in seconds.
    """

    def __init__(self, handler: str, engine: str, drain: float) -> None:
        command = [sys.executable, "-W", "error", "-c", SERVING, handler, engine, str(drain)]
        self.process = subprocess.Popen(
            command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
        )
        self.address = ("127.0.0.1", int(self.line()))

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()  # without a buffer, which `outcome` would miss

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send a signal; returns when it was taken, or a second one could become one with it."""
        self.process.send_signal(number)
        assert self.line() == "signal"

    def open_the_gate(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b".")

    def outcome(self) -> tuple[int, str, str]:
        """Exit code, and what it printed meanwhile."""
        printed, complaints = self.process.communicate(timeout=30)
        return self.process.returncode, printed.decode(), complaints.decode()


@contextlib.contextmanager
def program(handler: str, engine: str, *, drain: float) -> Iterator[Program]:
    running = Program(handler, engine, drain)
    with running.process:
        try:
            yield running
        finally:
            running.process.kill()


ENDINGS = [signal.SIGINT, signal.SIGTERM]
WELL = (0, "returned\n", "")


@pytest.mark.parametrize("number", ENDINGS)
@engines
def test_signal_lets_handlers_finish(engine: EngineName, number: signal.Signals, connect: Connect) -> None:
    with program("Waits", engine, drain=30) as running:
        client = connect(running.address)
        client.sendall(b"hello\n")
        assert running.line() == "waiting"
        running.signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            running.process.wait(0.5)
        running.open_the_gate()
        assert rest(client) == b"HELLO\n"
        assert running.outcome() == WELL


@engines
def test_signal_wakes_handlers_of_idle_clients(engine: EngineName, connect: Connect) -> None:
    with program("Farewell", engine, drain=30) as running:
        client = connect(running.address)
        assert asked(client, b"hello\n") == b"HELLO\n"
        running.signal()
        assert rest(client) == b"BYE\n"
        assert running.outcome() == WELL


@engines
def test_signal_ends_an_idle_service(engine: EngineName) -> None:
    with program("Echo", engine, drain=30) as running:
        running.signal()
        assert running.outcome() == WELL


@pytest.mark.parametrize("number", ENDINGS)
@engines
def test_second_signal_ends_what_is_left(engine: EngineName, number: signal.Signals, connect: Connect) -> None:
    with program("Floods", engine, drain=3600) as running:
        client = connect(running.address)
        assert running.line() == "flooding"
        running.signal()
        with pytest.raises(subprocess.TimeoutExpired):
            running.process.wait(0.5)
        running.signal(number)
        assert running.outcome()[:2] == WELL[:2]
        rest(client)


@engines
def test_second_signal_waits_for_no_handler(engine: EngineName, connect: Connect) -> None:
    """One that waits for something else than its client does not notice that it was cut."""
    with program("Waits", engine, drain=3600) as running:
        client = connect(running.address)
        client.sendall(b"hello\n")
        assert running.line() == "waiting"
        running.signal()
        with pytest.raises(subprocess.TimeoutExpired):
            running.process.wait(0.5)
        running.signal()
        running.process.wait(DEADLINE)
        rest(client)


def test_signal_handlers_of_the_program_are_put_back() -> None:
    heard: list[int] = []
    before = [signal.signal(number, lambda number, _: heard.append(number)) for number in ENDINGS]
    timer = threading.Thread(target=interrupt_when_started)
    try:
        timer.start()
        portside.serve(Echo, 0)
        assert heard == []
        signal.raise_signal(signal.SIGTERM)
        assert heard == [signal.SIGTERM]
    finally:
        for number, handler in zip(ENDINGS, before, strict=True):
            signal.signal(number, handler)
        timer.join()


def interrupt_when_started() -> None:
    """Send this process a signal once `serve` has its own handler."""
    assert wait_until(lambda: type(signal.getsignal(signal.SIGTERM)).__module__ == "portside.service.running")
    os.kill(os.getpid(), signal.SIGTERM)


def test_child_leaves_an_interrupt_to_its_parent(connect: Connect) -> None:
    """A terminal sends Ctrl-C to all processes of a group; the parent drains, and handlers finish."""
    with program("Waits", "forks", drain=30) as running:
        client = connect(running.address)
        client.sendall(b"hello\n")
        assert running.line() == "waiting"
        parent = psutil.Process(running.process.pid)
        for child in parent.children():
            child.send_signal(signal.SIGINT)
        running.signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            running.process.wait(0.3)
        running.open_the_gate()
        assert rest(client) == b"HELLO\n"
        assert running.outcome() == WELL


def test_child_that_is_terminated_ends_alone(connect: Connect) -> None:
    """A handler's process inherits the signal handlers of `serve`, and is no server."""
    with program("Waits", "forks", drain=30) as running:
        client = connect(running.address)
        client.sendall(b"hello\n")
        assert running.line() == "waiting"
        (child,) = psutil.Process(running.process.pid).children()
        child.terminate()
        assert rest(client) == b""
        second = connect(running.address)
        second.sendall(b"again\n")
        assert running.line() == "waiting"
        running.open_the_gate()
        assert rest(second) == b"AGAIN\n"
        running.signal()
        code, printed, complaints = running.outcome()
        assert (code, printed) == WELL[:2]
        assert re.fullmatch(r"the handler's process \d+ ended with -15\n", complaints)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [("", "ValueError: no endpoint was given"), ("'http://x'", "EndpointError: endpoint 'http://x'")],
)
def test_service_that_cannot_be_is_an_exit_code(arguments: str, said: str) -> None:
    call = f"import portside; portside.serve(print{arguments and ', '}{arguments})"
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]
