"""Fuzz chunked bodies: any bytes give a body, or an HTTPError; the same ones however they are split.

    python fuzz/fuzz_http_chunks.py --seconds 60

A finding ends the run with a traceback and the bytes that led to it.
"""

import argparse
import random
import sys
import time

from portside.http.bodies import ChunkDecoder
from portside.http.errors import HTTPError

BATCH = 1000  # bodies between two looks at the clock
TOKENS = (
    b"\r\n",
    b"\n",
    b"\r",
    b"0",
    b"a",
    b"3",
    b"ff",
    b";",
    b";x=y",
    b" ",
    b"0\r\n\r\n",
    b"X: y\r\n",
    b"abc",
    b"\0",
    b"+",
)
NOISE = 0.3  # share of bodies with a byte changed

Outcome = tuple[bytes, bytes, str]


def check(data: bytes, step: int) -> None:
    """Hold one body against the contract."""
    whole, pieces = outcome(data, len(data) + 1), outcome(data, step)
    if whole != pieces:
        raise AssertionError(f"{data!r} gives {whole} at once, and {pieces} in pieces of {step} bytes")


def outcome(data: bytes, step: int) -> Outcome:
    """What was decoded, what is left, and the error; anything else that is raised is a finding."""
    decoder, decoded = ChunkDecoder(), b""
    try:
        for start in range(0, len(data), step):
            decoded += decoder.feed(data[start : start + step])
    except HTTPError as error:
        return b"", b"", str(error)
    return decoded, bytes(decoder.rest), ""


def made_up(source: random.Random) -> bytes:
    """Chunks, tokens, and noise."""
    data = bytearray(b"".join(part(source) for _ in range(source.randrange(1, 8))))
    while data and source.random() < NOISE:
        place = source.randrange(len(data))
        data[place : place + source.randrange(2)] = source.randbytes(1)
    return bytes(data)


def part(source: random.Random) -> bytes:
    """A whole chunk, or a token."""
    if source.random() < NOISE:
        return source.choice(TOKENS)
    payload = source.randbytes(source.choice((1, 3, 15, 300)))
    return b"%x%b\r\n%b\r\n" % (len(payload), source.choice((b"", b"", b";a=b", b" ;c")), payload)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description="Fuzz portside.http.bodies.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to run (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random bodies (default: %(default)s)")
    options = parser.parse_args()
    source, end, count = random.Random(options.seed), time.monotonic() + options.seconds, 0
    while time.monotonic() < end:
        for _ in range(BATCH):
            check(made_up(source), source.randrange(1, 40))
        count += BATCH
    sys.stdout.write(f"{count} bodies kept the contract (seed {options.seed})\n")


if __name__ == "__main__":
    main()
