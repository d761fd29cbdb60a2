"""Servers of either face in the background, and clients that misbehave."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from portside.engines.asynchronous import new_event_loop
from tests.conftest import DEADLINE, TICK, wait_until

S = TypeVar("S")

LOOPBACK = ("127.0.0.1", 0)
_WAITING_CLIENTS = 24  # tcpi_unacked of struct tcp_info (linux/tcp.h): of a listener, the clients not yet accepted
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no seconds: close() sends RST instead of FIN

new_event_loop().close()  # libuv keeps two descriptors from its first loop on, which no test has leaked


def in_background(work: Callable[[], object], name: str = "background") -> threading.Thread:
    """A daemon thread, so that one that hangs keeps nobody."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread


@contextmanager
def serving(server: S, poll_interval: float = 0.5) -> Iterator[S]:
    """Serve in the background for a block's length, then stop and close."""
    served: Any = server
    loop = in_background(lambda: served.serve_forever(poll_interval), "loop")
    try:
        yield server
    finally:
        served.shutdown()
        served.server_close()
        loop.join(DEADLINE)
    assert not loop.is_alive()


def client_of(server: Any) -> socket.socket:
    """A client with a deadline."""
    return dial(server.server_address)


def dial(address: tuple[str, int]) -> socket.socket:
    """A client with a deadline, of a TCP address."""
    return socket.create_connection(address[:2], timeout=DEADLINE)


def answer(server: Any, question: bytes = b"") -> bytes:
    """What a new client reads, to the end, after it has sent its question and the end of its stream."""
    with client_of(server) as client:
        client.sendall(question)
        client.shutdown(socket.SHUT_WR)
        return read_all(client)


def read_all(client: socket.socket) -> bytes:
    """Everything until the end of the stream."""
    with client.makefile("rb") as stream:
        return stream.read()


def reset(client: socket.socket) -> None:
    """Vanish: the peer gets RST."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    client.close()


def waiting_clients(server: Any) -> int:
    """Clients in the system's queue of a TCP listener."""
    info = server.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int.from_bytes(info[_WAITING_CLIENTS : _WAITING_CLIENTS + 4], "little")


def queue_is(server: Any, count: int) -> bool:
    """Wait until that many clients wait in the system's queue."""
    return wait_until(lambda: waiting_clients(server) == count)


def switches(thread: threading.Thread) -> int:
    """How often a thread has gone to sleep: each time it wakes it goes to sleep once more."""
    with open(f"/proc/self/task/{thread.native_id}/status", encoding="ascii") as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines["voluntary_ctxt_switches"])


def asleep(thread: threading.Thread) -> bool:
    """Wait until a thread sleeps in the system, and not only until it is its turn in the interpreter.

    One that waits for the interpreter's lock sleeps too, but not through a pause in which nobody holds that lock.
    """
    return wait_until(lambda: _state(thread) == "S" and _stays_asleep(thread))


def _stays_asleep(thread: threading.Thread) -> bool:
    before = switches(thread)
    threading.Event().wait(TICK)
    return (_state(thread), switches(thread)) == ("S", before)


def _state(thread: threading.Thread) -> str:
    with open(f"/proc/self/task/{thread.native_id}/stat", encoding="ascii") as stat:
        return stat.read().rpartition(")")[2].split()[0]
