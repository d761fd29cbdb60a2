"""How evenly workers share clients, and what a worker at work costs the clients of the others: one queue, or one each.

python benchmarks/workers.py [--workers 4] [--connections 400] [--engine green]
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portside import Endpoint

HANDLER = '''
import os, time
import portside

class Talk(portside.StreamRequestHandler):
    """Greets with its process; `work` keeps the whole process busy for a second."""

    def handle(self):
        self.wfile.write(b"%d\\n" % os.getpid())
        for line in self.rfile:
            if line == b"work\\n":
                until = time.monotonic() + 1
                while time.monotonic() < until:
                    pass
            self.wfile.write(line)
'''
SECONDS = 3.0  # of short connections


@contextmanager
def served(balance: str, options: argparse.Namespace) -> Iterator[Endpoint]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "talk.py").write_text(HANDLER, encoding="utf-8")
        command = [sys.executable, "-m", "portside", "serve", "talk:Talk", "0", "--engine", options.engine]
        command += ["--workers", str(options.workers), "--balance", balance]
        with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            found = re.search(r"at (\S+) ", process.stderr.readline())
            assert found
            try:
                yield Endpoint.parse(found[1])
            finally:
                process.terminate()


def share_of_open(endpoint: Endpoint, count: int) -> str:
    """Connections that stay open, opened one after the other: the share of each worker, in percent."""
    clients = []
    shares: Counter[bytes] = Counter()
    for _ in range(count):
        client = endpoint.connect(timeout=30)
        shares[client.recv(100)] += 1
        clients.append(client)
    for client in clients:
        client.close()
    return " ".join(f"{100 * number / count:.0f}" for _, number in shares.most_common())


def short_connections(endpoint: Endpoint) -> float:
    """Connections a second: connect, hear the greeting, leave."""
    over = time.monotonic() + SECONDS
    counts = [0] * 4

    def talk(number: int) -> None:
        while time.monotonic() < over:
            with endpoint.connect(timeout=30) as client:
                client.recv(100)
            counts[number] += 1

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return sum(counts) / SECONDS


def beside_work(endpoint: Endpoint) -> tuple[float, float]:
    """Milliseconds to the greeting while one worker is busy: the median, and the 95th percentile."""
    with endpoint.connect(timeout=30) as busy:
        busy.recv(100)
        busy.sendall(b"work\n")
        until = time.monotonic() + 0.9
        found: list[float] = []
        threads: list[threading.Thread] = []
        while time.monotonic() < until:
            threads.append(threading.Thread(target=lambda: found.append(greeting(endpoint))))
            threads[-1].start()
            threading.Event().wait(0.01)
        for each in threads:
            each.join()
    return statistics.median(found), statistics.quantiles(found, n=20)[-1]


def greeting(endpoint: Endpoint) -> float:
    began = time.monotonic()
    with endpoint.connect(timeout=30) as client:
        client.recv(100)
    return 1000 * (time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--connections", type=int, default=400)
    parser.add_argument("--engine", default="green")
    options = parser.parse_args()
    print(f"{options.workers} workers, {options.engine}")
    print(f"{'balance':<12}{'short/s':>9}{'beside a busy worker: median':>32}{'p95':>10}   share of open connections")
    for balance in ("shared", "reuseport"):
        with served(balance, options) as endpoint:
            share = share_of_open(endpoint, options.connections)
            rate = short_connections(endpoint)
            median, tail = beside_work(endpoint)
        print(f"{balance:<12}{rate:>9.0f}{median:>29.1f} ms{tail:>7.0f} ms   {share} %")


if __name__ == "__main__":
    main()
