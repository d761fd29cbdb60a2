"""The servers of the drop-in face: names and defaults, families, socket files, datagrams, and what is refused."""

import contextlib
import errno
import inspect
import os
import socket
import socketserver as standard
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portside import socketserver, telemetry
from portside.servers import LARGEST_DATAGRAM, SYSTEM_BACKLOG
from tests.conftest import DEADLINE, Connect, wait_until
from tests.engines.kit import Stand, dialled, rest
from tests.stdlib.deviations import DEVIATIONS

pytestmark = pytest.mark.usefixtures("no_leaks")

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")

LOOPBACK = ("127.0.0.1", 0)


class Shout(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


class WhoAmI(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(repr(self.client_address).encode())


class Answer(socketserver.DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write(str(len(self.packet)).encode())


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path leaves room in the 108 bytes of a socket address, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="ps-") as path:
        yield Path(path)


@pytest.fixture
def path(folder: Path) -> str:
    return str(folder / "s")


@contextlib.contextmanager
def running(server: Any) -> Iterator[Stand]:
    """The server, serving."""
    with contextlib.closing(Stand(server)) as stand:
        stand.start()
        yield stand


# Names and defaults

CLASSES = [name for name in standard.__all__ if inspect.isclass(getattr(standard, name))]


@pytest.mark.parametrize("name", standard.__all__)
def test_every_name_of_the_standard_library_is_there(name: str) -> None:
    assert name in socketserver.__all__
    assert hasattr(socketserver, name)


@pytest.mark.parametrize("name", CLASSES)
def test_class_has_the_ancestors_and_defaults_that_programs_rely_on(name: str) -> None:
    ours, theirs = getattr(socketserver, name), getattr(standard, name)
    ancestors = {base.__name__ for base in theirs.__mro__ if base.__module__ == "socketserver"}
    assert ancestors <= {base.__name__ for base in ours.__mro__}
    plain = {attribute: value for attribute, value in vars(theirs).items() if not attribute.startswith("_")}
    for attribute, value in plain.items():
        assert hasattr(ours, attribute)
        if not callable(value) and f"socketserver.{name}.{attribute}" not in DEVIATIONS:
            assert getattr(ours, attribute) == value


@pytest.mark.parametrize("engine", ["", "Threading", "Forking", "Async"])
@pytest.mark.parametrize("transport", ["TCP", "UDP", "UnixStream", "UnixDatagram"])
def test_every_engine_serves_every_transport(engine: str, transport: str) -> None:
    found = getattr(socketserver, f"{engine}{transport}Server")
    assert found.__name__ in socketserver.__all__
    assert issubclass(found, getattr(socketserver, f"{transport}Server"))
    assert not engine or issubclass(found, getattr(socketserver, f"{engine}MixIn"))


def test_defaults_that_differ() -> None:
    assert socketserver.TCPServer.request_queue_size == SYSTEM_BACKLOG == 65_535
    assert socketserver.UDPServer.max_packet_size == LARGEST_DATAGRAM == 65_535


# Construction


def test_server_knows_where_it_is_bound() -> None:
    with socketserver.TCPServer(LOOPBACK, Shout) as server:
        assert server.server_address == server.socket.getsockname()
        assert server.fileno() == server.socket.fileno()
        assert server.RequestHandlerClass is Shout
    assert server.socket.fileno() == -1
    server.server_close()


def test_binding_may_be_left_to_the_caller() -> None:
    with socketserver.TCPServer(LOOPBACK, Shout, bind_and_activate=False) as server:
        assert server.server_address == LOOPBACK
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        server.server_bind()
        server.server_activate()
        with running(server) as stand:
            assert stand.ask(b"hello\n") == b"HELLO\n"


@pytest.mark.parametrize("hook", ["server_bind", "server_activate"])
def test_construction_that_fails_leaves_nothing_open(hook: str) -> None:
    made: list[Any] = []

    def fail(self: Any) -> None:
        made.append(self)
        raise LookupError(hook)

    with pytest.raises(LookupError, match=hook):
        type("Server", (socketserver.TCPServer,), {hook: fail})(LOOPBACK, Shout)
    assert made[0].socket.fileno() == -1


class Tells(socketserver.BaseRequestHandler):
    word: bytes

    def handle(self) -> None:
        self.request.sendall(self.word)


@pytest.mark.parametrize(("given", "word"), [(None, b"class"), ({"word": b"object"}, b"object")])
def test_handler_args_of_the_class_and_of_the_object(given: dict[str, Any] | None, word: bytes) -> None:
    server_class = type("Server", (socketserver.TCPServer,), {"handler_args": {"word": b"class"}})
    with server_class(LOOPBACK, Tells, handler_args=given) as server, running(server) as stand:
        assert stand.ask(b"") == word


def test_base_server_accepts_nothing_by_itself() -> None:
    server = socketserver.BaseServer(LOOPBACK, Shout)
    with pytest.raises(NotImplementedError, match=r"return \(request, client_address\)"):
        server.get_request()
    server.server_activate()
    assert server.verify_request(None, None) is True
    server.shutdown_request(None)
    server.server_close()


def test_closed_server_does_not_serve() -> None:
    with socketserver.TCPServer(LOOPBACK, Shout) as server, running(server) as stand:
        assert stand.ask(b"hello\n") == b"HELLO\n"
    for _ in range(2):
        with pytest.raises(ValueError, match=r"the server at 127\.0\.0\.1:\d+ is closed: make a new one"):
            server.serve_forever()


# Old idioms


def test_one_request_that_is_there(connect: Connect) -> None:
    with socketserver.TCPServer(LOOPBACK, WhoAmI) as server:
        client = connect(server.server_address)
        server._handle_request_noblock()
        assert rest(client) == repr(client.getsockname()).encode()


def test_one_request_that_is_not_there() -> None:
    with socketserver.TCPServer(LOOPBACK, WhoAmI) as server:
        server.socket.setblocking(False)
        server._handle_request_noblock()


def test_timeout_of_the_socket_counts_too() -> None:
    with socketserver.TCPServer(LOOPBACK, WhoAmI) as server:
        server.timeout = 3600
        server.socket.settimeout(0.02)
        server.handle_request()


class StopsTheOldWay(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        vars(socketserver.BaseServer)["_BaseServer__shutdown_request"].__set__(self.server, True)


def test_flag_that_programs_set_stops_the_server() -> None:
    with socketserver.TCPServer(LOOPBACK, StopsTheOldWay) as server, running(server) as stand:
        flag = vars(socketserver.BaseServer)["_BaseServer__shutdown_request"]
        assert flag.__get__(server) is False
        flag.__set__(server, False)
        stand.ask(b"")
        assert stand.has_ended()


def test_threads_have_their_name_of_the_standard_library() -> None:
    with socketserver.ThreadingTCPServer(LOOPBACK, Shout) as server, running(server) as stand:
        assert stand.ask(b"hello\n") == b"HELLO\n"
        assert wait_until(lambda: len(server._threads) == 1)


# Families


@needs_ipv6
def test_ipv6_address_chooses_its_family() -> None:
    with socketserver.TCPServer(("::1", 0), WhoAmI) as server, running(server) as stand, stand.dial() as client:
        assert server.address_family == socket.AF_INET6
        assert rest(client) == repr(client.getsockname()).encode()
    assert socketserver.TCPServer.address_family == socket.AF_INET


@needs_ipv6
def test_dual_stack_serves_both_families_on_one_port(connect: Connect) -> None:
    server_class = type("Server", (socketserver.TCPServer,), {"dual_stack": True})
    with server_class(("", 0), WhoAmI) as server, running(server):
        for host in ("127.0.0.1", "::1"):
            client = connect((host, server.server_address[1]))
            assert rest(client) == repr(client.getsockname()).encode()


def test_empty_host_is_ipv4_unless_both_are_asked_for(connect: Connect) -> None:
    with socketserver.TCPServer(("", 0), WhoAmI) as server, running(server):
        assert server.server_address[0] == "0.0.0.0"
        client = connect(("127.0.0.1", server.server_address[1]))
        assert rest(client) == repr(client.getsockname()).encode()


def test_dual_stack_on_a_machine_without_ipv6_is_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    server_class = type("Server", (socketserver.TCPServer,), {"dual_stack": True})
    with server_class(("", 0), Shout) as server:
        assert server.server_address[0] == "0.0.0.0"


@needs_ipv6
def test_family_that_the_program_chose_stays() -> None:
    server_class = type("Server", (socketserver.TCPServer,), {"address_family": socket.AF_INET6})
    with server_class(("::", 0), Shout) as server:
        assert server.socket.family == socket.AF_INET6


# Unix socket files


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_socket_file_has_its_mode(mode: int, path: str) -> None:
    server_class = type("Server", (socketserver.UnixStreamServer,), {"socket_mode": mode})
    with server_class(path, Shout) as server, running(server) as stand:
        assert stat.S_IMODE(os.lstat(path).st_mode) == mode
        assert stand.ask(b"hello\n") == b"HELLO\n"


@pytest.mark.parametrize("base", [socketserver.UnixStreamServer, socketserver.UnixDatagramServer])
@pytest.mark.parametrize("removed", [False, True])
def test_socket_file_is_removed_where_that_is_asked_for(base: type[Any], removed: bool, path: str) -> None:
    server = type("Server", (base,), {"unlink_on_close": removed})(path, Shout)
    server.server_close()
    assert os.path.exists(path) is not removed
    server.server_close()


def test_socket_file_of_a_successor_is_not_removed(path: str) -> None:
    server_class = type("Server", (socketserver.UnixStreamServer,), {"unlink_on_close": True})
    with server_class(path, Shout):
        os.unlink(path)
        successor = server_class(path, Shout)
    assert os.path.exists(path)
    successor.server_close()
    assert not os.path.exists(path)


def test_stale_socket_file_is_replaced(path: str) -> None:
    for _ in range(2):  # the standard library's class leaves the file, and the second would be refused
        with socketserver.UnixStreamServer(path, Shout) as server, running(server) as stand:
            assert stand.ask(b"hello\n") == b"HELLO\n"


ABSTRACT = f"\0portside-test-{os.getpid()}"  # nobody else's: the whole machine shares these names


@pytest.mark.parametrize("name", [ABSTRACT, ABSTRACT.encode()], ids=["str", "bytes"])
def test_abstract_name_needs_no_file(name: Any) -> None:
    with socketserver.UnixStreamServer(name, Shout) as server, running(server) as stand:
        assert stand.ask(b"hello\n") == b"HELLO\n"


# Datagrams


def test_largest_datagram_arrives_whole() -> None:
    with socketserver.UDPServer(LOOPBACK, Answer) as server, running(server), dialled(server) as client:
        client.send(bytes(65_507))
        assert client.recv(100) == b"65507"


@pytest.mark.parametrize(("size", "cut"), [(99, False), (100, False), (101, True), (5_000, True)])
@pytest.mark.parametrize("base", [socketserver.UDPServer, socketserver.UnixDatagramServer])
def test_datagram_that_is_cut_is_told(base: type[Any], size: int, cut: bool, path: str) -> None:
    told: list[telemetry.DatagramTruncated] = []
    address = path if issubclass(base, socketserver.UnixDatagramServer) else LOOPBACK
    server_class = type("Server", (base,), {"max_packet_size": 100})
    with (
        telemetry.subscribe(told.append, telemetry.DatagramTruncated),
        server_class(address, Answer) as server,
        running(server),
        dialled(server) as client,
    ):
        client.send(bytes(size))
        assert client.recv(100) == str(min(size, 100)).encode()
        assert [(event.server, event.limit) for event in told] == [(server, 100)] * cut


# What is refused


def test_name_that_nobody_knows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unknown(socket.socket):
        def bind(self, _: Any) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "socket", Unknown)
    with pytest.raises(socket.gaierror, match=r"tcp://nowhere.invalid:1 cannot be bound \(Name or service not known\)"):
        socketserver.TCPServer(("nowhere.invalid", 1), Shout)


@pytest.mark.parametrize(
    ("base", "address", "number", "said"),
    [
        ("TCPServer", ("192.0.2.1", 0), errno.EADDRNOTAVAIL, "tcp://192.0.2.1:0 is no address of this machine"),
        ("UDPServer", ("192.0.2.1", 0), errno.EADDRNOTAVAIL, "udp://192.0.2.1:0 is no address of this machine"),
        ("UnixStreamServer", "/nowhere/s", errno.ENOENT, "unix:/nowhere/s cannot be made: its directory does not"),
        ("UnixDatagramServer", "/nowhere/s", errno.ENOENT, "unixgram:/nowhere/s cannot be made: its directory"),
        ("UnixStreamServer", "/" + 200 * "x", errno.ENAMETOOLONG, "is too long: 201 bytes where 107 are accepted"),
    ],
)
def test_refusal_says_what_to_do(base: str, address: Any, number: int, said: str) -> None:
    with pytest.raises(OSError) as caught:
        getattr(socketserver, base)(address, Shout)
    assert caught.value.errno == number
    assert said in str(caught.value)


def test_socket_file_of_a_live_server_is_left_alone(path: str) -> None:
    with socketserver.UnixStreamServer(path, Shout) as server, running(server) as stand:
        with pytest.raises(OSError, match="is in use: another program listens there"):
            socketserver.UnixStreamServer(path, Shout)
        assert stand.ask(b"hello\n") == b"HELLO\n"


# Stopping


def test_server_is_stopped_at_any_time() -> None:
    with socketserver.TCPServer(LOOPBACK, Shout) as server:
        server.shutdown()  # before: it is kept
        server.serve_forever()
        stand = Stand(server)
        stand.start()
        assert stand.ask(b"hello\n") == b"HELLO\n"
        server.shutdown()
        server.shutdown()
        assert stand.has_ended()


def test_several_loops_serve_one_listener() -> None:
    with socketserver.TCPServer(LOOPBACK, Shout) as server:
        threads = [threading.Thread(target=server.serve_forever) for _ in range(3)]
        for thread in threads:
            thread.start()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(dialled(server)) for _ in threads]
            for client in clients:
                client.sendall(b"hello\n")
            assert [client.recv(100) for client in clients] == [b"HELLO\n"] * 3
        server.shutdown()
        for thread in threads:
            thread.join(DEADLINE)
        assert not any(thread.is_alive() for thread in threads)
