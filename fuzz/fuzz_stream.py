"""Fuzz the files over green streams: whatever arrives, however split, is read as `io.BufferedReader` reads it.

    python -m fuzz.fuzz_stream --seconds 60

The reader is compiled, so that no coverage leads the inputs.
"""

import io
import itertools
import random
import socket
from collections.abc import Callable
from typing import Any

from fuzz._runner import run
from portside.core import hub
from portside.core.sockets import GreenSocket

# Around half a receive and a whole one (64 KiB), and lines that are received in place (8 KiB).
EDGES = (8192, 32_768, 65_536)
SIZES = (*range(20), 4095, 4096, *(edge + by for edge in EDGES for by in (-1, 0, 1)), 150_000)
READS = ("readline", "read", "read1", "readinto", "readinto1", "readlines", "peek", "next")
UNLIMITED = (None, -1)

Step = tuple[str, int | None]


# The property


def check(tried: tuple[list[bytes], list[Step]]) -> None:
    """Try one input."""
    pieces, steps = tried
    text = b"".join(pieces)
    model = io.BufferedReader(io.BytesIO(text))

    def follow(reader: Any) -> None:
        for step in [*steps, ("read", None)]:
            expect_same(text, model, reader, step)

    try:
        hub.run(converse, pieces, follow)
    except Exception as error:
        error.add_note(f"pieces of {[len(piece) for piece in pieces]} bytes, steps {steps}; text: {text[:300]!r}...")
        raise


def converse(pieces: list[bytes], follow: Callable[[Any], None]) -> None:
    """Have the pieces arrive one by one while `follow` reads."""
    ours, theirs = (GreenSocket(fileno=each.detach()) for each in socket.socketpair())
    running = hub.running_hub()
    assert running is not None
    with ours, theirs, ours.makefile("rb") as reader:
        feeder = running.spawn(feed, theirs, pieces)
        follow(reader)
        feeder.kill()


def feed(sock: GreenSocket, pieces: list[bytes]) -> None:
    """Send each piece when those who wait for it had a turn."""
    for piece in pieces:
        sock.sendall(piece)
        hub.sleep(0)
    sock.shutdown(socket.SHUT_WR)


def expect_same(text: bytes, model: Any, reader: Any, step: Step) -> None:
    """Take a step with both; what depends on how the bytes arrive must be what comes next, and not too much of it."""
    name, size = step
    found = taken(reader, step)
    if name not in ("read1", "readinto1", "peek"):
        expected = taken(model, step)
        assert found == expected, f"{step} gives {found[:99]!r}, not {expected[:99]!r}"
        return
    start = model.tell()
    assert text.startswith(found, start), f"{step} gives {found[:99]!r} at {start}"
    assert found or start == len(text) or size == 0, f"{step} finds an end at {start}"
    if name != "peek":
        model.seek(start + len(found))


def taken(file: Any, step: Step) -> Any:
    """What one step with a file gives."""
    name, size = step
    if name in ("readinto", "readinto1"):
        buffer = bytearray(size or 0)
        return bytes(buffer[: getattr(file, name)(buffer)])
    if name == "next":
        return next(file, b"")
    return getattr(file, name)(*(() if name == "peek" else (size,)))


# Where inputs come from


def made_up(source: random.Random) -> tuple[list[bytes], list[Step]]:
    """Bytes in pieces, and how they are read."""
    text = b"".join(segment(source) for _ in range(source.randrange(8)))
    places = (
        source.choice(SIZES) + source.randrange(len(text) + 1) * source.randrange(2) for _ in range(source.randrange(8))
    )
    ends = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    pieces = [text[start:end] for start, end in itertools.pairwise(ends)]
    return pieces, [step(source) for _ in range(source.randrange(14))]


def segment(source: random.Random) -> bytes:
    """A line, a part of one, or a few short ones."""
    few = source.choices((b"a", b"\n", b"\0"), k=source.randrange(20))
    return source.choice((b"x" * source.choice(SIZES), b"x" * source.choice(SIZES) + b"\n", b"".join(few)))


def step(source: random.Random) -> Step:
    """One way to read."""
    name = source.choice(READS)
    if name in ("next", "peek"):
        return name, None
    some = source.choice(SIZES)
    return name, some if name in ("read1", "readinto", "readinto1") else source.choice((some, *UNLIMITED))


if __name__ == "__main__":
    run(check, made_up)
