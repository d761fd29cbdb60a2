"""Servers side by side: Portside's engines, the standard library's, asyncio's streams.

    python benchmarks/servers.py [--rounds 3] [--seconds 1.5] [WORKLOAD ...]

Servers take turns, round after round, each alone on one core with its clients on another. What is printed is the
median over the rounds, and how many times better than the first server of the table: CPU time for a message, and
messages a second. Absolute figures mean little on another machine or on a busy one; the ratios do.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
STREAMS = "uvloop-streams" if importlib.util.find_spec("uvloop") else "asyncio-streams"
GREENLETS = ("gevent",) if importlib.util.find_spec("gevent") else ()
PROTOCOL = ("uvloop-protocol",) if importlib.util.find_spec("uvloop") else ()
SIDE_BY_SIDE = (
    "stdlib-threads",
    "portside-threads",
    "portside-green",
    "portside-async",
    STREAMS,
    *PROTOCOL,
    *GREENLETS,
)
START_SECONDS = 30.0  # for a round beyond its measuring: connecting, warming up

Round = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What the clients do, and which servers can stand it."""

    title: str
    load: str
    connections: int
    peers: tuple[str, ...] = SIDE_BY_SIDE

    @property
    def kind(self) -> str:
        """What the servers are told to serve."""
        return "datagram" if self.load == "udp" else "stream"


ALONE = ("stdlib-serial", "portside-serial")
WORKLOADS = {
    "echo-64": Workload(title="echo, 64 connections that stay", load="echo", connections=64),
    "echo-1000": Workload(title="echo, 1,000 connections that stay", load="echo", connections=1000),
    "short": Workload(title="short, a connection a message, 64 at once", load="short", connections=64),
    "udp": Workload(title="udp, 64 sockets", load="udp", connections=64),
    "short-serial": Workload(title="short, one client at a time", load="short", connections=16, peers=ALONE),
    "udp-serial": Workload(title="udp, one datagram at a time", load="udp", connections=16, peers=ALONE),
}


def cores() -> tuple[list[str], list[str]]:
    """Options that put server and clients on cores of their own, where the system can do that."""
    if not hasattr(os, "sched_getaffinity"):
        return [], []
    allowed = sorted(os.sched_getaffinity(0))
    return ["--core", str(allowed[0])], ["--core", str(allowed[-1])]


@contextlib.contextmanager
def serving(peer: str, kind: str, core: Sequence[str]) -> Iterator[tuple[int, str]]:
    """A server in a process of its own: its process id and port."""
    command = [sys.executable, "-m", "benchmarks._peers", peer, kind, *core]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE.parent) as process:
        try:
            assert process.stdout is not None
            yield process.pid, process.stdout.readline().strip()
        finally:
            process.kill()


def measure(peer: str, workload: Workload, seconds: float) -> Round:
    """One round of one server."""
    server_core, load_core = cores()
    with serving(peer, workload.kind, server_core) as (pid, port):
        command = [sys.executable, str(HERE / "_load.py"), workload.load, port, "--pid", str(pid), *load_core]
        command += ["--connections", str(workload.connections), "--seconds", str(seconds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False, timeout=2 * seconds + START_SECONDS)
    if done.returncode:
        raise SystemExit(f"{peer} gave no figures: {workload.title}")
    found: Round = json.loads(done.stdout)
    return found


def median(rounds: list[Round]) -> Round:
    """Figure by figure."""
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def compare(workload: Workload, rounds: int, seconds: float) -> dict[str, Round]:
    """Every server of a workload, taking turns."""
    found: dict[str, list[Round]] = {peer: [] for peer in workload.peers}
    for _ in range(rounds):
        for peer, results in found.items():
            results.append(measure(peer, workload, seconds))
    return {peer: median(results) for peer, results in found.items()}


def show(workload: Workload, found: dict[str, Round]) -> None:
    """The table of a workload."""
    print(f"\n{workload.title}")
    print(f"{'server':<18}{'messages/s':>12}{'CPU µs':>9}{'p50 ms':>9}{'p99 ms':>9}{'bad':>6}{'CPU':>8}{'rate':>8}")
    first = found[workload.peers[0]]
    for peer, figures in found.items():
        times = f"{first['cpu'] / figures['cpu']:>7.2f}x{figures['rate'] / first['rate']:>7.2f}x"
        print(
            f"{peer:<18}{figures['rate']:>12,.0f}{figures['cpu']:>9.1f}{figures['p50']:>9.2f}{figures['p99']:>9.2f}"
            f"{figures['bad']:>6.0f}{times}",
            flush=True,
        )


def allow_descriptors() -> None:
    """As many as this process, and with it server and clients, may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    """Measure and print, workload after workload."""
    parser = argparse.ArgumentParser(description="Servers side by side.")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.5, help="measured in a round (default: %(default)s)")
    options = parser.parse_args()
    if unknown := [name for name in options.workloads if name not in WORKLOADS]:
        parser.error(f"there is no workload {', '.join(unknown)}; choose of {', '.join(WORKLOADS)}")
    allow_descriptors()
    print(f"{options.rounds} rounds of {options.seconds:g} s; medians; the last two columns: times the first server")
    for name in options.workloads or WORKLOADS:
        show(WORKLOADS[name], compare(WORKLOADS[name], options.rounds, options.seconds))


if __name__ == "__main__":
    main()
