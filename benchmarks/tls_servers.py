"""TLS servers side by side: handshakes a second, and what bulk costs; ours, nginx and a bare uvloop protocol.

    python -m benchmarks.tls_servers [--rounds 3] [--seconds 2] [--peers PYTHON] [WORKLOAD ...]

Requests over connections that stay are measured by `benchmarks.http_servers tls`. Servers take turns, round after
round, each alone on one core with the clients on another. The clients of this benchmark shake hands too, which costs
them more than the server: so the figure that counts is the CPU time that the server has used. What is printed is the
median over the rounds, and how many times better than the first server of the table.
"""

import argparse
import os
import shutil
import socket
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks._web_peers import PEERS, Job
from benchmarks.http_servers import MIB, cores, cpu_seconds, free_port, peak_memory, prepared, serving
from benchmarks.servers import Round, allow_descriptors, median

PEER_NAMES = ("nginx", "uvloop", "portside-threads", "portside-green")
READ = 65_536  # bytes that a client asks for at once


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What each client does, over and over.

    Attributes:
        title: of the table.
        content: what the server is started for.
        path: what is asked for.
        clients: at once.
        unit: what is counted.
    """

    title: str
    content: str
    path: str
    clients: int
    unit: str


WORKLOADS = {
    "handshakes": Workload(
        title="a handshake and a short answer, 8 clients, none resumes a session",
        content="hello",
        path="/",
        clients=8,
        unit="handshakes",
    ),
    "bulk": Workload(title="100 MiB, 2 clients", content="files", path="/100m.bin", clients=2, unit="MiB"),
}


def visit(job: Job, context: ssl.SSLContext, path: str, until: float) -> float:
    """One client's connection; returns how many bytes of its answer came before the time was over."""
    room = bytearray(READ)
    received = 0
    with (
        socket.create_connection(("127.0.0.1", job.port), timeout=20) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as tls,
    ):
        tls.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        while (count := tls.recv_into(room)) and time.monotonic() < until:
            received += count
    return received


def move_over() -> None:
    """Have the calling thread run where no server does."""
    if chosen := cores():
        os.sched_setaffinity(0, {chosen[1]})


def visits(job: Job, workload: Workload, seconds: float) -> float:
    """All clients, for so long; returns the handshakes, or the MiB."""
    context = ssl.create_default_context(cafile=str(job.folder / "certificate.pem"))
    context.check_hostname = False
    until = time.monotonic() + seconds

    def client(_: int) -> float:
        done = 0.0
        while time.monotonic() < until:
            received = visit(job, context, workload.path, until)
            done += received / MIB if workload.unit == "MiB" else 1
        return done

    with ThreadPoolExecutor(workload.clients, initializer=move_over) as pool:
        return sum(pool.map(client, range(workload.clients)))


def measure(peer: str, workload: Workload, job: Job, seconds: float) -> Round:
    """One round of one server."""
    with serving(peer, job) as server:
        visits(job, workload, 0.3)  # warm up
        cpu, began = cpu_seconds(server), time.monotonic()
        done = visits(job, workload, seconds)
        took, cpu = time.monotonic() - began, cpu_seconds(server) - cpu
        if not done:
            raise SystemExit(f"{peer} answered nothing: {workload.title}")
        return {"rate": done / took, "cpu": cpu / done * 1e6, "memory": peak_memory(server) / MIB}


def compare(workload: Workload, folder: Path, options: argparse.Namespace) -> dict[str, Round]:
    """Every server, taking turns; one that is missing is said to be."""
    missing = {peer: PEERS[peer].missing(workload.content, options.peers) for peer in PEER_NAMES}
    for peer, what in missing.items():
        if what:
            print(f"{peer} is left out: {what} is not installed")
    found: dict[str, list[Round]] = {peer: [] for peer, what in missing.items() if not what}
    for _ in range(options.rounds):
        for peer, results in found.items():
            job = Job(content=workload.content, port=free_port(), folder=folder, tls=True, python=options.peers)
            results.append(measure(peer, workload, job, options.seconds))
    return {peer: median(results) for peer, results in found.items()}


def show(workload: Workload, found: dict[str, Round]) -> None:
    """The table of a workload."""
    print(f"\n{workload.title}\n{'server':<18}{workload.unit + '/s':>14}{'CPU µs each':>14}{'MiB held':>10}{'CPU':>8}")
    first = next(iter(found.values()))
    for peer, each in found.items():
        times = f"{first['cpu'] / each['cpu']:>7.2f}x"
        print(f"{peer:<18}{each['rate']:>14,.0f}{each['cpu']:>14,.0f}{each['memory']:>10.0f}{times}", flush=True)


def main() -> None:
    """Measure and print, workload after workload."""
    parser = argparse.ArgumentParser(description="TLS servers side by side.")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2, help="measured in a round (default: %(default)s)")
    parser.add_argument("--peers", metavar="PYTHON", default=sys.executable, help="an interpreter with uvloop")
    options = parser.parse_args()
    if unknown := [name for name in options.workloads if name not in WORKLOADS]:
        parser.error(f"there is no workload {', '.join(unknown)}; choose of {', '.join(WORKLOADS)}")
    if shutil.which("openssl") is None:
        print("TLS is not measured; on Debian: apt install openssl")
        return
    allow_descriptors()
    print(f"{options.rounds} rounds of {options.seconds:g} s; medians; the last column: times the first server")
    with prepared() as folder:
        for name in options.workloads or WORKLOADS:
            show(WORKLOADS[name], compare(WORKLOADS[name], folder, options))


if __name__ == "__main__":
    main()
