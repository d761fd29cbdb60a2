"""Fuzz chunked bodies: any bytes give a body, or an HTTPError; the same ones however they are split.

python -m fuzz.fuzz_http_chunks --seconds 60
"""

import random

from fuzz._noise import spoil
from fuzz._runner import run
from portside.http import bodies
from portside.http.bodies import ChunkDecoder
from portside.http.errors import HTTPError

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


def check(body: tuple[bytes, int]) -> None:
    """Hold one body, and the size of the pieces that it comes in, against the contract."""
    data, step = body
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


def in_pieces(data: bytes) -> tuple[bytes, int]:
    """An input of bytes: the first of them is the size of the pieces."""
    return data[1:], sum(data[:1]) % 40 + 1


def made_up(source: random.Random) -> tuple[bytes, int]:
    """Chunks, tokens, and noise."""
    data = bytearray(b"".join(part(source) for _ in range(source.randrange(1, 8))))
    spoil(data, source, NOISE)
    return bytes(data), source.randrange(1, 40)


def part(source: random.Random) -> bytes:
    """A whole chunk, or a token."""
    if source.random() < NOISE:
        return source.choice(TOKENS)
    payload = source.randbytes(source.choice((1, 3, 15, 300)))
    return b"%x%b\r\n%b\r\n" % (len(payload), source.choice((b"", b"", b";a=b", b" ;c")), payload)


if __name__ == "__main__":
    run(check, made_up, led_by=(bodies,), from_bytes=in_pieces)
