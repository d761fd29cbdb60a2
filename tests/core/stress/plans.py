"""What one client of the stress test does, drawn from a seed: the same number is the same conversation anywhere."""

import dataclasses
import json
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

# How often each conversation is drawn, and how its handler may end.
FINE = frozenset({"done"})
GONE = frozenset({"done", "ConnectionResetError", "BrokenPipeError"})
KINDS: dict[str, tuple[int, frozenset[str]]] = {
    "echo": (6, FINE),  # lines without waiting for their answers
    "talk": (4, FINE),  # a line, its answer, the next line
    "raw": (4, FINE),  # bytes of a known number, received in every way that a socket knows
    "files": (4, FINE),  # bytes until the end of the client's half, read in every way that a file knows
    "flood": (4, FINE),  # bytes from the server, for a client that reads slowly
    "relay": (3, FINE),  # the handler is a client itself, and two tasks share each of its sockets
    "queue": (2, FINE),  # tasks of the handler's own pass the lines on
    "silence": (3, FINE),  # nothing, until the handler's patience ends
    "reset": (4, GONE),  # a piece of a message, then RST
    "leave": (3, GONE),  # a piece of a message, then the client closes without reading
    "fail": (2, frozenset({"Failure"})),  # the handler raises
    "kill": (2, frozenset({"GreenletExit"})),  # somebody kills the handler's task while it waits
}

LONGEST_LINE_BITS = 15
LARGEST_BITS = 19
SMALL_BITS = 11


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One conversation.

    Attributes:
        number: which one of the run; it stands in every message about it.
        kind: a row of KINDS.
        seed: of the bytes, and of the choices that both sides make by themselves.
        size: bytes, where the kind has a number of bytes.
        count: lines, where the kind has lines.
        unix: whether it takes the Unix socket rather than TCP.
    """

    number: int
    kind: str
    seed: int
    size: int
    count: int
    unix: bool

    @classmethod
    def draw(cls, seed: int, number: int) -> Self:
        """The conversation of that number in the run with that seed."""
        dice = random.Random(f"{seed}/{number}")
        (kind,) = dice.choices(list(KINDS), [weight for weight, _ in KINDS.values()])
        return cls(
            number=number,
            kind=kind,
            seed=dice.getrandbits(32),
            size=int(2 ** dice.uniform(0, LARGEST_BITS)),
            count=int(2 ** dice.uniform(0, 7)),
            unix=dice.random() < 1 / 3,
        )

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """The other side's plan."""
        return cls(**json.loads(line))

    def line(self) -> bytes:
        """The plan as a client announces it."""
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"

    def dice(self, side: str) -> random.Random:
        """The choices of one side."""
        return random.Random(f"{self.seed}/{side}")

    def data(self) -> bytes:
        """`size` bytes."""
        return random.Random(self.seed).randbytes(self.size)

    def lines(self) -> Iterator[bytes]:
        """`count` lines: most are short, a few are longer than a receive."""
        dice = random.Random(self.seed)
        for _ in range(self.count):
            bits = dice.uniform(0, SMALL_BITS if dice.random() < 0.95 else LONGEST_LINE_BITS + 2)
            yield dice.randbytes(int(2**bits)).replace(b"\n", b"\0") + b"\n"


def check(data: bytes, before: int = 0) -> int:
    """The checksum of `data`, behind what had the checksum `before`."""
    return zlib.crc32(data, before)


def receipt(count: int, checksum: int) -> bytes:
    """What the receiver of a number of bytes answers."""
    return b"%d %08x\n" % (count, checksum)
