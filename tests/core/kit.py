"""What the core's tests share: pairs of sockets, one of them green, and places to run a scenario in."""

import contextlib
import fcntl
import socket
import struct
import termios
import threading
from collections.abc import Callable, Iterator
from typing import Any

from portside.core import hub
from portside.core.sockets import GreenSocket
from tests.conftest import DEADLINE


def green(plain: socket.socket) -> GreenSocket:
    """A green socket in the place of a plain one."""
    return GreenSocket(fileno=plain.detach())


@contextlib.contextmanager
def pair(family: int = socket.AF_UNIX) -> Iterator[tuple[GreenSocket, socket.socket]]:
    """A green socket and the plain one that it is connected to, both with a deadline."""
    ours, theirs = socket.socketpair() if family == socket.AF_UNIX else tcp_pair()
    with green(ours) as mine, theirs:
        mine.settimeout(DEADLINE)
        theirs.settimeout(DEADLINE)
        yield mine, theirs


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two plain sockets that are connected over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), DEADLINE)
        return listener.accept()[0], client


def unread(sock: socket.socket) -> int:
    """Bytes that the kernel holds for a socket (FIONREAD)."""
    answer: int = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)))[0]
    return answer


def fill(sock: socket.socket) -> int:
    """Send until the kernel takes no more; returns how many bytes it took."""
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += sock.send(bytes(4096), socket.MSG_DONTWAIT)
    return sent


def spawn(function: Callable[..., Any], *arguments: Any) -> hub.Task:
    """Run a function in another task of the running hub."""
    running = hub.running_hub()
    assert running is not None
    return running.spawn(function, *arguments)


def in_task(function: Callable[[], Any]) -> Any:
    """Run in a task of a hub of this thread's."""
    return hub.run(function)


def in_thread(function: Callable[[], Any]) -> Any:
    """Run in a plain thread; returns or raises what it does."""
    outcome: list[Any] = []
    error: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(function())
        except BaseException as caught:
            error.append(caught)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    assert not thread.is_alive(), "the thread waits for ever"
    if error:
        raise error[0]
    return outcome[0]
