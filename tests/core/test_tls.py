"""TLS in the hub: the same scenes are played by plain sockets in threads and by green ones in tasks."""

import contextlib
import hashlib
import io
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from portside import StreamRequestHandler, socketserver
from portside.core import hub, network
from portside.core.tls import GreenSSLSocket
from portside.telemetry import CloseReason
from tests.conftest import DEADLINE
from tests.engines.instruments import BULK, PIECE, Journal, pattern
from tests.engines.kit import KITS, Stand, serving

pytestmark = pytest.mark.usefixtures("no_leaks")

GREEN = next(kit for kit in KITS if kit.name == "green")
SOON = 0.05  # seconds after which a test's timeout passes

Tls = Any  # ssl.SSLSocket, whose methods take more than the type checker's notes say
Side = Callable[[Any], Any]


# -- certificates --


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Both ends' contexts."""

    server: ssl.SSLContext
    client: ssl.SSLContext

    def serve(self, sock: Any, **options: Any) -> Tls:
        """The server's end of TLS on a socket."""
        return self.server.wrap_socket(sock, server_side=True, **options)

    def join(self, sock: Any, **options: Any) -> Tls:
        """The client's end."""
        return self.client.wrap_socket(sock, server_hostname="localhost", **options)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost and its key, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl command")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([*command.split(), "-keyout", path, "-out", path], capture_output=True, timeout=50, check=True)
    return path


def made_for(certificate: Path, version: ssl.TLSVersion) -> Identity:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate)
    client = ssl.create_default_context(cafile=certificate)
    for context in (server, client):
        context.minimum_version = context.maximum_version = version
    return Identity(server=server, client=client)


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def identity(request: pytest.FixtureRequest, certificate: Path) -> Identity:
    """Both versions in turn."""
    return made_for(certificate, request.param)


@pytest.fixture
def newest(certificate: Path) -> Identity:
    """TLS 1.3."""
    return made_for(certificate, ssl.TLSVersion.TLSv1_3)


# -- worlds --


class Plain:
    """Plain sockets; each side has a thread."""

    network: Any = socket
    tls = ssl.SSLSocket

    def play(self, *sides: Callable[[], Any]) -> list[Any]:
        """Run all sides at once; returns what each returned."""
        with ThreadPoolExecutor() as pool:
            return [each.result(DEADLINE) for each in [pool.submit(side) for side in sides]]


class Green(Plain):
    """Green sockets; each side has a task."""

    network = network
    tls = GreenSSLSocket

    def play(self, *sides: Callable[[], Any]) -> list[Any]:
        return list(hub.run(lambda: [each.result(DEADLINE) for each in [spawn(side) for side in sides]]))


class Blocking(Green):
    """Green sockets outside of tasks: each side has a thread."""

    play = Plain.play


World = Plain


@pytest.fixture(params=[Plain, Green, Blocking], ids=["plain", "green", "blocking"])
def world(request: pytest.FixtureRequest) -> World:
    """Each world in turn."""
    made: World = request.param()
    return made


def play(world: World, server: Side, client: Side, family: int = socket.AF_UNIX) -> tuple[Any, Any]:
    """Let two sides talk over a connection; returns what each returned, and closes what it left open."""
    with contextlib.ExitStack() as stack:
        ends = pair(world, family)
        for end in ends:
            end.settimeout(DEADLINE)
            stack.enter_context(end)
        first, second = world.play(partial(server, ends[0]), partial(client, ends[1]))
    return first, second


def pair(world: World, family: int) -> tuple[Any, Any]:
    if family == socket.AF_UNIX:
        one, other = world.network.socketpair()
        return one, other
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dialled = world.network.create_connection(listener.getsockname())
        taken = listener.accept()[0]
        return (taken if world.network is socket else network.adopted(taken)), dialled


def talk(identity: Identity, server: Side, client: Side) -> tuple[Side, Side]:
    """The same sides with TLS set up, and closed at the end."""

    def secured(wrap: Callable[[Any], Tls], side: Side) -> Side:
        def secure(sock: Any) -> Any:
            with wrap(sock) as tls:
                return side(tls)

        return secure

    return secured(identity.serve, server), secured(identity.join, client)


def read_all(tls: Tls, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := tls.recv(size - len(data))):
        data += piece
    return data


# -- the scenes --


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET], ids=["unix", "tcp"])
def test_methods_do_what_they_do_in_ssl(world: World, identity: Identity, family: int) -> None:
    def server(tls: Tls) -> tuple[Any, ...]:
        room = bytearray(10)
        heard = (tls.recv(5), tls.recv_into(room), tls.recv_into(memoryview(room)[5:], 2), tls.read(3))
        left = tls.pending()
        rest = bytearray(4)
        return heard, left, tls.read(4, rest), bytes(rest), bytes(room), tls.getpeercert(), tls.server_side

    def client(tls: Tls) -> tuple[Any, ...]:
        sent = (tls.send(b"hello"), tls.write(b"0123456789"), tls.sendall(b"ab"), tls.send(memoryview(b"xyzlast")))
        peer = tls.getpeercert()["subject"]
        known = tls.version(), tls.cipher()[1], tls.session_reused, tls.selected_alpn_protocol()
        assert tls.recv(1) == b""
        return sent, peer, *known

    heard, said = play(world, *talk(identity, server, client), family)
    assert heard == ((b"hello", 10, 2, b"xyz"), 4, 4, b"last", b"01234ab789", None, True)
    assert said[:2] == ((5, 10, None, 7), ((("commonName", "localhost"),),))
    assert said[2] == said[3] == identity.client.minimum_version.name.replace("_", ".")
    assert said[4:] == (False, None)


def test_files_read_and_write(world: World, newest: Identity) -> None:
    def server(tls: Tls) -> list[bytes]:
        with tls.makefile("rb") as lines, tls.makefile("wb") as answers:
            found = [lines.readline(), lines.readline(3), lines.read(4)]
            answers.write(b"kept back until ")
            answers.writelines([b"the ", b"end\n"])
            answers.flush()
            return [*found, *lines]

    def client(tls: Tls) -> str:
        with tls.makefile("wb", 0) as questions, tls.makefile("rw", encoding="utf-8", newline="\n") as text:
            assert isinstance(questions, io.IOBase)
            assert questions.write(memoryview(b"one\ntwo\nthree\n")) == 14
            text.write("zwölf\n")
            text.flush()
            answer: str = text.readline()
            tls.shutdown(socket.SHUT_WR)
        return answer

    assert play(world, *talk(newest, server, client)) == (
        [b"one\n", b"two", b"\nthr", b"ee\n", "zwölf\n".encode()],
        "kept back until the end\n",
    )


def test_file_without_buffer_writes_everything(world: World, newest: Identity) -> None:
    if world.network is socket:
        pytest.skip("the standard library writes what it can")

    def server(tls: Tls) -> bytes:
        return hashlib.sha256(read_all(tls, BULK)).digest()

    def client(tls: Tls) -> int:
        with tls.makefile("wb", 0) as file:
            written: int = file.write(pattern(BULK))
            with pytest.raises(ValueError):
                file.close()
                file.write(b"more")
        return written

    assert play(world, *talk(newest, server, client)) == (hashlib.sha256(pattern(BULK)).digest(), BULK)


def test_file_is_sent(world: World, newest: Identity, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(pattern(PIECE * 3))

    def client(tls: Tls) -> int:
        with path.open("rb") as file:
            sent: int = tls.sendfile(file, 100)
        return sent

    heard, sent = play(world, *talk(newest, partial(read_all, size=PIECE * 3 - 100), client))
    assert (heard, sent) == (pattern(PIECE * 3)[100:], PIECE * 3 - 100)


@pytest.mark.parametrize("suppress", [True, False])
def test_end_without_goodbye(world: World, identity: Identity, suppress: bool) -> None:
    identity.server.num_tickets = 0  # a Unix socket that is closed over unread ones resets the connection

    def server(sock: Any) -> Any:
        with identity.serve(sock, suppress_ragged_eofs=suppress) as tls:
            assert tls.recv(5) == b"hello"
            try:
                return tls.recv(5), tls.recv_into(bytearray(5)), tls.recv(5)
            except ssl.SSLError as error:
                return type(error)

    def client(tls: Tls) -> None:
        tls.sendall(b"hello")

    heard, _ = play(world, server, talk(identity, server, client)[1])
    assert heard == ((b"", 0, b"") if suppress else ssl.SSLEOFError)


def test_goodbye_and_on_without_tls(world: World, identity: Identity) -> None:
    def server(tls: Tls) -> Any:
        assert tls.recv(10) == b"secret"
        assert tls.recv(10) == b""
        plain = tls.unwrap()
        with plain.makefile("rb") as lines:
            line = lines.readline()
        plain.sendall(b"open too\n")
        return plain is tls, line, tls.version(), tls.pending()

    def client(tls: Tls) -> Any:
        tls.sendall(b"secret")
        plain = tls.unwrap()
        plain.sendall(b"in the open\n")
        return plain is tls, plain.recv(100)

    heard, said = play(world, *talk(identity, server, client))
    assert (heard, said) == ((True, b"in the open\n", None, 0), (True, b"open too\n"))


def until(event: threading.Event) -> None:
    """Wait in a thread or in a task."""
    while not event.is_set():
        hub.sleep(0.001)


WAITS: dict[str, Callable[[Tls], Any]] = {
    "read": lambda tls: tls.recv(1),
    "write": lambda tls: tls.sendall(bytes(BULK)),
    "goodbye": lambda tls: tls.unwrap(),
}


@pytest.mark.parametrize("operation", WAITS)
def test_timeout_passes(world: World, newest: Identity, operation: str) -> None:
    done = threading.Event()

    def server(tls: Tls) -> Any:
        tls.settimeout(SOON)
        with pytest.raises(TimeoutError, match="timed out"):
            WAITS[operation](tls)
        done.set()
        return tls.gettimeout()

    assert play(world, *talk(newest, server, lambda _: until(done)))[0] == SOON


def test_handshake_times_out(world: World, newest: Identity) -> None:
    def server(sock: Any) -> Any:
        sock.settimeout(SOON)
        with pytest.raises(TimeoutError, match="handshake operation timed out"):
            newest.serve(sock)
        return sock.fileno(), sock.gettimeout()

    assert play(world, server, lambda sock: sock.recv(1)) == ((-1, SOON), b"")


def test_timeout_of_nothing_does_not_wait(world: World, newest: Identity) -> None:
    tried, shaken = threading.Event(), threading.Event()

    def server(sock: Any) -> None:
        with pytest.raises(ValueError, match="non-blocking"):
            sock.settimeout(0)
            newest.serve(sock)

    def patient(sock: Any) -> None:
        sock.settimeout(0)
        with newest.serve(sock, do_handshake_on_connect=False) as tls:
            with pytest.raises(ssl.SSLWantReadError):
                tls.do_handshake()
            tried.set()
            tls.do_handshake(block=True)
            assert tls.gettimeout() == 0
            with pytest.raises(ssl.SSLWantReadError):
                tls.recv(1)
            with pytest.raises(ssl.SSLWantWriteError):
                while True:
                    tls.send(bytes(PIECE))
            shaken.set()

    def client(sock: Any) -> None:
        until(tried)
        with newest.join(sock):
            until(shaken)

    play(world, server, lambda sock: None)
    play(world, patient, client)


def test_certificate_that_is_not_trusted(world: World, newest: Identity) -> None:
    def server(sock: Any) -> type[BaseException]:
        with pytest.raises(ssl.SSLError) as caught:
            newest.serve(sock).recv(1)
        return caught.type

    def client(sock: Any) -> int:
        with pytest.raises(ssl.SSLCertVerificationError):
            ssl.create_default_context().wrap_socket(sock, server_hostname="localhost")
        return int(sock.fileno())

    assert play(world, server, client) == (ssl.SSLError, -1)


def test_what_is_no_tls_is_refused(world: World, newest: Identity) -> None:
    def server(sock: Any) -> int:
        with pytest.raises(ssl.SSLError):
            newest.serve(sock)
        return int(sock.fileno())

    assert play(world, server, lambda sock: sock.sendall(b"GET / HTTP/1.1\r\n\r\n"))[0] == -1


def test_wrong_options_leave_the_socket_alone(world: World, newest: Identity) -> None:
    def server(sock: Any) -> Any:
        with pytest.raises(ValueError, match="check_hostname"):
            newest.client.wrap_socket(sock)
        return sock.recv(5), sock.gettimeout()

    assert play(world, server, lambda sock: sock.sendall(b"hello"))[0] == (b"hello", DEADLINE)


def test_methods_that_make_no_sense_are_refused(world: World, newest: Identity) -> None:
    def server(tls: Tls) -> None:
        for error, call in (
            (ValueError, lambda: tls.sendto(b"x", ("127.0.0.1", 9))),
            (ValueError, lambda: tls.recvfrom(1)),
            (ValueError, lambda: tls.recv(1, socket.MSG_PEEK)),
            (ValueError, lambda: tls.send(b"x", socket.MSG_DONTWAIT)),
            (NotImplementedError, lambda: tls.sendmsg([b"x"])),
            (NotImplementedError, lambda: tls.recvmsg(1)),
            (NotImplementedError, tls.dup),
            (ValueError, lambda: tls.connect("nowhere")),
        ):
            with pytest.raises(error):
                call()

    play(world, *talk(newest, server, lambda tls: tls.recv(1)))


def test_closed_socket_says_so(world: World, newest: Identity) -> None:
    def server(tls: Tls) -> None:
        tls.close()
        for call in (partial(tls.recv, 1), partial(tls.send, b"x"), partial(tls.sendall, b"x")):
            with pytest.raises(OSError, match="Bad file descriptor"):
                call()
        for call in (tls.read, partial(tls.write, b"x"), tls.unwrap):
            with pytest.raises(ValueError, match="SSL"):
                call()

    play(world, *talk(newest, server, lambda tls: tls.recv(1)))


def test_handshake_at_connect(world: World, identity: Identity) -> None:
    with world.network.create_server(("127.0.0.1", 0)) as listener, identity.serve(listener) as door:
        assert type(door) is world.tls
        door.settimeout(DEADLINE)

        def server() -> Any:
            sock, address = door.accept()
            with sock:
                return sock.recv(5), type(sock) is world.tls, sock.version(), address[0]

        def client() -> Any:
            with identity.join(world.network.socket(socket.AF_INET)) as tls:
                tls.settimeout(DEADLINE)
                with pytest.raises(OSError, match="not connected"):
                    tls.getpeercert()
                tls.connect(door.getsockname())
                tls.sendall(b"hello")
                version = tls.version()
                assert tls.recv(1) == b""
                return version

        (heard, said) = world.play(server, client)
    assert heard == (b"hello", True, said, "127.0.0.1")


# -- tasks --


def green_play(identity: Identity, server: Side, client: Side) -> tuple[Any, Any]:
    return play(Green(), *talk(identity, server, client))


def spawn(side: Callable[[], Any]) -> Any:
    return hub.get_hub().spawn(side)


def test_large_transfers_both_ways_at_once(identity: Identity) -> None:
    def both(tls: Tls) -> bytes:
        sending = spawn(partial(tls.sendall, pattern(BULK)))
        digest = hashlib.sha256(read_all(tls, BULK)).digest()
        sending.result(DEADLINE)
        return digest

    expected = hashlib.sha256(pattern(BULK)).digest()
    assert green_play(identity, both, both) == (expected, expected)


def test_writes_of_several_tasks_stay_whole(identity: Identity) -> None:
    lines = [bytes([letter]) * 12_000 + b"\n" for letter in b"abcdefgh"]

    def server(tls: Tls) -> set[bytes]:
        with tls.makefile("rb") as file:
            return {file.readline() for _ in range(len(lines) * 40)}

    def client(tls: Tls) -> None:
        for task in [spawn(partial(repeat, tls, line)) for line in lines]:
            task.result(DEADLINE)

    assert green_play(identity, server, client)[0] == set(lines)


def repeat(tls: Tls, line: bytes) -> None:
    for _ in range(40):
        tls.sendall(line)


def test_write_that_may_not_wait_does_not_wait_for_another(newest: Identity) -> None:
    tried: list[bool] = []

    def server(tls: Tls) -> None:
        task = spawn(partial(tls.sendall, bytes(BULK)))
        while not task.is_parked:
            hub.give_way()
        tls.settimeout(0)
        with pytest.raises(ssl.SSLWantWriteError, match="another task"):
            tls.send(b"x")
        tried.append(True)
        tls.settimeout(DEADLINE)
        task.result(DEADLINE)

    def client(tls: Tls) -> None:
        while not tried:  # who reads at once may keep up with the writer, who then never waits
            hub.give_way()
        read_all(tls, BULK)

    green_play(newest, server, client)


@pytest.mark.parametrize(("end", "outcome"), [("shutdown", b""), ("close", OSError)])
def test_another_task_ends_the_connection(newest: Identity, end: str, outcome: Any) -> None:
    def server(tls: Tls) -> Any:
        reading = spawn(partial(tls.recv, 1))
        while not reading.is_parked:
            hub.give_way()
        tls.shutdown(socket.SHUT_RDWR) if end == "shutdown" else tls.close()
        try:
            return reading.result(DEADLINE)
        except OSError:
            return OSError

    assert green_play(newest, server, lambda tls: tls.recv(1))[0] == outcome


def test_one_who_never_stops_sending_lets_others_run(newest: Identity) -> None:
    turns = 0

    def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            hub.give_way()

    def server(tls: Tls) -> int:
        counting = spawn(count)
        read_all(tls, BULK)
        counting.kill()
        return turns

    assert green_play(newest, server, lambda tls: tls.sendall(bytes(BULK)))[0] > BULK // 16_384 // 8


def test_deadlines_of_the_socket_go_on_with_tls(newest: Identity) -> None:
    def server(sock: Any) -> None:
        sock.settimeout(None)
        sock.set_deadlines(idle=SOON)
        with pytest.raises(TimeoutError):
            newest.serve(sock)

    play(Green(), server, lambda sock: sock.recv(1))


def test_task_that_is_killed_in_the_handshake_leaves_nothing_open(newest: Identity) -> None:
    def server(sock: Any) -> int:
        shaking = spawn(partial(newest.serve, sock))
        while not shaking.is_parked:
            hub.give_way()
        shaking.kill()
        shaking.join(DEADLINE)
        return int(sock.fileno())

    assert play(Green(), server, lambda sock: sock.recv(1)) == (-1, b"")


def test_other_classes_are_left_alone(newest: Identity) -> None:
    class Own(ssl.SSLSocket):
        pass

    one, other = socket.socketpair()
    with one, other, newest.serve(one, do_handshake_on_connect=False) as plain:
        assert type(plain) is ssl.SSLSocket
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = Own
    one, other = network.socketpair()
    with one, other, context.wrap_socket(one, server_side=True, do_handshake_on_connect=False) as own:
        assert type(own) is Own


# -- servers --


class Secured(StreamRequestHandler):
    """As tutorials have it: TLS in `setup()`; lines, each back in upper case."""

    identity: Identity
    journal: Journal

    def setup(self) -> None:
        self.request = self.identity.serve(self.request)
        super().setup()

    def handle(self) -> None:
        assert type(self.connection) is GreenSSLSocket
        for line in self.rfile:
            self.wfile.write(line.upper())
        self.wfile.write(b"BYE\n")

    def finish(self) -> None:
        super().finish()
        self.request.close()


class Hasty(Secured):
    """The same, for clients that say something soon."""

    timeout = SOON


@contextlib.contextmanager
def secured(identity: Identity, handler: Any = Secured, **options: Any) -> Iterator[tuple[Stand, Journal]]:
    with contextlib.closing(Journal()) as journal, journal.listen():
        arguments = {"identity": identity, "journal": journal}
        with serving(GREEN, handler, handler_args=arguments, **options) as stand:
            yield stand, journal


def asks(identity: Identity, stand: Stand, question: bytes = b"hello\n") -> bytes:
    with identity.join(stand.dial()) as tls:
        tls.sendall(question)
        return read_all(tls, len(question))


def test_tutorials_way(identity: Identity) -> None:
    with secured(identity) as (stand, journal):
        assert asks(identity, stand) == b"HELLO\n"
        assert journal.next("ConnectionClosed").reason == CloseReason.DONE


def test_client_that_says_nothing_stalls_nobody(newest: Identity) -> None:
    with secured(newest, hub_patience=0.5) as (stand, journal), stand.dial() as silent:
        for _ in range(3):
            assert asks(newest, stand) == b"HELLO\n"
        silent.sendall(b"\x16\x03\x01")  # the beginning of a handshake
        assert asks(newest, stand) == b"HELLO\n"
        assert not journal.all("HubBlocked")


def test_drain_ends_who_is_quiet(newest: Identity) -> None:
    with secured(newest) as (stand, _), newest.join(stand.dial()) as tls:
        tls.sendall(b"hello\n")
        assert read_all(tls, 6) == b"HELLO\n"
        stand.server.shutdown(drain=DEADLINE)
        assert read_all(tls, 100) == b"BYE\n"
        assert stand.has_ended()


def test_client_that_falls_silent_timed_out(newest: Identity) -> None:
    with secured(newest, Hasty) as (stand, journal), newest.join(stand.dial()) as tls:
        assert tls.recv(1) == b""
        assert journal.next("ConnectionClosed").reason == CloseReason.TIMED_OUT


@pytest.mark.parametrize("taken_by", ["green", "plain"])
def test_listener_that_shakes_hands(identity: Identity, taken_by: str) -> None:
    class Echo(StreamRequestHandler):
        def handle(self) -> None:
            assert isinstance(self.connection, GreenSSLSocket)
            assert self.connection.cipher() is not None
            for line in self.rfile:
                self.wfile.write(line.upper())

    class Server(socketserver.GreenTCPServer):
        def server_activate(self) -> None:
            if taken_by == "plain":
                self.socket = socket.socket(fileno=self.socket.detach())
            super().server_activate()
            self.socket = identity.serve(self.socket)

    with (
        contextlib.closing(Stand(Server(("127.0.0.1", 0), Echo))) as stand,
        socket.create_connection(stand.server.server_address) as silent,
    ):
        stand.start()
        for _ in range(3):
            assert asks(identity, stand) == b"HELLO\n"
        silent.sendall(b"no handshake at all\n")
        assert asks(identity, stand) == b"HELLO\n"


def test_command_of_openssl_is_served(identity: Identity) -> None:
    with secured(identity) as (stand, _):
        host, port = stand.server.server_address
        command = ["openssl", "s_client", "-quiet", "-verify_quiet", "-ign_eof", "-connect", f"{host}:{port}"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as it:
            assert it.stdin is not None
            assert it.stdout is not None
            it.stdin.write(b"hello\n")
            it.stdin.flush()
            assert it.stdout.readline() == b"HELLO\n"
            it.terminate()


LATE = """
import sys
from portside.core import hub, network

def play():
    one, other = network.socketpair()
    before = "ssl" in sys.modules
    import ssl
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    third, fourth = network.socketpair()
    with other, fourth, context.wrap_socket(third, server_side=True, do_handshake_on_connect=False) as wrapped:
        one.close()
        return before, type(wrapped).__name__

print(*hub.run(play))
"""


def test_ssl_is_not_imported_for_those_who_do_not_use_it() -> None:
    command = [sys.executable, "-W", "error", "-c", LATE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.stdout, done.stderr) == ("False GreenSSLSocket\n", "")
