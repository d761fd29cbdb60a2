"""The clients' side of the stress test, in a process of its own: many conversations at once, each checked to the byte.

    python -m tests.core.stress.attacking ADDRESSES SEED FIRST LIMIT SECONDS AT_ONCE

prints a line of JSON: how many conversations there were, and what went wrong in them.
"""

import asyncio
import contextlib
import itertools
import json
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tests.core.stress.plans import Plan, check, receipt

HANGING = 120.0  # seconds after which a conversation is reported as hanging; none takes one on an idle machine
SLOW = 2048  # bytes that a slow reader lets itself be sent ahead
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST

Address = tuple[str, int] | str


class Peer:
    """A connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def finish(self) -> None:
        """Close this half."""
        self.writer.write_eof()

    def reset(self) -> None:
        """Close with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()

    async def expect(self, data: bytes) -> None:
        """The next bytes must be these."""
        try:
            found = await self.reader.readexactly(len(data))
        except asyncio.IncompleteReadError as error:
            raise Wrong(f"{len(error.partial)} bytes of {len(data)} came") from None
        if found != data:
            raise Wrong(f"{_excerpt(found)} came instead of {_excerpt(data)}")

    async def expect_end(self) -> None:
        """There must be no more."""
        if rest := await self.reader.read():
            raise Wrong(f"{_excerpt(rest)} came where nothing should")


class Wrong(Exception):
    """The server did not do what the plan says."""


def _excerpt(data: bytes) -> str:
    return f"{len(data)} bytes ({check(data):08x}) {data[:40]!r}"


async def echo(peer: Peer, plan: Plan) -> None:
    """Send all the lines while their answers come back."""
    lines = list(plan.lines())
    await asyncio.gather(_send_at_random(peer, plan, b"".join(lines)), peer.expect(b"".join(lines)))
    peer.finish()
    await peer.expect_end()


async def _send_at_random(peer: Peer, plan: Plan, data: bytes) -> None:
    """Send in pieces that know nothing of lines."""
    dice = plan.dice("client")
    while data:
        cut = int(2 ** dice.uniform(0, 18))
        await peer.send(data[:cut])
        data = data[cut:]
        if dice.random() < 0.3:
            await asyncio.sleep(dice.choice([0, 0, 0.001]))


async def talk(peer: Peer, plan: Plan) -> None:
    for line in plan.lines():
        await peer.send(line)
        await peer.expect(line)
    peer.finish()
    await peer.expect_end()


async def raw(peer: Peer, plan: Plan) -> None:
    await peer.expect(b"go\n")
    await _send_at_random(peer, plan, plan.data())
    await peer.expect(receipt(plan.size, check(plan.data())))
    await peer.expect_end()


async def files(peer: Peer, plan: Plan) -> None:
    await _send_at_random(peer, plan, plan.data())
    peer.finish()
    await peer.expect(receipt(plan.size, check(plan.data())))
    await peer.expect_end()


async def flood(peer: Peer, plan: Plan) -> None:
    """Read slowly."""
    dice, left, checksum = plan.dice("client"), plan.size, 0
    while piece := await peer.reader.read(int(2 ** dice.uniform(8, 17))):
        checksum = check(piece, checksum)
        left -= len(piece)
        if dice.random() < 0.05:
            await asyncio.sleep(0.002)
    if left or checksum != check(plan.data()):
        raise Wrong(f"{plan.size - left} bytes with the checksum {checksum:08x} came")


async def silence(peer: Peer, plan: Plan) -> None:
    await peer.expect(b"enough\n")
    await peer.expect_end()


async def reset(peer: Peer, plan: Plan) -> None:
    await _begin(peer, plan)
    peer.reset()


async def leave(peer: Peer, plan: Plan) -> None:
    await _begin(peer, plan)


async def _begin(peer: Peer, plan: Plan) -> None:
    """Send a part of the lines, and perhaps look at a part of what comes back."""
    dice = plan.dice("client")
    lines = b"".join(plan.lines())
    peer.writer.write(lines[: dice.randrange(len(lines))])
    if dice.random() < 0.5:
        await asyncio.sleep(dice.choice([0, 0.001, 0.01]))
    if dice.random() < 0.3:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(peer.reader.read(100), 0.01)


async def fail(peer: Peer, plan: Plan) -> None:
    await peer.send(b"last words\n")
    await peer.expect(b"last words\n")
    await peer.expect_end()


async def kill(peer: Peer, plan: Plan) -> None:
    while piece := await peer.reader.read(1 << 16):
        if piece.strip(b"\0"):
            raise Wrong(f"{_excerpt(piece)} came from a handler that was killed")


ATTACKS: dict[str, Callable[[Peer, Plan], Awaitable[None]]] = {
    "echo": echo,
    "talk": talk,
    "raw": raw,
    "files": files,
    "flood": flood,
    "relay": echo,
    "queue": echo,
    "silence": silence,
    "reset": reset,
    "leave": leave,
    "fail": fail,
    "kill": kill,
}


async def connect(plan: Plan, addresses: list[Address]) -> Peer:
    """A connection for a plan; one that floods gets little room, so that the server has to wait."""
    address = addresses[plan.unix]
    sock = socket.socket(socket.AF_UNIX if plan.unix else socket.AF_INET)
    sock.setblocking(False)
    if plan.kind in ("flood", "kill"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW)
    await _connect(sock, tuple(address) if isinstance(address, list) else address)
    opening = asyncio.open_unix_connection if plan.unix else asyncio.open_connection
    reader, writer = await opening(sock=sock, limit=SLOW)
    return Peer(reader, writer)


async def _connect(sock: socket.socket, address: Any) -> None:
    """Connect, also where a Unix socket's queue is full, which TCP would wait out."""
    while True:
        try:
            return await asyncio.get_running_loop().sock_connect(sock, address)
        except BlockingIOError:
            await asyncio.sleep(0.005)


async def converse(plan: Plan, addresses: list[Address]) -> str | None:
    """One conversation; returns what was wrong with it."""
    peer = None
    try:
        async with asyncio.timeout(HANGING):
            peer = await connect(plan, addresses)
            await peer.send(plan.line())
            await ATTACKS[plan.kind](peer, plan)
    except TimeoutError:
        return f"client: {plan}: hangs"
    except (Wrong, OSError) as error:
        return f"client: {plan}: {error!r}"
    finally:
        if peer:
            peer.writer.close()
    return None


class Attack:
    """Many conversations at once.

    Args:
        addresses: of the TCP and of the Unix server.
        seed: of the run.
        first: the number of its first conversation.
        limit: how many there are at most.
        seconds: after which no more begin.
    """

    def __init__(self, addresses: list[Address], seed: int, first: int, limit: int, seconds: float) -> None:
        self.addresses = addresses
        self.plans = (Plan.draw(seed, number) for number in range(first, first + limit))
        self.end = time.monotonic() + seconds
        self.wrong: list[str] = []
        self.count = 0

    async def run(self, at_once: int) -> None:
        """Converse until there are no more plans or no more time."""
        await asyncio.gather(*(self._client() for _ in range(at_once)))

    async def _client(self) -> None:
        for plan in itertools.takewhile(lambda _: time.monotonic() < self.end, self.plans):
            if wrong := await converse(plan, self.addresses):
                self.wrong.append(wrong)
            self.count += 1


def main(addresses: str, seed: str, first: str, limit: str, seconds: str, at_once: str) -> None:
    attack = Attack(json.loads(addresses), int(seed), int(first), int(limit), float(seconds))
    asyncio.run(attack.run(int(at_once)))
    print(json.dumps({"count": attack.count, "wrong": attack.wrong}))


if __name__ == "__main__":
    main(*sys.argv[1:])
