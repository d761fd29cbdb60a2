"""Fuzz portside.framing: any bytes give frames or one of the two errors, and the same ones however they are split.

    python fuzz/fuzz_framing.py --seconds 60

With atheris (`pip install atheris`) what is tried is led by the coverage of the codecs; without it, it is random, and
the same for the same --seed. A finding ends the run with a traceback and the bytes that led to it.
"""

import argparse
import importlib
import inspect
import itertools
import random
import sys
import time
from collections.abc import Iterable, Iterator
from types import FunctionType, ModuleType

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


def guided(atheris: ModuleType, seconds: int) -> None:
    """Let atheris search for inputs that reach new code; ends the process."""
    for function in functions_of(framing):
        atheris.instrument_func(function)
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", f"-max_len={LONGEST}"], check)
    atheris.Fuzz()


def functions_of(module: ModuleType) -> Iterator[FunctionType]:
    """The functions and methods that a module defines; those that dataclasses generate are not of interest."""
    classes = [kind for _, kind in inspect.getmembers(module, inspect.isclass)]
    members = (function for holder in (module, *classes) for _, function in inspect.getmembers(holder))
    own = (member for member in members if isinstance(member, FunctionType))
    yield from {function for function in own if function.__code__.co_filename == module.__file__}


def unguided(seconds: int, seed: int) -> None:
    """Try random inputs until the time is over."""
    source, end = random.Random(seed), time.monotonic() + seconds
    for count in itertools.count():
        if time.monotonic() > end:
            sys.stdout.write(f"{count} inputs in {seconds} s, nothing found (seed {seed})\n")
            return
        check(made_up(source))


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


def main() -> None:
    """Read the options, and fuzz with what is installed."""
    parser = argparse.ArgumentParser(description="Fuzz portside.framing.")
    parser.add_argument("--seconds", type=int, default=60, help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs, without atheris")
    options = parser.parse_args()
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        sys.stderr.write("atheris is not installed (pip install atheris): the inputs are random, not guided\n")
        unguided(options.seconds, options.seed)
    else:
        guided(atheris, options.seconds)


if __name__ == "__main__":
    main()
