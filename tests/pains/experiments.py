"""Programs that show a failing: `python -m tests.pains.experiments NAME MODULE [ARGUMENT...]`, run by `observe`.

Each gets the module that is looked at, the standard library's or ours, and prints what it saw as JSON. They are
processes of their own because the standard library's classes hang in them, or spin, or run out of descriptors.
"""

import asyncio
import functools
import http.server
import importlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.conftest import descriptors, wait_until
from tests.pains.serving import LOOPBACK, answer, asleep, client_of, in_background, read_all, reset

HANG = 2.0  # seconds after which something of the standard library's that takes milliseconds is said to hang
PATIENCE = 20.0  # seconds for what does not hang, on the busiest machine
SPIN = 0.1  # seconds of processor time that no loop takes which sleeps


def is_ours(face: Any) -> bool:
    return bool(face.__name__.startswith("portside."))


def patience(face: Any) -> float:
    """Seconds to wait for what ours does at once, and the standard library's never."""
    return PATIENCE if is_ours(face) else HANG


def fate(thread: threading.Thread, seconds: float) -> str:
    """Whether a thread ends."""
    thread.join(seconds)
    return "hangs" if thread.is_alive() else "ends"


# 1: shutdown()


def _shut_down(request: Any, client_address: Any, server: Any) -> None:
    server.shutdown()


def shutdown_in_the_handler(face: Any, kind: str) -> str:
    server = getattr(face, kind)(LOOPBACK, _shut_down)
    loop = in_background(server.serve_forever)
    with client_of(server):
        return fate(loop, patience(face))


def shutdown_in_service_actions(face: Any) -> str:
    server = face.TCPServer(LOOPBACK, _shut_down)
    server.service_actions = functools.partial(server.shutdown)  # no method of ours
    return fate(in_background(lambda: server.serve_forever(0.01)), patience(face))


def shutdown_before_serving(face: Any) -> str:
    return fate(in_background(face.TCPServer(LOOPBACK, _shut_down).shutdown), patience(face))


def shutdown_in_a_signal_handler(face: Any) -> str:
    server = face.TCPServer(LOOPBACK, _shut_down)
    signal.signal(signal.SIGALRM, lambda *_: server.shutdown())
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    threading.Timer(patience(face), _tell, ["hangs"]).start()
    server.serve_forever(0.05)
    return "ends"


# 3: bounds


def _hold(request: Any, client_address: Any, server: Any) -> None:
    request.sendall(b"!")
    read_all(request)


def shutdown_while_full(face: Any) -> str:
    server = face.ForkingTCPServer(LOOPBACK, _hold)
    server.max_children = 1
    in_background(lambda: server.serve_forever(0.05))
    with client_of(server) as client:
        client.recv(1)
        return fate(in_background(server.shutdown), patience(face))


# 4: no descriptors left


def _echo(request: Any, client_address: Any, server: Any) -> None:
    request.sendall(read_all(request))


def out_of_descriptors(face: Any, kind: str) -> dict[str, Any]:
    """One client while there is no descriptor for it, another one afterwards."""
    server = getattr(face, kind)(LOOPBACK, _echo_async if kind.startswith("Async") else _echo)
    loop = in_background(server.serve_forever)
    assert asleep(loop)
    held = len(descriptors())
    assert answer(server, b"before") == b"before"
    assert wait_until(lambda: len(descriptors()) == held)
    with socket.socket() as client:
        hoard = _take_all_descriptors()
        client.connect(server.server_address)
        busy = _spins(loop, 1.0 if is_ours(face) else PATIENCE)
        turned_away = _reads_end(client, patience(face))
        for descriptor in hoard:
            os.close(descriptor)
    return {"busy": busy, "turned away": turned_away, "afterwards": answer(server, b"after").decode()}


async def _echo_async(request: Any, client_address: Any, server: Any) -> None:
    request.setblocking(False)
    while data := await asyncio.get_running_loop().sock_recv(request, 4096):
        await asyncio.get_running_loop().sock_sendall(request, data)


def _take_all_descriptors() -> list[int]:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    hoard = []
    with suppress(OSError):
        while True:
            hoard.append(os.open(os.devnull, os.O_RDONLY))
    return hoard


def _spins(thread: threading.Thread, seconds: float) -> bool:
    """Whether a thread keeps the processor busy; one that does is found out before the seconds are over."""
    clock = time.pthread_getcpuclockid(thread.ident or 0)
    before = time.clock_gettime(clock)
    return wait_until(lambda: time.clock_gettime(clock) - before > SPIN, seconds)


def _reads_end(client: socket.socket, seconds: float) -> bool:
    client.settimeout(seconds)
    with suppress(TimeoutError):
        return client.recv(1) == b""
    return False


# 5: the end of a connection


def close_beside_an_idle_client(face: Any, kind: str) -> str:
    server = getattr(face, kind)(LOOPBACK, _hold)
    server.drain_timeout = 1.0
    in_background(server.serve_forever)
    with client_of(server) as client:
        client.recv(1)
        server.shutdown()
        return fate(in_background(server.server_close), patience(face))


def end_of_the_program_in_mid_answer(face: Any) -> str:
    """What the client of a program reads that ends while a handler in a daemon thread is at work."""
    half_way = threading.Event()

    def handle(request: Any, client_address: Any, server: Any) -> None:
        request.sendall(b"half")
        half_way.set()
        threading.Event().wait(1 if is_ours(face) else 60)  # 60: until the program has ended
        request.sendall(b"whole")

    server = face.ThreadingTCPServer(LOOPBACK, handle)
    server.daemon_threads = True
    if not os.fork():
        in_background(lambda: server.serve_forever(0.01))
        half_way.wait()
        server.shutdown(**({"drain": PATIENCE} if is_ours(face) else {}))
        raise SystemExit
    server.socket.close()
    with socket.create_connection(server.server_address) as client:
        return read_all(client).decode()


# 10: looking up names while binding


def lookups(face: Any) -> list[str]:
    """The resolver's functions that binding to numeric addresses calls; the standard library's is its HTTP server."""
    seen: list[str] = []
    resolver = ("socket.getaddrinfo", "socket.gethostbyaddr", "socket.gethostbyname", "socket.getnameinfo")
    sys.addaudithook(lambda event, _: seen.append(event) if event in resolver else None)
    build = face.ThreadingTCPServer if is_ours(face) else http.server.HTTPServer
    for host in ("127.0.0.1", "0.0.0.0", ""):
        build((host, 0), face.BaseRequestHandler).server_close()
    return sorted(set(seen))


# 16, 17: what is printed


def told(face: Any, kind: str, failing: str) -> None:
    """Two clients, one after the other, for a handler that fails; stderr has the tracebacks."""
    handler, leave = FAILINGS[failing]
    server = getattr(face, kind)(LOOPBACK, handler)
    visitor = os.fork()  # a process of its own, or a forked handler would keep its connection open
    if not visitor:
        for _ in range(2):
            client = client_of(server)
            assert client.recv(1) == b"!"
            leave(client)
        os._exit(0)
    loop = in_background(server.serve_forever)
    assert os.waitpid(visitor, 0)[1] == 0
    server.shutdown()
    server.server_close()
    assert fate(loop, PATIENCE) == "ends"


def _read(request: Any, client_address: Any, server: Any) -> None:
    request.sendall(b"!")
    request.recv(1)


def _write(request: Any, client_address: Any, server: Any) -> None:
    request.sendall(b"!")
    while True:
        request.sendall(bytes(65_536))


async def _read_async(request: Any, client_address: Any, server: Any) -> None:
    request.setblocking(False)
    await asyncio.get_running_loop().sock_sendall(request, b"!")
    await asyncio.get_running_loop().sock_recv(request, 1)


def _call_another(request: Any, client_address: Any, server: Any) -> None:
    """A handler whose own connection, to a server behind it, is reset."""
    with socket.create_server(LOOPBACK) as behind:
        client = socket.create_connection(behind.getsockname())
        reset(behind.accept()[0])
    try:
        client.recv(1)
    finally:
        request.sendall(b"!")
        client.close()


async def _call_another_async(request: Any, client_address: Any, server: Any) -> None:
    _call_another(request, client_address, server)


FAILINGS: dict[str, tuple[Callable[..., Any], Callable[[socket.socket], object]]] = {
    "reading": (_read, reset),
    "writing": (_write, reset),
    "reading, async": (_read_async, reset),
    "own": (_call_another, read_all),
    "own, async": (_call_another_async, read_all),
}


def long_datagram(face: Any) -> int:
    """A datagram that is longer than the server takes; how many bytes its handler sees."""
    seen: list[int] = []
    server = face.UDPServer(LOOPBACK, lambda request, *_: seen.append(len(request[0])))
    server.max_packet_size = 100
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.sendto(bytes(101), server.server_address)
    server.handle_request()
    return seen[0]


# 18: children


def child_that_ended(face: Any) -> str:
    """What becomes of a child while nobody else comes."""

    def handle(request: Any, client_address: Any, server: Any) -> None:
        request.sendall(str(os.getpid()).encode())
        request.recv(1)

    server = face.ForkingTCPServer(LOOPBACK, handle)
    loop = in_background(lambda: server.serve_forever(60))
    with client_of(server) as client:
        pid = int(client.recv(100))
        assert asleep(loop)  # the parent is back in its loop
        client.sendall(b".")
        return "reaped" if _is_gone(pid, patience(face)) else "zombie"


def _is_gone(pid: int, seconds: float) -> bool:
    """Wait until somebody has waited for a child."""
    return wait_until(lambda: not os.path.exists(f"/proc/{pid}"), seconds)


def exit_status_of_another_child(face: Any) -> int:
    """What a program learns of its own child, beside a server that has as many children as it may have."""
    server = face.ForkingTCPServer(LOOPBACK, _hold)
    server.max_children = 1
    loop = in_background(lambda: server.serve_forever(0.05))
    with client_of(server) as client:
        client.recv(1)
        assert asleep(loop)  # it has seen to its children, or waits for them
        child = subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(7)"])
        with suppress(ChildProcessError):  # somebody has waited for it already
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        _is_gone(child.pid, 0.2 if is_ours(face) else PATIENCE)
        return child.wait()


def handler_of_sigchld(face: Any) -> bool:
    """Whether a program's own handler is still in place while and after children are collected."""

    def mine(*_: object) -> None:
        """The program's own."""

    signal.signal(signal.SIGCHLD, mine)
    server = face.ForkingTCPServer(LOOPBACK, _echo)
    loop = in_background(server.serve_forever)
    assert answer(server, b"x") == b"x"
    during = signal.getsignal(signal.SIGCHLD)
    server.shutdown()
    server.server_close()
    assert fate(loop, PATIENCE) == "ends"
    return during is mine and signal.getsignal(signal.SIGCHLD) is mine


def _tell(observation: Any) -> None:
    print(json.dumps(observation), flush=True)
    os._exit(0)  # what hangs must not keep the program


def main() -> None:
    name, module, *arguments = sys.argv[1:]
    experiment: Callable[..., Any] = globals()[name]
    _tell(experiment(importlib.import_module(module), *arguments))


if __name__ == "__main__":
    main()
