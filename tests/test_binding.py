"""Binding: what a socket file is opened to, when one is replaced, and what the system's refusals say."""

import contextlib
import errno
import fcntl
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from portside import binding
from portside.binding import UnixFile, bind_inet, bind_unix, dial, explain_bind_error, unlink_unix

STREAM = socket.SOCK_STREAM
DATAGRAM = socket.SOCK_DGRAM
ROUNDS = 30  # of the race; without the lock, or without listening inside it, every run found two winners in fewer


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path leaves room in the 108 bytes of a socket address, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="ps-") as path:
        yield Path(path)


@pytest.fixture
def path(folder: Path) -> str:
    return str(folder / "s")


@pytest.fixture(params=[STREAM, DATAGRAM], ids=["stream", "datagram"])
def sock(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """An unbound Unix socket."""
    with socket.socket(socket.AF_UNIX, request.param) as sock:
        yield sock


@pytest.fixture
def second(sock: socket.socket) -> Iterator[socket.socket]:
    """Another one of the same type."""
    with socket.socket(sock.family, sock.type) as second:
        yield second


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode_of(path: str) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def leave_stale(path: str, kind: socket.SocketKind) -> None:
    """What a killed server leaves behind."""
    with socket.socket(socket.AF_UNIX, kind) as dead:
        dead.bind(path)


# Modes


@pytest.mark.parametrize("mask", [0, 0o077, 0o777])
@pytest.mark.parametrize("mode", [0o660, 0o600, 0o777, 0])
def test_file_is_never_open_to_more_than_its_mode(
    mode: int, mask: int, sock: socket.socket, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    chmod = os.chmod

    def watched(name: str, wanted: int) -> None:
        seen.append(mode_of(name))
        chmod(name, wanted)

    monkeypatch.setattr(os, "chmod", watched)
    with umask(mask):
        bind_unix(sock, path, mode=mode)
    assert seen == [mode & ~mask]
    assert mode_of(path) == mode


@pytest.mark.parametrize("mask", [0, 0o077])
def test_file_without_a_mode_is_what_the_umask_leaves(mask: int, sock: socket.socket, path: str) -> None:
    with umask(mask):
        bind_unix(sock, path, mode=None)
    assert mode_of(path) == 0o777 & ~mask


def refuse(*_args: object) -> None:
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def test_system_that_cannot_chmod_a_socket_uses_the_umask(
    sock: socket.socket, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fchmod", refuse)
    monkeypatch.setattr(os, "chmod", lambda *_args: None)
    with umask(0):
        bind_unix(sock, path, mode=0o640)
        assert mode_of(path) == 0o640
        assert os.umask(0) == 0


# Files that are there already


def test_stale_file_is_replaced(sock: socket.socket, path: str) -> None:
    leave_stale(path, sock.type)
    bind_unix(sock, path, mode=None)
    dial(path, family=socket.AF_UNIX, kind=sock.type, timeout=10).close()


@pytest.mark.parametrize("left", [STREAM, DATAGRAM])
def test_stale_file_of_either_type_is_replaced(left: socket.SocketKind, sock: socket.socket, path: str) -> None:
    leave_stale(path, left)
    assert bind_unix(sock, path, mode=None) is not None


def test_live_file_is_left_alone(sock: socket.socket, second: socket.socket, path: str) -> None:
    bind_unix(sock, path, mode=None)
    before = os.lstat(path).st_ino
    with pytest.raises(OSError, match=r"is in use: another program listens there .*ss -lxp.*; stop it") as caught:
        bind_unix(second, path, mode=None)
    assert caught.value.errno == errno.EADDRINUSE
    assert os.lstat(path).st_ino == before


def test_live_file_of_the_other_type_is_left_alone(path: str) -> None:
    with socket.socket(socket.AF_UNIX, DATAGRAM) as live, socket.socket(socket.AF_UNIX, STREAM) as late:
        bind_unix(live, path, mode=None)
        with pytest.raises(OSError, match="is in use"):
            bind_unix(late, path, mode=None)


def test_server_with_a_full_backlog_is_alive(path: str) -> None:
    with contextlib.ExitStack() as stack:
        server, client, late = (stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(3))
        server.bind(path)
        server.listen(0)
        client.connect(path)
        with pytest.raises(OSError, match="is in use"):
            bind_unix(late, path, mode=None)


def test_stream_listens_before_the_lock_is_released(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    locked_directory = binding._locked_directory
    answers = []

    @contextlib.contextmanager
    def watched(name: str) -> Iterator[None]:
        with locked_directory(name):
            yield
            with socket.socket(socket.AF_UNIX) as client:
                answers.append(client.connect_ex(name))

    monkeypatch.setattr(binding, "_locked_directory", watched)
    with socket.socket(socket.AF_UNIX) as server:
        bind_unix(server, path, mode=None)
    assert answers == [0]


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("elsewhere")])
def test_what_is_no_socket_is_left_alone(make: object, sock: socket.socket, path: str) -> None:
    assert callable(make)
    make(Path(path))
    before = os.lstat(path)
    with pytest.raises(OSError, match="would replace a file that is no socket; remove it") as caught:
        bind_unix(sock, path, mode=None)
    assert caught.value.errno == errno.EADDRINUSE
    assert os.lstat(path) == before


def test_file_that_vanishes_after_the_probe_is_no_error(
    sock: socket.socket, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_stale(path, sock.type)
    unlink = os.unlink
    monkeypatch.setattr(os, "unlink", lambda name: (unlink(name), unlink(name)))
    assert bind_unix(sock, path, mode=None) is not None


def test_bytes_and_relative_paths_are_paths(sock: socket.socket, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    file = bind_unix(sock, b"s", mode=0o600)
    assert file is not None
    assert file.path == str(folder / "s")
    monkeypatch.chdir("/")
    assert unlink_unix(file)


def test_abstract_name_has_no_file(sock: socket.socket, second: socket.socket) -> None:
    name = f"\0portside-{os.getpid()}"
    assert bind_unix(sock, name, mode=None) is None
    with pytest.raises(OSError) as caught:
        bind_unix(second, name.encode(), mode=None)
    assert "choose another" in str(explain_bind_error(caught.value, "unix:@portside"))


def test_path_may_fill_the_address_and_no_more(sock: socket.socket, second: socket.socket, folder: Path) -> None:
    longest = f"{folder}/".ljust(binding._PATH_LIMIT - 1, "x")
    assert bind_unix(sock, longest, mode=None) is not None
    with pytest.raises(OSError, match="is too long: 108 bytes where 107 are accepted; choose a shorter") as caught:
        bind_unix(second, f"{longest}x", mode=None)
    assert caught.value.errno == errno.ENAMETOOLONG


# The lock


def test_directory_that_stays_locked_is_told_so(
    sock: socket.socket, folder: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binding, "_LOCK_LIMIT", 0.02)
    holder = os.open(folder, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(TimeoutError, match="waits for its directory"):
        bind_unix(sock, path, mode=None)
    os.close(holder)
    assert bind_unix(sock, path, mode=None) is not None


RACER = """
import socket, sys
from portside.binding import bind_unix
for line in sys.stdin:
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            bind_unix(sock, line.strip(), mode=0o600)
            print("won", flush=True)
        except OSError as error:
            print(error.errno, flush=True)
        sys.stdin.readline()
"""


@contextlib.contextmanager
def racer() -> Iterator[subprocess.Popen[str]]:
    """A process that binds the path of one line and lets go of it at the next."""
    command = [sys.executable, "-c", RACER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        yield process
        process.stdin.close()


def tell(processes: list[subprocess.Popen[str]], line: str) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{line}\n")


def answers(processes: list[subprocess.Popen[str]]) -> list[str]:
    return sorted(process.stdout.readline().strip() for process in processes if process.stdout is not None)


def test_of_two_starters_one_wins(folder: Path) -> None:
    with racer() as first, racer() as second:
        for number in range(ROUNDS):
            path = str(folder / str(number))
            leave_stale(path, STREAM)
            tell([first, second], path)
            assert answers([first, second]) == [str(errno.EADDRINUSE), "won"]
            tell([first, second], "")


# Removing the file


def test_own_file_is_removed(sock: socket.socket, path: str) -> None:
    file = bind_unix(sock, path, mode=None)
    assert unlink_unix(file)
    assert not os.path.lexists(path)
    assert not unlink_unix(file)


def test_file_of_the_next_server_is_left_alone(sock: socket.socket, second: socket.socket, path: str) -> None:
    file = bind_unix(sock, path, mode=None)
    os.unlink(path)
    bind_unix(second, path, mode=None)
    assert not unlink_unix(file)
    assert os.path.exists(path)


def test_no_file_and_no_folder_are_no_error(path: str) -> None:
    assert not unlink_unix(None)
    assert not unlink_unix(UnixFile(path=f"{path}/none", device=0, inode=0))


# TCP and UDP


@pytest.mark.parametrize("is_set", [True, False])
def test_reuse_options_are_set_when_asked_for(is_set: bool) -> None:
    with socket.socket() as sock:
        bind_inet(sock, ("127.0.0.1", 0), reuse_address=is_set, reuse_port=is_set, dual_stack=True)
        assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)) is is_set
        assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)) is is_set


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("is_dual", [True, False])
def test_dual_stack_opens_an_ipv6_socket_to_both(is_dual: bool) -> None:
    with socket.socket(socket.AF_INET6) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bind_inet(sock, ("::", 0), reuse_address=True, reuse_port=False, dual_stack=is_dual)
        assert bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)) is not is_dual


def test_reuse_port_that_does_not_exist_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    with socket.socket() as sock, pytest.raises(OSError, match="this system lacks; leave it out") as caught:
        bind_inet(sock, ("127.0.0.1", 0), reuse_address=False, reuse_port=True, dual_stack=False)
    assert caught.value.errno == errno.ENOPROTOOPT


def test_numeric_host_never_asks_the_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "getaddrinfo")
    monkeypatch.delattr(socket, "getfqdn")
    with socket.socket() as sock:
        bind_inet(sock, ("127.0.0.1", 0), reuse_address=False, reuse_port=False, dual_stack=False)


# What the system refuses


def refused(address: tuple[str, int]) -> OSError:
    with socket.socket() as sock, pytest.raises(OSError) as caught:
        bind_inet(sock, address, reuse_address=False, reuse_port=False, dual_stack=False)
    return caught.value


def test_address_in_use_says_how_to_find_the_user() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        error = explain_bind_error(refused(server.getsockname()), "tcp://127.0.0.1:1")
    assert error.errno == errno.EADDRINUSE
    assert "tcp://127.0.0.1:1 is in use: another program listens there (find it with `ss -lntup`)" in str(error)


def test_foreign_address_says_where_the_own_ones_are() -> None:
    error = explain_bind_error(refused(("192.0.2.1", 0)), "tcp://192.0.2.1:0")
    assert "is no address of this machine: choose one that `ip address` lists" in str(error)


@pytest.mark.parametrize(
    ("number", "text", "kind", "said"),
    [
        (errno.EACCES, "tcp://127.0.0.1:80", PermissionError, "needs rights: use a port from 1024 up, or grant"),
        (errno.EACCES, "unix:/run/a", PermissionError, "cannot be made: this process must be able to read and write"),
        (errno.ENOENT, "unix:/none/a", FileNotFoundError, "its directory does not exist; create that first"),
        (errno.ENOBUFS, "udp://:5", OSError, "cannot be bound (No buffer space available): choose another address"),
    ],
)
def test_refusal_keeps_class_and_number_and_says_what_to_do(
    number: int, text: str, kind: type[OSError], said: str
) -> None:
    error = explain_bind_error(OSError(number, os.strerror(number)), text)
    assert (type(error), error.errno) == (kind, number)
    assert f"{text} " in str(error)
    assert said in str(error)


def test_unknown_name_stays_a_resolver_error() -> None:
    error = explain_bind_error(socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "tcp://none:1")
    assert isinstance(error, socket.gaierror)
    assert "tcp://none:1 cannot be bound (Name or service not known)" in str(error)


@pytest.mark.parametrize("error", [OSError("AF_UNIX path too long"), OSError(errno.EADDRINUSE, "all is said")])
def test_error_with_more_to_say_is_left_as_it_is(error: OSError) -> None:
    assert explain_bind_error(error, "tcp://:1") is error


def test_missing_folder_is_told(sock: socket.socket, folder: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        bind_unix(sock, str(folder / "none" / "s"), mode=None)
    assert "create that first" in str(explain_bind_error(caught.value, "unix:none/s"))
