"""What plain sockets do without letting go of the interpreter is what they do with it."""

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import DEADLINE

prompt = pytest.importorskip("portside.core.prompt")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a TCP connection, neither of which waits for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        left = socket.create_connection(listener.getsockname(), DEADLINE)
        right = listener.accept()[0]
    with left, right:
        yield left, right


def loopback(folder: Path) -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def loopback6(folder: Path) -> socket.socket:
    return socket.create_server(("::1", 0), family=socket.AF_INET6)


def unix(folder: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "door"))
    listener.listen()
    return listener


@pytest.mark.parametrize("waits", [True, False], ids=["waits", "does-not"])
@pytest.mark.parametrize("listen", [loopback, loopback6, unix])
def test_a_client_comes_in_as_ever(listen: Callable[[Path], socket.socket], waits: bool, tmp_path: Path) -> None:
    with listen(tmp_path) as listener:
        found = []
        for accept in (socket.socket.accept, prompt.accept):
            with socket.socket(listener.family) as client:
                client.connect(listener.getsockname())
                socket_of_kernel(listener, blocking=waits)
                sock, address = accept(listener)
                with sock:
                    assert address == client.getsockname()
                    sock.sendall(b"hello")
                    assert client.recv(5) == b"hello"
                    found.append((type(sock), sock.family, sock.type, sock.proto, sock.gettimeout(), inherits(sock)))
        assert found[0] == found[1]


def socket_of_kernel(sock: socket.socket, *, blocking: bool) -> None:
    """What the kernel thinks of the socket, and Python does not know."""
    os.set_blocking(sock.fileno(), blocking)


def inherits(sock: socket.socket) -> bool:
    return sock.get_inheritable()


def test_nobody_at_the_door() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        socket_of_kernel(listener, blocking=False)
        with pytest.raises(BlockingIOError):
            prompt.accept(listener)
        listener.settimeout(0.01)
        with pytest.raises(TimeoutError):
            prompt.accept(listener)


def test_the_default_timeout_is_the_clients() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        socket_of_kernel(listener, blocking=False)
        with socket.create_connection(listener.getsockname(), DEADLINE):
            socket.setdefaulttimeout(7.5)
            try:
                sock, _ = prompt.accept(listener)
            finally:
                socket.setdefaulttimeout(None)
            with sock:
                assert sock.gettimeout() == 7.5


def test_the_end_is_told(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    prompt.end(right)
    assert left.recv(1) == b""
    with socket.socket() as alone, pytest.raises(OSError, match="not connected"):
        prompt.end(alone)


def test_closed_is_closed(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    right.sendall(b"last")
    for _ in range(2):
        prompt.close(right)
        assert right.fileno() == -1
    assert left.recv(10) == b"last"
    assert left.recv(10) == b""
    with pytest.raises(OSError, match="Bad file descriptor"):
        prompt.end(right)


def test_a_file_keeps_its_socket_open(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    with right.makefile("wb") as file:
        prompt.close(right)
        file.write(b"still here")
        file.flush()
        assert left.recv(20) == b"still here"
    assert left.recv(1) == b""


def test_a_socket_that_lingers_resets(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    right.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    prompt.close(right)
    assert right.fileno() == -1
    with pytest.raises(ConnectionResetError):
        left.recv(1)


def test_what_has_come(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    assert prompt.receive(right) is None
    left.sendall(b"hello")
    assert right.recv(5, socket.MSG_PEEK) == b"hello"
    assert prompt.receive(right) == b"hello"
    left.shutdown(socket.SHUT_WR)
    right.recv(1)  # has seen the end
    assert prompt.receive(right) == b""


@pytest.mark.parametrize("size", [1, 16_384, 16_385, 3_000_000])
def test_pieces_of_any_size_arrive(pair: tuple[socket.socket, socket.socket], size: int) -> None:
    left, right = pair
    send = prompt.Sender(right, right.sendall)
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    received = bytearray()

    def read() -> None:
        while len(received) < 3 * size and (more := left.recv(65_536)):
            received.extend(more)

    reader = threading.Thread(target=read)
    reader.start()
    for piece in (data, memoryview(data), bytes(data)):
        send(piece)
    reader.join(DEADLINE)
    assert bytes(received) == data * 3


def test_what_does_not_fit_waits(pair: tuple[socket.socket, socket.socket]) -> None:
    _, right = pair
    left_over: list[bytes] = []
    send = prompt.Sender(right, lambda rest: left_over.append(bytes(rest)))
    while not left_over:
        send(b"x" * 10_000)
    assert 0 < len(left_over[0]) <= 10_000


def test_a_client_that_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    left.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    left.close()
    with pytest.raises(ConnectionResetError):
        right.recv(1)
    with pytest.raises(BrokenPipeError):
        prompt.Sender(right, right.sendall)(b"hello")
    right.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        prompt.Sender(right, right.sendall)(b"hello")
