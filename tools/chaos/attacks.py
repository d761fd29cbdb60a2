"""Attackers, in processes of their own: what each kind does with its connections is a table.

    python -m tools.chaos.attacks '{"attack": "silent", "port": 9000, "count": 5000, "hosts": "127.2.0"}'

A line of JSON on the standard output says every fifth of a second how many connections were opened, how many the
service ended or refused, and whether all have been opened. The end of the standard input is the end of the attack.
"""

import json
import os
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass

from tools.chaos.clients import TELL_SECONDS, raise_descriptors
from tools.chaos.conversations import BIND_ADDRESS_NO_PORT, source

OPENING = 100  # connections begun before the loop looks at anything else
SLICES = 20  # a round of single bytes is cut into as many parts, so that they do not all come at once
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets the connection

# The first half of a TLS ClientHello: a record of 512 bytes, version 1.0 as RFC 8446 wants it, of which 60 come.
HALF_A_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(49)


@dataclass(frozen=True, kw_only=True)
class Attack:
    """What an attacker does with each connection.

    Attributes:
        says: at once.
        drips: seconds until each further byte; None for no further byte.
        resets: the connection, as soon as it is made.
    """

    says: bytes = b""
    drips: float | None = None
    resets: bool = False


ATTACKS = {
    "slow": Attack(says=b"q", drips=3.0),
    "silent": Attack(),
    "handshakes": Attack(says=HALF_A_HELLO),
    "deaf": Attack(says=b"BULK 8000000\n" * 8),
    "resets": Attack(says=b"question\n", resets=True),
    "flood": Attack(says=b"question\n"),
}


class Attacker:
    """One process full of connections.

    Args:
        attack: which.
        port: the service's.
        count: connections, in all.
        hosts: the first three numbers of their addresses.
        one_host: they come from one address.
        rate: connections a second.
    """

    def __init__(
        self, *, attack: str, port: int, count: int, hosts: str, one_host: bool = False, rate: float = 2_000.0
    ) -> None:
        self._attack = ATTACKS[attack]
        self._port = port
        self._count = count
        self._hosts = hosts
        self._one_host = one_host
        self._rate = rate
        self._epoll = select.epoll()
        self._epoll.register(0, select.EPOLLIN)
        self._open: dict[int, socket.socket] = {}
        self._opened = self._ended = 0
        self._round = 0
        self._began = self._told = self._dripped = time.monotonic()
        self._over = False

    def run(self) -> None:
        """Until the standard input ends."""
        while not self._over:
            self._begin()
            for descriptor, events in self._epoll.poll(self._seconds()):
                self._react(descriptor, events)
            self._drip()
            self._tell()
        self._tell(at_once=True)

    def _seconds(self) -> float:
        return TELL_SECONDS if self._opened >= self._count else 0.005

    def _begin(self) -> None:
        due = min(self._count, int((time.monotonic() - self._began) * self._rate))
        for _ in range(min(OPENING, due - self._opened)):
            self._connect()

    def _connect(self) -> None:
        client = socket.socket()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
        if self._attack.resets:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.bind(source(self._hosts, 0 if self._one_host else self._opened))
        client.connect_ex(("127.0.0.1", self._port))
        self._opened += 1
        self._open[client.fileno()] = client
        self._epoll.register(client.fileno(), select.EPOLLOUT | select.EPOLLRDHUP)

    def _react(self, descriptor: int, events: int) -> None:
        if descriptor == 0:
            self._over = True
        elif events & (select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR):
            self._ended += 1
            self._close(descriptor)
        elif events & select.EPOLLOUT:
            self._connected(descriptor)

    def _connected(self, descriptor: int) -> None:
        self._send(descriptor, self._attack.says)
        if self._attack.resets:
            self._close(descriptor)
        elif descriptor in self._open:
            self._epoll.modify(descriptor, select.EPOLLRDHUP)

    def _send(self, descriptor: int, text: bytes) -> None:
        try:
            self._open[descriptor].send(text)
        except BlockingIOError:
            pass  # it reads nothing: so be it
        except OSError:
            self._ended += 1
            self._close(descriptor)

    def _close(self, descriptor: int) -> None:
        self._open.pop(descriptor).close()

    def _drip(self) -> None:
        if self._attack.drips is None or time.monotonic() < self._dripped + self._attack.drips / SLICES:
            return
        self._dripped = time.monotonic()
        self._round += 1
        for descriptor in [each for each in self._open if each % SLICES == self._round % SLICES]:
            self._send(descriptor, b"q")

    def _tell(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if at_once or now - self._told >= TELL_SECONDS:
            self._told = now
            done = self._opened >= self._count and (not self._attack.resets or not self._open)
            told = {"opened": self._opened, "ended": self._ended, "open": len(self._open), "done": done}
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    os.nice(10)  # in earnest it would be on another machine: here it must not take the service's turn
    raise_descriptors()
    Attacker(**json.loads(sys.argv[1])).run()
