"""Clients for the test of fairness, in a process of their own.

python pinging.py flood HOST PORT CLIENTS     lines without pause, whose answers are read, until it is killed
python pinging.py ping HOST PORT CLIENTS      ROUNDS times a line and its answer; prints each round trip's seconds
"""

import socket
import sys
import time

from portside.core import hub
from portside.core.sockets import GreenSocket

ROUNDS = 40
LINES = b"flooding the server with lines like this one\n" * 200


def dialled(address: tuple[str, int]) -> GreenSocket:
    """A connection."""
    return GreenSocket(fileno=socket.create_connection(address, 60).detach())


def flood(address: tuple[str, int], count: int) -> None:
    """Keep the server busy."""
    for number in range(count):
        sock = dialled(address)
        spawn(keep_sending, sock)
        spawn(keep_receiving, sock, number == count - 1)
    hub.sleep(3600)


def spawn(function: object, *arguments: object) -> hub.Task:
    """A task of the running hub."""
    running = hub.running_hub()
    assert running is not None
    assert callable(function)
    return running.spawn(function, *arguments)


def keep_sending(sock: GreenSocket) -> None:
    """Send until the end."""
    while True:
        sock.sendall(LINES)


def keep_receiving(sock: GreenSocket, tell: bool) -> None:
    """Receive until the end; the last one tells when answers come."""
    buffer = bytearray(65_536)
    while sock.recv_into(buffer):
        if tell:
            print("flooding", flush=True)
            tell = False


def ping(address: tuple[str, int], count: int) -> None:
    """Ping with all clients at once."""
    tasks = [spawn(round_trips, dialled(address)) for _ in range(count)]
    for task in tasks:
        print(*task.result(), sep="\n")


def round_trips(sock: GreenSocket) -> list[float]:
    """The seconds of each round trip of one client."""
    found = []
    with sock, sock.makefile("rb") as answers:
        for _ in range(ROUNDS):
            start = time.perf_counter()
            sock.sendall(b"ping\n")
            assert answers.readline() == b"ping\n"
            found.append(time.perf_counter() - start)
            hub.sleep(0.01)
    return found


if __name__ == "__main__":
    what, host, port, clients = sys.argv[1:]
    hub.run({"flood": flood, "ping": ping}[what], (host, int(port)), int(clients))
