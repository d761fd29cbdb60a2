"""HTTP servers side by side: files, TLS, WSGI and Flask; ours, the standard library's, and public ones.

    python -m benchmarks.http_servers [--rounds 3] [--seconds 2] [--peers PYTHON] [WORKLOAD ...]

Servers take turns, round after round, each alone on one core with wrk on another. What is printed is the median over
the rounds, and how many times better than the first server of the table: CPU time for a request, and requests a second.
Absolute figures mean little on another machine or on a busy one; the ratios do. A peer that is not installed is left
out, and said to be.
"""

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks._web_peers import PEERS, Job
from benchmarks.servers import Round, allow_descriptors, median

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 20.0  # for a server to accept its first client
FILES = {"1k.bin": 1024, "100m.bin": 100 * 1024**2}
MIB = 1024**2

# What wrk says at its end, as JSON.
REPORT = """
done = function(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"requests": %d, "bytes": %d, "seconds": %f, "bad": %d, "p50": %f, "p99": %f}',
    summary.requests, summary.bytes, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What the clients ask for, and which servers are asked."""

    title: str
    content: str
    peers: tuple[str, ...]
    path: str = "/"
    connections: int = 64
    tls: bool = False


OURS = ("portside-threads", "portside-green")
STATIC = ("nginx", "stdlib-threads", *OURS)
GATEWAYS = ("granian", "gunicorn-gthread", *OURS)
WORKLOADS = {
    "file-1k": Workload(
        title="a file of 1 KiB, 64 connections that stay", content="files", path="/1k.bin", peers=STATIC
    ),
    "file-100m": Workload(
        title="a file of 100 MiB, 4 connections", content="files", path="/100m.bin", connections=4, peers=STATIC
    ),
    "plain": Workload(
        title="hello without TLS, to compare", content="hello", peers=("nginx", "uvicorn", "stdlib-threads", *OURS)
    ),
    "tls": Workload(
        title="hello over TLS, 64 connections that stay", content="hello", tls=True, peers=("nginx", "uvicorn", *OURS)
    ),
    "wsgi": Workload(title="hello in WSGI, 64 connections that stay", content="wsgi", peers=GATEWAYS),
    "flask": Workload(title="hello in Flask, 64 connections that stay", content="flask", peers=GATEWAYS),
}


# A server


def cores() -> tuple[int, int] | None:
    """One for the server and one for the clients, where the system can do that."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def pinned(command: Sequence[str], place: int) -> list[str]:
    """A command on a core of its own."""
    chosen = cores()
    return [*(["taskset", "-c", str(chosen[place])] if chosen and shutil.which("taskset") else []), *command]


def free_port() -> int:
    """A port that nobody has; somebody else may take it, which nobody does on a machine that measures."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def serving(peer: str, job: Job) -> Iterator[psutil.Process]:
    """A server with all its workers, until the end of the block."""
    command = pinned(PEERS[peer].command(job), 0)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        server = psutil.Process(process.pid)
        try:
            wait_for(process, job.port)
            yield server
        finally:
            for each in family(server):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()


def wait_for(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Until it accepts."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS).close()
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"a server did not start: {process.args!r}") from error
            time.sleep(0.05)


def family(server: psutil.Process) -> list[psutil.Process]:
    """A server and its workers."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [server, *server.children(recursive=True)]
    return []


def cpu_seconds(server: psutil.Process) -> float:
    """What they have used so far."""
    return sum(sum(each.cpu_times()[:2]) for each in family(server))


def peak_memory(server: psutil.Process) -> int:
    """Bytes that they have had resident at most, where the system tells."""
    return sum(_peak(each.pid) for each in family(server))


def _peak(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


# A measurement


def load(workload: Workload, job: Job, seconds: int) -> Round:
    """Have wrk ask for some seconds."""
    url = f"{'https' if workload.tls else 'http'}://127.0.0.1:{job.port}{workload.path}"
    words = ["wrk", "--threads", "1", "--connections", str(workload.connections), "--timeout", "20s"]
    words += ["--duration", f"{seconds}s", "--script", str(job.folder / "report.lua"), url]
    done = subprocess.run(pinned(words, 1), capture_output=True, text=True, check=True, timeout=seconds + 60)
    found: Round = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(peer: str, workload: Workload, job: Job, seconds: int) -> Round:
    """One round of one server: warm up, then measure."""
    with serving(peer, job) as server:
        load(workload, job, 1)
        cpu = cpu_seconds(server)
        found = load(workload, job, seconds)
        cpu = cpu_seconds(server) - cpu
        if not found["requests"]:
            raise SystemExit(f"{peer} answered nothing: {workload.title}")
        return {
            **{name: found[name] for name in ("p50", "p99", "bad")},
            "rate": found["requests"] / found["seconds"],
            "bytes": found["bytes"] / found["seconds"] / MIB,
            "cpu": cpu / found["requests"] * 1e6,
            "memory": peak_memory(server) / MIB,
        }


def present(workload: Workload, python: str) -> list[str]:
    """The peers that can be started; the others are said."""
    missing = {peer: PEERS[peer].missing(workload.content, python) for peer in workload.peers}
    for peer, what in missing.items():
        if what:
            print(f"{peer} is left out: {what} is not installed")
    return [peer for peer in workload.peers if not missing[peer]]


def compare(workload: Workload, folder: Path, options: argparse.Namespace) -> dict[str, Round]:
    """Every server of a workload, taking turns."""
    found: dict[str, list[Round]] = {peer: [] for peer in present(workload, options.peers)}
    for _ in range(options.rounds):
        for peer, results in found.items():
            job = Job(content=workload.content, port=free_port(), folder=folder, tls=workload.tls, python=options.peers)
            results.append(measure(peer, workload, job, options.seconds))
    return {peer: median(results) for peer, results in found.items()}


def show(found: dict[str, Round]) -> None:
    """The table of a workload."""
    columns = f"{'requests/s':>12}{'MiB/s':>9}{'CPU µs':>10}{'p50 ms':>9}{'p99 ms':>9}{'bad':>6}{'MiB':>7}"
    print(f"{'server':<18}{columns}{'CPU':>8}{'rate':>8}")
    first = next(iter(found.values()))
    for peer, each in found.items():
        times = f"{first['cpu'] / each['cpu']:>7.2f}x{each['rate'] / first['rate']:>7.2f}x"
        print(
            f"{peer:<18}{each['rate']:>12,.0f}{each['bytes']:>9,.1f}{each['cpu']:>10,.1f}{each['p50']:>9.2f}"
            f"{each['p99']:>9.2f}{each['bad']:>6.0f}{each['memory']:>7.0f}{times}",
            flush=True,
        )


@contextlib.contextmanager
def prepared() -> Iterator[Path]:
    """A folder with what servers and wrk need."""
    with tempfile.TemporaryDirectory(prefix="portside-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's worker is another user
        for file, size in FILES.items():
            (folder / file).write_bytes(os.urandom(size))
        (folder / "report.lua").write_text(REPORT, encoding="utf-8")
        names = [
            "-subj",
            "/CN=localhost",
            "-days",
            "2",
            "-keyout",
            f"{folder}/key.pem",
            "-out",
            f"{folder}/certificate.pem",
        ]
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        subprocess.run(["openssl", "req", "-x509", *key, *names], check=True, capture_output=True)
        yield folder


def main() -> None:
    """Measure and print, workload after workload."""
    parser = argparse.ArgumentParser(description="HTTP servers side by side.")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=2, help="measured in a round (default: %(default)s)")
    parser.add_argument(
        "--peers",
        metavar="PYTHON",
        default=sys.executable,
        help="an interpreter with granian and the others (default: this)",
    )
    options = parser.parse_args()
    if unknown := [name for name in options.workloads if name not in WORKLOADS]:
        parser.error(f"there is no workload {', '.join(unknown)}; choose of {', '.join(WORKLOADS)}")
    if missing := [program for program in ("wrk", "openssl") if shutil.which(program) is None]:
        print(f"HTTP is not measured; on Debian: apt install {' '.join(missing)}")
        return
    allow_descriptors()
    print(f"{options.rounds} rounds of {options.seconds} s; medians; the last two columns: times the first server")
    with prepared() as folder:
        for name in options.workloads or WORKLOADS:
            print(f"\n{WORKLOADS[name].title}")
            show(compare(WORKLOADS[name], folder, options))


if __name__ == "__main__":
    main()
