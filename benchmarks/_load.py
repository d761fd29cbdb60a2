"""The clients: load for one server for some seconds, from one thread with one selector.

    python benchmarks/_load.py echo|short|udp PORT --pid PID --connections N --seconds S [--core N]

Prints what it found as JSON, and kills the server. Each client has one message in flight: what is measured is the
server, as long as this program is not busier than it; the server's own CPU time for each message holds in any case.
"""

import argparse
import json
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable

import psutil

MESSAGE = b"x" * 63 + b"\n"  # a short line of a text protocol
LOST_SECONDS = 0.5  # without any answer for as long, the datagrams on their way are lost and are sent again
DEADLINE = 10.0  # seconds for a client to connect, and for a server to answer anybody at all


class Load:
    """What all workloads share: the clock, the selector and the counts."""

    patience = DEADLINE

    def __init__(self, port: int, connections: int) -> None:
        self.address = ("127.0.0.1", port)
        self.connections = connections
        self.selector = selectors.DefaultSelector()
        self.sent: dict[socket.socket, float] = {}
        self.latencies: list[float] = []
        self.bad = 0

    def open(self) -> None:
        """Get every client going."""
        for _ in range(self.connections):
            self.add()

    def add(self) -> None:
        """Get one client going."""
        raise NotImplementedError

    def answer(self, client: socket.socket) -> None:
        """A client has something to read."""
        raise NotImplementedError

    def idle(self) -> None:
        """Nothing came for as long as the patience lasts."""
        raise SystemExit("the server does not answer any more")

    def watch(self, client: socket.socket) -> None:
        """A client said something and waits for the answer."""
        self.sent[client] = time.perf_counter()
        self.selector.register(client, selectors.EVENT_READ)

    def count(self, client: socket.socket, good: bool) -> None:
        """A client has its answer."""
        if good:
            self.latencies.append(time.perf_counter() - self.sent[client])
        else:
            self.bad += 1

    def run(self, seconds: float) -> None:
        """Answer the answers for some seconds."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            ready = self.selector.select(self.patience)
            if not ready:
                self.idle()
            for key, _ in ready:
                assert isinstance(key.fileobj, socket.socket)
                self.answer(key.fileobj)


class Echo(Load):
    """Connections that stay, one line in flight on each."""

    def add(self) -> None:
        client = socket.create_connection(self.address, timeout=DEADLINE)
        client.sendall(MESSAGE)
        self.watch(client)

    def answer(self, client: socket.socket) -> None:
        data = client.recv(4096)
        self.count(client, data == MESSAGE)
        if not data:
            raise SystemExit("the server hung up")
        self.sent[client] = time.perf_counter()
        client.send(MESSAGE)


class Short(Load):
    """A connection for each message: connect, say a line, end, read to the end, close."""

    def add(self) -> None:
        client = socket.create_connection(self.address, timeout=DEADLINE)
        client.sendall(MESSAGE)
        client.shutdown(socket.SHUT_WR)
        self.watch(client)

    def answer(self, client: socket.socket) -> None:
        try:
            data = client.recv(4096)
        except OSError:
            data = b""
        if data == MESSAGE:
            self.count(client, True)
        elif client in self.sent:
            self.close(client, data)
            self.add()

    def close(self, client: socket.socket, data: bytes) -> None:
        """The end of the reply, or a wrong one."""
        if data:
            self.count(client, False)
        self.selector.unregister(client)
        del self.sent[client]
        client.close()


class Datagrams(Load):
    """Sockets with one datagram in flight on each."""

    patience = LOST_SECONDS

    def add(self) -> None:
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.setblocking(False)
        client.connect(self.address)
        client.send(MESSAGE)
        self.watch(client)

    def answer(self, client: socket.socket) -> None:
        self.count(client, client.recv(4096) == MESSAGE)
        self.sent[client] = time.perf_counter()
        client.send(MESSAGE)

    def idle(self) -> None:
        self.bad += len(self.sent)
        for client in self.sent:
            client.send(MESSAGE)


LOADS: dict[str, Callable[[int, int], Load]] = {"echo": Echo, "short": Short, "udp": Datagrams}


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def measure(load: Load, pid: int, seconds: float) -> dict[str, float]:
    """Warm up, then measure."""
    load.open()
    load.run(seconds / 4)
    load.latencies.clear()
    load.bad = 0
    cpu, start = cpu_seconds(pid), time.perf_counter()
    load.run(seconds)
    cpu, elapsed = cpu_seconds(pid) - cpu, time.perf_counter() - start
    count, ordered = len(load.latencies), sorted(load.latencies)
    if not count:
        raise SystemExit("the server answered nothing")
    return {
        "rate": count / elapsed,
        "cpu": cpu / count * 1e6,
        "p50": ordered[count // 2] * 1e3,
        "p99": ordered[count * 99 // 100] * 1e3,
        "bad": load.bad,
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="Put load on one server.")
    parser.add_argument("workload", choices=LOADS)
    parser.add_argument("port", type=int)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--core", type=int, help="the core to run on")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    load = LOADS[options.workload](options.port, options.connections)
    print(json.dumps(measure(load, options.pid, options.seconds)), flush=True)
    os.kill(options.pid, signal.SIGKILL)  # before the clients go, or the server would complain of each


if __name__ == "__main__":
    main()
