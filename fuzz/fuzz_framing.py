"""Fuzz portside.framing: any bytes give frames or one of the two errors, and the same ones however they are split.

python -m fuzz.fuzz_framing --seconds 60
"""

import random
from collections.abc import Iterable

from fuzz._runner import run
from portside import framing
from portside.framing import (
    Codec,
    Delimited,
    Fixed,
    FrameCorrupt,
    FrameError,
    FrameTooLong,
    LengthPrefixed,
    Lines,
    Netstring,
    Varint,
)

SIZE = 50  # bytes; short frames meet the limit often
LONGEST = 6000  # bytes of input: more than the codecs split at a time (4 KiB)

CODECS: tuple[Codec, ...] = (
    Lines(max_size=SIZE),
    Lines(),
    Delimited(delimiter=b"aa", max_size=SIZE),
    Delimited(delimiter=b"\r\n.\r\n", max_size=SIZE),
    Fixed(size=7),
    *(LengthPrefixed(width=width, max_size=SIZE) for width in (1, 2, 4, 8)),
    LengthPrefixed(byteorder="little", max_size=SIZE),
    Varint(max_size=SIZE),
    Varint(),
    Netstring(max_size=SIZE),
    Netstring(),
)
TOKENS = (b"a", b"aa", b"\r", b"\n", b"\r\n.\r\n", b"\0", b"\x01", b"\x80", b"\xff", b"0", b"12:", b":", b",")


# The property


def check(data: bytes) -> None:
    """Try one input: a byte for the codec, a byte for the size of the pieces, and what is decoded."""
    codec, step, wire = CODECS[data[0] % len(CODECS)] if data else CODECS[0], sum(data[1:2]) + 1, data[2:]
    whole = outcome(codec, [wire])
    pieces = outcome(codec, (wire[start : start + step] for start in range(0, len(wire), step)))
    expect(whole == pieces, f"{codec} gives {pieces} in pieces of {step} bytes, and {whole} at once", data)
    for frame in whole[0]:
        expect(len(frame) <= codec.max_size, f"{codec} gives a frame of {len(frame)} bytes", data)
        expect(comes_back(codec, frame), f"{codec} gives {frame!r}, which does not survive being sent", data)


def expect(holds: bool, complaint: str, data: bytes) -> None:
    """Raise AssertionError with the input unless the property holds."""
    if not holds:
        raise AssertionError(f"{complaint}; input: {data!r}")


def outcome(codec: Codec, pieces: Iterable[bytes]) -> tuple[list[bytes], type[FrameError] | None]:
    """The frames, and the kind of the error after them; whatever else is raised is a finding."""
    decoder, frames = codec.decoder(), list[bytes]()
    try:
        for piece in pieces:
            decoder.feed(piece)
            for frame in decoder:
                frames.append(frame)
        decoder.finish()
    except (FrameTooLong, FrameCorrupt) as error:
        return frames, type(error)
    return frames, None


def comes_back(codec: Codec, frame: bytes) -> bool:
    """Whether the frame is the same after encoding and decoding; also if encoding refuses it, as it may."""
    try:
        wire = codec.encode(frame)
    except FrameCorrupt:
        return True
    return outcome(codec, [wire]) == ([frame], None)


# Where inputs come from


def made_up(source: random.Random) -> bytes:
    """An input of frames, of tokens, and of noise: whole frames lead the decoders past the first header."""
    choice = source.randrange(256)
    parts = [part(source, CODECS[choice % len(CODECS)]) for _ in range(source.randrange(12))]
    return bytes((choice, source.randrange(256))) + b"".join(parts)[:LONGEST]


def part(source: random.Random, codec: Codec) -> bytes:
    """A frame of the codec, or a token, or noise."""
    noise = source.randbytes(source.choice((0, 1, codec.max_size % 60, SIZE, SIZE + 1)))
    try:
        return source.choice((codec.encode(noise), source.choice(TOKENS), noise))
    except FrameError:
        return noise


if __name__ == "__main__":
    run(check, made_up, led_by=(framing,))
