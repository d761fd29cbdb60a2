"""The examples, run as their readers run them: as processes, and beside programs that know nothing of Portside.

A `Talk` is written once and played three times: our client with our server, a plain socket in the client's place, and a
plain socket in the server's place. Examples that only change an import also run on the standard library.
"""

import os
import re
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

import psutil
import pytest

from tests.conftest import DEADLINE, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_leaks")]

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "examples"
NAMES = sorted(path.name for path in FOLDER.glob("*.py"))
PYTHON = [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning"]
SECONDS = 40.0  # for a process to start, or to end, on a busy machine
PAUSE = 0.05  # between two pieces, so that a client that takes one for all is nearly always caught
LINES = 60  # an example has fewer

Process = subprocess.Popen[bytes]


# -- processes --


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that serves."""

    process: Process
    where: str  # port or path, as its client takes it

    @property
    def address(self) -> tuple[str, int] | str:
        return ("127.0.0.1", int(self.where)) if self.where.isdigit() else self.where

    def end(self, number: int, *, group: bool = False) -> tuple[int, str]:
        """Send a signal, to the whole `group` as a terminal does; returns the exit code and what stands on stderr."""
        process = psutil.Process(self.process.pid)
        assert wait_until(lambda: process.status() == psutil.STATUS_SLEEPING)  # it waits for clients by now
        os.kill(-self.process.pid if group else self.process.pid, number)
        _, errors = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, errors.decode()


@contextmanager
def started(*command: str | Path, cwd: Path) -> Iterator[Process]:
    """A process in a session of its own, of which nothing outlives the block; its pipes have no buffer."""
    with subprocess.Popen(
        [*PYTHON, *command],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def line_of(stream: IO[bytes] | None) -> str:
    """The next line that a process writes."""
    assert stream is not None
    ready, _, _ = select.select([stream], [], [], SECONDS)
    assert ready, "the process says nothing"
    return stream.readline().decode().rstrip("\n")


def tell(process: Process, text: str) -> None:
    """Type something to a process."""
    assert process.stdin is not None
    process.stdin.write(text.encode())


def program(name: str) -> list[str | Path]:
    """How an example is run, from any folder."""
    compat = ["-m", "portside.compat"] if name == "xmlrpc_server.py" else []
    return [*compat, FOLDER / name]


@contextmanager
def serving(name: str, cwd: Path, where: str = "", *arguments: str, command: Path | None = None) -> Iterator[Server]:
    """Run a server example in the folder `cwd` until the block ends; `command` runs instead of it."""
    if "tls" in name:
        make_certificate(cwd)
    chosen = where or ("x.sock" if "unix" in name else "0")
    with started(*([command] if command else program(name)), chosen, *arguments, cwd=cwd) as process:
        said = line_of(process.stdout)
        assert re.fullmatch(r"serving at (127\.0\.0\.1:\d+|x\.sock)", said), (
            said,
            process.communicate(timeout=SECONDS),
        )
        yield Server(process=process, where=str(cwd / chosen) if "unix" in name else said.rpartition(":")[2])


def client(name: str, where: str, typed: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a client example to its end."""
    command: list[str | Path] = [*PYTHON, FOLDER / name, where]
    return subprocess.run(command, input=typed.encode(), capture_output=True, timeout=SECONDS, cwd=cwd, check=False)


def make_certificate(folder: Path) -> None:
    """The command of examples/tls_server.py; a made-up answer would not show that it works."""
    text = (FOLDER / "tls_server.py").read_text(encoding="utf-8")
    found = re.search(r"openssl (.+) \\\n +(.+)", text)
    assert found
    command = ["openssl", *found[1].split(), *found[2].split()]
    try:
        subprocess.run(command, cwd=folder, capture_output=True, timeout=SECONDS, check=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl command")


# -- talks --


@dataclass(frozen=True, kw_only=True)
class Talk:
    """A conversation over a stream: what each side says on the wire, and what a person types and reads."""

    server: str
    client: str
    typed: str
    printed: bytes
    turns: tuple[tuple[bytes, bytes], ...]
    answers: str = ""  # typed at the server
    files: dict[str, bytes] = field(default_factory=dict)  # that lie in the client's folder

    def __str__(self) -> str:
        return f"{self.server}-{self.client}"


def frames(*payloads: bytes, width: str = ">I") -> bytes:
    return b"".join(struct.pack(width, len(each)) + each for each in payloads)


NOW = b"[Thu Jan  1 00:00:00 1970]"  # a time is as long as any other
CONTENT = bytes(range(256)) * 10
ECHOES = [
    "access_control.py",
    "echo_base.py",
    "echo_forking.py",
    "echo_pool_processes.py",
    "echo_pool_threads.py",
    "echo_stream.py",
    "echo_threading.py",
    "echo_tuned.py",
    "embed_asyncio.py",
    "embed_gevent.py",
    "one_request.py",
    "options_before_binding.py",
    "options_in_class.py",
    "outer_select.py",
    "plain_socket_server.py",
]
long_frames = partial(frames, width=">Q")
ECHO = Talk(
    server="plain_socket_server.py",
    client="plain_socket_client.py",
    typed="one\nzwölf\n",
    printed="one\nzwölf\n".encode(),
    turns=((b"one\n", b"one\n"), ("zwölf\n".encode(), "zwölf\n".encode())),
)


def echo(server: str) -> Talk:
    return Talk(server=server, client="echo_client.py", typed=ECHO.typed, printed=ECHO.printed, turns=ECHO.turns)


TALKS = [
    ECHO,
    *map(echo, ECHOES),
    Talk(
        server="time_server.py",
        client="time_client.py",
        typed="is it late?\n",
        printed=NOW + b" is it late?\n",
        turns=((b"is it late?\n", NOW + b" is it late?\n"),),
    ),
    Talk(
        server="chat_pair_server.py",
        client="chat_pair_client.py",
        typed="hello\nexit\n",
        printed=b"who is there?\n",
        turns=((b"hello\n", b"who is there?\n"), (b"exit\n", b"")),
        answers="who is there?\n",
    ),
    Talk(
        server="remote_execution_server.py",
        client="remote_execution_client.py",
        typed="echo one; echo two\n/bin/sh -c 'echo oh >&2; exit 3'\nprintf '\\377'\ntrue\n",
        printed=b"one\ntwo\noh\n\xff",
        turns=(
            (long_frames(b"echo one; echo two"), long_frames(b"one\ntwo\n")),
            (long_frames(b"/bin/sh -c 'echo oh >&2; exit 3'"), long_frames(b"oh\n")),
            (long_frames(b"printf '\\377'"), long_frames(b"\xff")),
            (long_frames(b"true"), long_frames(b"")),
        ),
    ),
    Talk(
        server="upload_server.py",
        client="upload_client.py",
        typed="post|file.bin\n",
        printed=b"> file.bin: stored\n> ",
        turns=(
            (frames(b"2560 file.bin"), frames(b"ready")),
            (frames(CONTENT[:1024], CONTENT[1024:2048], CONTENT[2048:]), frames(b"stored")),
        ),
        files={"file.bin": CONTENT},
    ),
]
UNIX = Talk(
    server="unix_stream_server.py",
    client="unix_stream_client.py",
    typed="one\ntwo\n",
    printed=b"ONE\nTWO\n",
    turns=((b"one\n", b"ONE\n"), (b"two\n", b"TWO\n")),
)


def timeless(data: bytes) -> bytes:
    return re.sub(rb"\[\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\]", NOW, data)


def read_exactly(sock: socket.socket, size: int) -> bytes:
    """Bytes as they come, until there are as many or the peer has ended."""
    data = b""
    while len(data) < size and (piece := sock.recv(size - len(data))):
        data += piece
    return data


def say(sock: socket.socket, turns: tuple[tuple[bytes, bytes], ...]) -> list[tuple[bytes, bytes]]:
    """The client's part, on a plain socket; returns the turns as they happened."""
    happened = []
    for question, answer in turns:
        sock.sendall(question)
        happened.append((question, timeless(read_exactly(sock, len(answer)))))
    return happened


def listen(listener: socket.socket, turns: tuple[tuple[bytes, bytes], ...], heard: list[bytes]) -> None:
    """The server's part, on a plain socket; answers come in two pieces."""
    sock, _ = listener.accept()
    with sock:
        sock.settimeout(DEADLINE)
        for question, answer in turns:
            heard.append(read_exactly(sock, len(question)))
            sock.sendall(answer[:1])
            threading.Event().wait(PAUSE)
            sock.sendall(answer[1:])


@contextmanager
def plain_server(listener: socket.socket, turns: tuple[tuple[bytes, bytes], ...]) -> Iterator[list[bytes]]:
    """Play the server's part in a thread; gives what it hears."""
    heard: list[bytes] = []
    listener.settimeout(DEADLINE)
    listener.listen()
    thread = threading.Thread(target=listen, args=(listener, turns, heard))
    thread.start()
    try:
        yield heard
    finally:
        thread.join(2 * DEADLINE)


def plain(address: tuple[str, int] | str) -> socket.socket:
    """A plain socket with a deadline."""
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    sock.settimeout(DEADLINE)
    sock.connect(address)
    return sock


def write_files(talk: Talk, folder: Path) -> None:
    for name, content in talk.files.items():
        (folder / name).write_bytes(content)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder for the server, so that what a client uploads is not there already."""
    folder = tmp_path / "server"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("talk", [*TALKS, UNIX], ids=str)
def test_client_with_server(talk: Talk, tmp_path: Path, elsewhere: Path) -> None:
    write_files(talk, tmp_path)
    with serving(talk.server, elsewhere) as server:
        tell(server.process, talk.answers)
        done = client(talk.client, server.where, talk.typed, tmp_path)
    assert (timeless(done.stdout), done.stderr.decode(), done.returncode) == (talk.printed, "", 0)


@pytest.mark.parametrize("talk", [*TALKS, UNIX], ids=str)
def test_plain_client_with_server(talk: Talk, tmp_path: Path) -> None:
    with serving(talk.server, tmp_path) as server, plain(server.address) as sock:
        tell(server.process, talk.answers)
        assert say(sock, talk.turns) == list(talk.turns)


@pytest.mark.parametrize("talk", {talk.client: talk for talk in TALKS}.values(), ids=lambda talk: talk.client)
def test_client_with_plain_server(talk: Talk, tmp_path: Path) -> None:
    write_files(talk, tmp_path)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        plain_server(listener, talk.turns) as heard,
    ):
        done = client(talk.client, str(listener.getsockname()[1]), talk.typed, tmp_path)
    assert (done.stdout, done.stderr.decode(), done.returncode) == (talk.printed, "", 0)
    assert heard == [question for question, _ in talk.turns]


def test_unix_client_with_plain_server(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        with plain_server(listener, UNIX.turns) as heard:
            done = client(UNIX.client, path, UNIX.typed, tmp_path)
    assert (done.stdout, heard) == (UNIX.printed, [question for question, _ in UNIX.turns])


# -- datagrams --


@pytest.mark.parametrize("name", ["udp", "unix_datagram"])
def test_datagram_client_with_server(name: str, tmp_path: Path) -> None:
    with serving(f"{name}_server.py", tmp_path) as server:
        done = client(f"{name}_client.py", server.where, "one\ntwo\n", tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == (b"ONE\nTWO\n", b"", 0)


@pytest.mark.parametrize(("name", "own"), [("udp", ("127.0.0.1", 0)), ("unix_datagram", "")])
def test_plain_datagram_client_with_server(name: str, own: tuple[str, int] | str, tmp_path: Path) -> None:
    family = socket.AF_UNIX if isinstance(own, str) else socket.AF_INET
    with serving(f"{name}_server.py", tmp_path) as server, socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(DEADLINE)
        sock.bind(own)
        sock.sendto(b"x" * 5000, server.address)
        assert sock.recv(65_535) == b"X" * 5000


@pytest.mark.parametrize("name", ["udp", "unix_datagram"])
def test_datagram_client_with_plain_server(name: str, tmp_path: Path) -> None:
    family, own = (socket.AF_INET, ("127.0.0.1", 0)) if name == "udp" else (socket.AF_UNIX, str(tmp_path / "x.sock"))
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(DEADLINE)
        sock.bind(own)
        where = own if isinstance(own, str) else str(sock.getsockname()[1])
        with started(FOLDER / f"{name}_client.py", where, cwd=tmp_path) as process:
            tell(process, "zwölf\n")
            data, sender = sock.recvfrom(65_535)
            sock.sendto(b"at your service", sender)
            assert (data.decode(), line_of(process.stdout)) == ("zwölf", "at your service")


# -- the same programs on the standard library --

DROP_IN = [
    name
    for name in NAMES
    if "from portside import socketserver" in (FOLDER / name).read_text(encoding="utf-8")
    and not re.search("chat|xmlrpc", name)
]
CLIENTS = {"udp_server.py": "udp", "time_server.py": "time", "tls_server.py": "tls"} | {
    f"unix_{kind}_server.py": f"unix_{kind}" for kind in ("stream", "datagram")
}


@pytest.mark.parametrize("name", DROP_IN)
def test_only_the_import_differs(name: str, tmp_path: Path, elsewhere: Path) -> None:
    """Our clients with the standard library's servers: the example, with its import changed back."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    standard = elsewhere / name
    standard.write_text(text.replace("from portside import socketserver", "import socketserver"), encoding="utf-8")
    own = CLIENTS.get(name, "echo")
    with serving(name, tmp_path, command=standard) as server:
        done = client(f"{own}_client.py", server.where, "hello\n", tmp_path)
    assert (done.stderr, done.returncode) == (b"", 0)
    assert timeless(done.stdout) in (b"hello\n", b"HELLO\n", NOW + b" hello\n")


def test_xml_rpc_on_our_classes(tmp_path: Path) -> None:
    with serving("xmlrpc_server.py", tmp_path) as server:
        done = client("xmlrpc_client.py", server.where, "", tmp_path)
    assert (done.stdout, done.stderr) == (b"2 + 3 = 5\nserved by portside.servers\n", b"")


def test_xml_rpc_on_the_standard_librarys(tmp_path: Path) -> None:
    with serving("xmlrpc_server.py", tmp_path, command=FOLDER / "xmlrpc_server.py") as server:
        done = client("xmlrpc_client.py", server.where, "", tmp_path)
    assert (done.stdout, done.stderr) == (b"2 + 3 = 5\nserved by socketserver\n", b"")


# -- how they end --

ENDS_BY_ITSELF = "http_hello.py"  # started and stopped from a program
SERVERS = [name for name in NAMES if "_client" not in name and name != ENDS_BY_ITSELF]
EMBEDDED = ["embed_asyncio.py", "embed_gevent.py"]
CHATS = ["chat_many_server.py", "chat_relay_server.py"]
MODERN = [*CHATS, "proxy_server.py", "remote_execution_server.py", "upload_server.py", *EMBEDDED]  # drain and return
POOLS = ["echo_pool_processes.py", "echo_pool_threads.py"]
KEEP_SIGTERM = [*MODERN, "echo_pool_processes.py"]  # which has to end its children
SIDE_BY_SIDE = [talk for talk in TALKS if re.search("embed|forking|threading|pool|remote|upload", talk.server)]


def ends_quietly(errors: str) -> bool:
    return errors == "" or (errors.count("Traceback") == 1 and errors.endswith("KeyboardInterrupt\n"))


def await_pool(server: Server) -> None:
    """Until all workers of a pool serve: one that begins after the end would say that the server is closed."""
    with ExitStack() as stack:
        clients = [stack.enter_context(plain(server.address)) for _ in range(16)]
        assert all(map(answers, clients))


def is_gone(process: Process) -> bool:
    """True when nothing is left of its session."""
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("name", SERVERS)
def test_ends_by_interrupt(name: str, tmp_path: Path) -> None:
    with serving(name, tmp_path) as server:
        if name in POOLS:
            await_pool(server)
        code, errors = server.end(signal.SIGINT, group=True)
        assert (code, ends_quietly(errors)) == (0 if name in MODERN else -signal.SIGINT, True), errors
        assert wait_until(partial(is_gone, server.process))
    assert not list(tmp_path.glob("*.sock"))


@pytest.mark.parametrize("name", SERVERS)
def test_ends_by_sigterm(name: str, tmp_path: Path) -> None:
    with serving(name, tmp_path) as server:
        assert server.end(signal.SIGTERM) == (0 if name in KEEP_SIGTERM else -signal.SIGTERM, "")
        assert wait_until(partial(is_gone, server.process))
    if "unix" in name:  # the file is left, and replaced by the next
        with serving(name, tmp_path):
            pass


@pytest.mark.parametrize("talk", SIDE_BY_SIDE, ids=lambda talk: talk.server)
def test_silent_client_does_not_hold_up_the_end(talk: Talk, tmp_path: Path) -> None:
    with serving(talk.server, tmp_path) as server, plain(server.address) as sock:
        say(sock, talk.turns)
        with plain(server.address) as another:  # once it is answered, nothing of the first is left to do but wait
            say(another, talk.turns[:1])
        code, errors = server.end(signal.SIGINT)
        assert (code, ends_quietly(errors)) == (0 if talk.server in MODERN else -signal.SIGINT, True), errors
        assert sock.recv(1) == b""
        assert wait_until(partial(is_gone, server.process))


# -- concurrency --


def answers(sock: socket.socket) -> bool:
    return say(sock, ((b"hello\n", b"hello\n"),)) == [(b"hello\n", b"hello\n")]


@pytest.mark.parametrize("name", ["echo_forking.py", "echo_threading.py"])
def test_two_at_once(name: str, tmp_path: Path) -> None:
    with serving(name, tmp_path) as server:
        process = psutil.Process(server.process.pid)
        with plain(server.address) as first, plain(server.address) as second:
            assert answers(first)
            assert answers(second)
            assert len(process.children()) == (2 if "forking" in name else 0)
        assert wait_until(lambda: not process.children())


@pytest.mark.parametrize("name", POOLS)
def test_pool_has_sixteen_workers(name: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(serving(name, tmp_path))
        first, *others = [stack.enter_context(plain(server.address)) for _ in range(16)]
        assert all(map(answers, [first, *others]))
        late = stack.enter_context(plain(server.address))
        late.sendall(b"hello\n")
        assert select.select([late], [], [], 0.3) == ([], [], [])
        first.close()
        assert read_exactly(late, 6) == b"hello\n"


# -- one aspect each --


@pytest.mark.parametrize("name", ["options_before_binding.py", "options_in_class.py", "echo_stream.py"])
def test_starts_again_at_once(name: str, tmp_path: Path) -> None:
    """A server that ended first leaves its port in TIME_WAIT: only one with SO_REUSEADDR can have it again."""
    with serving(name, tmp_path) as server, plain(server.address) as sock:
        assert answers(sock)
        server.end(signal.SIGINT)
        assert sock.recv(1) == b""
    if "options" in name:
        with serving(name, tmp_path, server.where):
            return
    with started(FOLDER / name, server.where, cwd=tmp_path) as process:
        _, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, b"in use" in errors) == (1, True)


def test_time_out_is_told(tmp_path: Path) -> None:
    with serving("echo_tuned.py", tmp_path) as server, plain(server.address) as sock:
        sock.settimeout(SECONDS)
        assert answers(sock)
        assert sock.recv(1) == b""
        assert re.fullmatch(r"\('127\.0\.0\.1', \d+\) timed out", line_of(server.process.stdout))


def test_one_request_and_no_more(tmp_path: Path) -> None:
    with serving("one_request.py", tmp_path) as server:
        client("echo_client.py", server.where, "hello\n", tmp_path)
        assert server.process.wait(SECONDS) == 0


def test_no_request_in_time(tmp_path: Path) -> None:
    with serving("one_request.py", tmp_path, "0", "0.1") as server:
        output, errors = server.process.communicate(timeout=SECONDS)
        assert (output, errors, server.process.returncode) == (b"nobody came within 0.1 s\n", b"", 0)


def test_outer_select_watches_the_keyboard_too(tmp_path: Path) -> None:
    with serving("outer_select.py", tmp_path) as server:
        with plain(server.address) as sock:
            assert answers(sock)
        output, errors = server.process.communicate(b"enough\n", timeout=SECONDS)
        assert (output, errors, server.process.returncode) == (b"", b"", 0)


def test_access_is_controlled(tmp_path: Path) -> None:
    with serving("access_control.py", tmp_path) as server:
        with socket.create_connection(("127.0.0.1", int(server.where)), DEADLINE, ("127.0.0.2", 0)) as stranger:
            assert stranger.recv(1) == b""
        with plain(server.address) as friend:
            assert answers(friend)
    with (
        serving("access_control.py", tmp_path, "0", "127.0.0.2/31") as server,
        socket.create_connection(("127.0.0.1", int(server.where)), DEADLINE, ("127.0.0.2", 0)) as friend,
    ):
        assert answers(friend)


def test_tls(tmp_path: Path) -> None:
    with serving("tls_server.py", tmp_path) as server, plain(server.address) as silent:
        with plain(server.address) as confused:
            confused.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with suppress(ConnectionResetError):
                assert read_exactly(confused, 1000)[:1] in (b"", b"\x15")  # the end, or an alert before it
        done = client("tls_client.py", server.where, ECHO.typed, tmp_path)
        assert (done.stdout, done.stderr, done.returncode) == (ECHO.printed, b"", 0)
        context = ssl.create_default_context(cafile=tmp_path / "certificate.pem")
        with context.wrap_socket(silent, server_hostname="localhost") as patient:
            assert answers(patient)


# -- chat --


def test_chat_of_two(tmp_path: Path) -> None:
    with (
        serving("chat_pair_server.py", tmp_path) as server,
        started(FOLDER / "chat_pair_client.py", server.where, cwd=tmp_path) as peer,
    ):
        for number in range(3):
            tell(peer, f"how is {number}?\n")
            assert line_of(server.process.stdout) == f"how is {number}?"
            tell(server.process, f"well, {number}\n")
            assert line_of(peer.stdout) == f"well, {number}"
        tell(peer, "bye\n")
        assert line_of(server.process.stdout) == "bye"
        tell(server.process, "exit\n")
        assert (line_of(peer.stdout), peer.wait(SECONDS)) == ("exit", 0)


def test_exit_ends_a_chat_of_two(tmp_path: Path) -> None:
    with serving("chat_pair_server.py", tmp_path) as server, plain(server.address) as peer:
        peer.sendall(b"exit\n")
        assert peer.recv(1) == b""


def test_chat_of_two_outlives_a_peer_that_vanishes(tmp_path: Path) -> None:
    with serving("chat_pair_server.py", tmp_path) as server:
        with started(FOLDER / "chat_pair_client.py", server.where, cwd=tmp_path) as first:
            tell(first, "hello\n")
            assert line_of(server.process.stdout) == "hello"
            first.kill()
            first.wait(SECONDS)
        with plain(server.address) as second:
            tell(server.process, "are you there?\nhello, second\n")
            assert say(second, ((b"hi\n", b"hello, second\n"),)) == [(b"hi\n", b"hello, second\n")]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("chat_pair", "the other side has gone"),
        ("chat_many", "the chat has gone"),
        ("remote_execution", "the server has gone"),
    ],
)
def test_client_is_told_that_the_server_vanished(name: str, says: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)
        with started(FOLDER / f"{name}_client.py", str(listener.getsockname()[1]), cwd=tmp_path) as process:
            sock, _ = listener.accept()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
            tell(process, "hello\n")
            with sock:
                sock.settimeout(DEADLINE)
                assert sock.recv(1)
            assert line_of(process.stderr) == says
            assert process.wait(SECONDS) == 1


@contextmanager
def members(server: Server, count: int, cwd: Path) -> Iterator[list[Process]]:
    """Chat clients, each of which has seen the later ones come."""
    with ExitStack() as stack:
        found: list[Process] = []
        for _ in range(count):
            command = FOLDER / "chat_many_client.py"
            found.append(stack.enter_context(started(command, server.where, cwd=cwd)))
            assert line_of(found[-1].stdout) == f"welcome: you are one of {len(found)}"
            assert all(line_of(each.stdout).endswith(" has come") for each in found[:-1])
        yield found


@pytest.mark.parametrize("chat", CHATS)
def test_chat_of_many(chat: str, tmp_path: Path) -> None:
    with serving(chat, tmp_path) as server, members(server, 3, tmp_path) as (ann, bob, cem):
        tell(bob, "grüß euch\n")
        assert [re.sub(r"^.*:\d+: ", "", line_of(each.stdout)) for each in (ann, cem)] == ["grüß euch"] * 2
        tell(cem, "exit\n")
        assert [line_of(each.stdout).endswith(" has left") for each in (ann, bob)] == [True, True]
        assert cem.wait(SECONDS) == 0
        tell(ann, "still here?\n")
        assert line_of(bob.stdout).endswith(": still here?")  # and not what it said itself


@pytest.mark.parametrize("chat", CHATS)
def test_chat_of_many_outlives_a_member_that_is_killed(chat: str, tmp_path: Path) -> None:
    with serving(chat, tmp_path) as server, members(server, 3, tmp_path) as (ann, bob, cem):
        cem.kill()
        assert [line_of(each.stdout).endswith(" has left") for each in (ann, bob)] == [True, True]
        tell(ann, "just us\n")
        assert line_of(bob.stdout).endswith(": just us")
        assert server.end(signal.SIGTERM) == (0, "")


@pytest.mark.parametrize("chat", CHATS)
def test_chat_of_many_sends_away_who_does_not_read(chat: str, tmp_path: Path) -> None:
    with serving(chat, tmp_path) as server, ExitStack() as stack:
        reader = stack.enter_context(plain(server.address))
        lines = stack.enter_context(reader.makefile("rb"))
        assert lines.readline() == b"welcome: you are one of 1\n"
        deaf, speaker = (come(stack, server, lines) for _ in range(2))
        for _ in range(20_000):
            speaker.sendall(b"x" * 4000 + b"\n")
            if (line := lines.readline()).endswith(b" has left\n"):
                break
        assert line == "{}:{} has left\n".format(*deaf.getsockname()).encode()


def come(stack: ExitStack, server: Server, lines: IO[bytes]) -> socket.socket:
    """Another member, whom the one who reads `lines` has seen come."""
    sock = stack.enter_context(plain(server.address))
    assert lines.readline().endswith(b" has come\n")
    return sock


@pytest.mark.parametrize("chat", CHATS)
def test_chat_line_too_long_ends_one_conversation(chat: str, tmp_path: Path) -> None:
    with serving(chat, tmp_path) as server, ExitStack() as stack:
        reader = stack.enter_context(plain(server.address))
        lines = stack.enter_context(reader.makefile("rb"))
        assert lines.readline() == b"welcome: you are one of 1\n"
        come(stack, server, lines).sendall(b"x" * 10_000)
        assert lines.readline().endswith(b" has left\n")
        come(stack, server, lines).sendall(b"hello\n")
        assert lines.readline().endswith(b": hello\n")


# -- the proxy --


def test_proxy_passes_on_what_both_say(tmp_path: Path) -> None:
    with (
        serving("echo_threading.py", tmp_path) as behind,
        serving("proxy_server.py", tmp_path, "0", f"tcp://localhost:{behind.where}") as server,
        ExitStack() as stack,
    ):
        clients = [stack.enter_context(plain(server.address)) for _ in range(20)]
        assert all(map(answers, clients))
        clients[0].shutdown(socket.SHUT_WR)
        assert clients[0].recv(1) == b""
        behind.end(signal.SIGKILL)
        assert [each.recv(1) for each in clients[1:]] == [b""] * 19


def test_proxy_moves_much_both_ways(tmp_path: Path) -> None:
    content = os.urandom(4 * 1024**2)

    def send(sock: socket.socket) -> None:
        for line in content.hex("\n", 1024).encode().splitlines(keepends=True):
            sock.sendall(line)
        sock.shutdown(socket.SHUT_WR)

    with (
        serving("echo_threading.py", tmp_path) as behind,
        serving("proxy_server.py", tmp_path, "0", f"tcp://127.0.0.1:{behind.where}") as server,
        plain(server.address) as sock,
    ):
        thread = threading.Thread(target=send, args=(sock,))
        thread.start()
        received = read_exactly(sock, 10**9)
        thread.join(SECONDS)
    assert bytes.fromhex(received.decode().replace("\n", "")) == content


def test_proxy_without_a_server_behind_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with serving("proxy_server.py", tmp_path, "0", f"tcp://127.0.0.1:{port}") as server, plain(server.address) as sock:
        assert sock.recv(1) == b""


# -- remote execution --


@contextmanager
def shell(tmp_path: Path) -> Iterator[Callable[[bytes], bytes]]:
    """A plain socket that runs command lines on the server."""
    with serving("remote_execution_server.py", tmp_path) as server, plain(server.address) as sock:

        def run(command: bytes) -> bytes:
            sock.sendall(long_frames(command))
            return read_exactly(sock, struct.unpack(">Q", read_exactly(sock, 8))[0])

        yield run


@pytest.mark.parametrize("size", [0, 1, 65_536, 20_000_000])
def test_output_of_any_size_arrives_whole(size: int, tmp_path: Path) -> None:
    with shell(tmp_path) as run:
        assert run(f"head -c {size} /dev/zero".encode()) == bytes(size)
        assert run(f"head -c {size} /dev/zero >&2; false".encode()) == bytes(size)
        assert run(b"echo next") == b"next\n"


def test_command_that_leaves_something_behind(tmp_path: Path) -> None:
    with shell(tmp_path) as run:
        assert run(b"sleep 60 & echo done") == b"done\n"


def test_command_that_reads_its_input(tmp_path: Path) -> None:
    with shell(tmp_path) as run:
        assert run(b"cat; echo done") == b"done\n"


def test_command_that_cannot_be_run(tmp_path: Path) -> None:
    with shell(tmp_path) as run:
        assert run(b"echo \0") == b"this cannot be run: embedded null byte\n"
        assert b"not found" in run(b"no-such-command")
        assert run(b"echo next") == b"next\n"


def test_remote_execution_warns() -> None:
    assert "WARNING: whoever connects can run any command" in (FOLDER / "remote_execution_server.py").read_text()


# -- upload --


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 300_000])
def test_upload_arrives_whole(size: int, tmp_path: Path, elsewhere: Path) -> None:
    content = os.urandom(size)
    (tmp_path / "a file.bin").write_bytes(content)
    with serving("upload_server.py", elsewhere) as server:
        done = client("upload_client.py", server.where, "post|a file.bin\n", tmp_path)
        assert (done.stdout, done.stderr) == (b"> a file.bin: stored\n> ", b"")
    assert stored(elsewhere) == {"a file.bin": content}


def stored(folder: Path) -> dict[str, bytes]:
    """Everything that lies in the server's folder, hidden files too."""
    return {each.name: each.read_bytes() for each in (folder / "uploads").iterdir()}


def test_upload_does_not_fill_memory(tmp_path: Path, elsewhere: Path) -> None:
    size = 64 * 1024**2
    with (tmp_path / "large").open("wb") as file:
        file.truncate(size)
    with serving("upload_server.py", elsewhere) as server:
        done = client("upload_client.py", server.where, "post|large\n", tmp_path)
        assert done.stdout == b"> large: stored\n> "
        status = Path(f"/proc/{server.process.pid}/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak
    assert int(peak[1]) * 1024 < size
    assert (elsewhere / "uploads" / "large").stat().st_size == size


def test_upload_tells_what_failed(tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / "twice").write_bytes(b"x")
    (tmp_path / ".hidden").write_bytes(b"x")
    typed = "post|twice\npost|twice\npost|.hidden\npost|missing\npost|.\nget|twice\npost|\n\n"
    with serving("upload_server.py", elsewhere) as server:
        done = client("upload_client.py", server.where, typed, tmp_path)
    assert done.stdout.decode().splitlines() == [
        "> twice: stored",
        "> twice: refused: there is such a file already",
        "> .hidden: refused: this is no name for a file",
        "> missing: failed: [Errno 2] No such file or directory: 'missing'",
        "> .: failed: [Errno 21] Is a directory: '.'",
        "> type post|path",
        "> type post|path",
        "> type post|path",
        "> ",
    ]
    assert stored(elsewhere) == {"twice": b"x"}


@pytest.mark.parametrize(
    "header",
    [
        b"1 ../escaped",
        b"1 /tmp/escaped",
        b"1 a/b",
        b"1 ..",
        b"1 .",
        b"1 ",
        b"1",
        b"",
        b"-1 file",
        b"many file",
        b"9999999999999 file",
        b"1 \0",
        b"1 \xff",
        b"1 " + b"x" * 300,
    ],
)
def test_upload_is_refused(header: bytes, tmp_path: Path) -> None:
    with serving("upload_server.py", tmp_path) as server, plain(server.address) as sock:
        sock.sendall(frames(header))
        assert read_exactly(sock, 13)[4:] == b"refused: "
        while sock.recv(4096):
            continue
    assert stored(tmp_path) == {}
    assert [each.name for each in tmp_path.iterdir()] == ["uploads"]


@pytest.mark.parametrize("sent", [b"", frames(b"half"), frames(b"half")[:-1], frames(b"too much by far")])
def test_partial_upload_leaves_no_file(sent: bytes, tmp_path: Path) -> None:
    with serving("upload_server.py", tmp_path) as server:
        with plain(server.address) as sock:
            assert say(sock, ((frames(b"10 file"), frames(b"ready")),))[0][1] == frames(b"ready")
            assert wait_until(lambda: stored(tmp_path) != {})  # the part, which is not there for good
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)
            assert b"refused: " in read_exactly(sock, 1000)
        assert wait_until(lambda: stored(tmp_path) == {})
        assert server.end(signal.SIGTERM) == (0, "")


def test_upload_whose_client_is_killed_leaves_no_file(tmp_path: Path, elsewhere: Path) -> None:
    os.mkfifo(tmp_path / "endless")
    with serving("upload_server.py", elsewhere) as server, plain(server.address) as sock:
        assert say(sock, ((frames(b"10 file"), frames(b"ready")),))[0][1] == frames(b"ready")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        assert wait_until(lambda: stored(elsewhere) == {})
        with plain(server.address) as second:
            assert say(second, TALKS[-1].turns) == list(TALKS[-1].turns)


# -- their shape --


@pytest.mark.parametrize("name", NAMES)
def test_is_short_and_says_how_to_run_it(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) < LINES
    docstring = text.split('"""')[1]
    assert re.search(rf"python (-m portside\.compat )?examples/{name}\b", docstring)
    assert set(re.findall(r"examples/(\w+\.py)", docstring)) <= set(NAMES)


def test_readme_lists_every_example_and_no_other() -> None:
    listed = re.findall(r"\w+\.py", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert set(listed) == set(NAMES)
