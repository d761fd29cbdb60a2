"""What decoding costs: each codec against the loop that one would write by hand.

    python benchmarks/framing.py [--feed 65536]

The loops keep `bytes` and slice the front off, as such loops do, and check nothing: no limit, no broken header.
"""

import argparse
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from portside.framing import Codec, Delimited, Fixed, LengthPrefixed, Lines, Netstring, Varint

SIZES = (16, 256, 4096, 100_000)  # bytes in a frame
TOTAL = 2 * 1024 * 1024  # bytes decoded in a run, at least 8 of the largest frames
RUNS = 5  # of which the fastest counts: what else the machine does only ever slows a run down

Pieces = list[bytes]
Decode = Callable[[Pieces], int]


@dataclass(frozen=True, kw_only=True)
class Contest:
    """A codec and the loop by hand for the same bytes; both return how many frames they found."""

    name: str
    codec: Callable[[int], Codec]
    by_hand: Callable[[int], Decode]


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Of one run: millions of bytes a second, and thousands of frames a second."""

    megabytes: float
    kiloframes: float


# The loops by hand


def delimited_by_hand(delimiter: bytes, strip: bytes) -> Decode:
    """Split the first frame off, as often as there is a delimiter."""

    def decode(pieces: Pieces) -> int:
        buffer, count = b"", 0
        for piece in pieces:
            buffer += piece
            while delimiter in buffer:
                frame, buffer = buffer.split(delimiter, 1)
                frame.removesuffix(strip)
                count += 1
        return count

    return decode


def fixed_by_hand(size: int) -> Decode:
    """Slice the first frame off, as often as there is one."""

    def decode(pieces: Pieces) -> int:
        buffer, count = b"", 0
        for piece in pieces:
            buffer += piece
            while len(buffer) >= size:
                _frame, buffer = buffer[:size], buffer[size:]
                count += 1
        return count

    return decode


def length_prefixed_by_hand(pieces: Pieces) -> int:
    """Unpack the length, slice the frame off."""
    buffer, count = b"", 0
    for piece in pieces:
        buffer += piece
        while len(buffer) >= 4:
            (length,) = struct.unpack(">I", buffer[:4])
            if len(buffer) < 4 + length:
                break
            _frame, buffer = buffer[4 : 4 + length], buffer[4 + length :]
            count += 1
    return count


def varint_by_hand(pieces: Pieces) -> int:
    """Add the groups of the length up, slice the frame off."""
    buffer, count = b"", 0
    for piece in pieces:
        buffer += piece
        while buffer:
            length = end = 0
            while end < len(buffer):
                length |= (buffer[end] & 0x7F) << (7 * end)
                end += 1
                if buffer[end - 1] < 0x80:
                    break
            if len(buffer) < end + length:
                break
            _frame, buffer = buffer[end : end + length], buffer[end + length :]
            count += 1
    return count


def netstring_by_hand(pieces: Pieces) -> int:
    """Split the length off, slice the frame off."""
    buffer, count = b"", 0
    for piece in pieces:
        buffer += piece
        while b":" in buffer:
            digits, rest = buffer.split(b":", 1)
            length = int(digits)
            if len(rest) <= length:
                break
            _frame, buffer = rest[:length], rest[length + 1 :]
            count += 1
    return count


CONTESTS = (
    Contest(name="Lines", codec=lambda _: Lines(max_size=TOTAL), by_hand=lambda _: delimited_by_hand(b"\n", b"\r")),
    Contest(
        name="Delimited",
        codec=lambda _: Delimited(delimiter=b"--", max_size=TOTAL),
        by_hand=lambda _: delimited_by_hand(b"--", b""),
    ),
    Contest(name="Fixed", codec=lambda size: Fixed(size=size), by_hand=fixed_by_hand),
    Contest(name="LengthPrefixed", codec=lambda _: LengthPrefixed(), by_hand=lambda _: length_prefixed_by_hand),
    Contest(name="Varint", codec=lambda _: Varint(), by_hand=lambda _: varint_by_hand),
    Contest(name="Netstring", codec=lambda _: Netstring(), by_hand=lambda _: netstring_by_hand),
)


# The measurement


def with_codec(codec: Codec) -> Decode:
    """Decode as the documentation says to."""

    def decode(pieces: Pieces) -> int:
        decoder, count = codec.decoder(), 0
        for piece in pieces:
            decoder.feed(piece)
            for _frame in decoder:
                count += 1
        return count

    return decode


def speed(decode: Decode, pieces: Pieces, frames: int) -> Speed:
    """The fastest of the runs."""
    seconds = min(_seconds(decode, pieces, frames) for _ in range(RUNS))
    return Speed(megabytes=sum(map(len, pieces)) / seconds / 1e6, kiloframes=frames / seconds / 1e3)


def _seconds(decode: Decode, pieces: Pieces, frames: int) -> float:
    start = time.perf_counter()
    found = decode(pieces)
    seconds = time.perf_counter() - start
    if found != frames:
        raise AssertionError(f"{found} frames were found where {frames} had been sent")
    return seconds


def rows(feed: int) -> Iterator[tuple[str, int, Speed, Speed]]:
    """Name, bytes in a frame, speed of the codec, speed of the loop by hand."""
    for contest in CONTESTS:
        for size in SIZES:
            codec, frames = contest.codec(size), TOTAL // size
            wire = codec.encode(b"x" * size) * frames
            pieces = [wire[start : start + feed] for start in range(0, len(wire), feed)]
            ours = speed(with_codec(codec), pieces, frames)
            yield contest.name, size, ours, speed(contest.by_hand(size), pieces, frames)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Decode frames with portside.framing and by hand.")
    parser.add_argument("--feed", type=int, default=65536, help="bytes that arrive at a time (default: %(default)s)")
    feed = parser.parse_args().feed
    print(f"{feed} bytes at a time; the best of {RUNS} runs\n")
    print(f"{'':<15}{'bytes':>6}  {'portside.framing':>22}  {'loop by hand':>22}")
    print(f"{'codec':<15}{'/frame':>6}  {'MB/s':>9}{'kframes/s':>13}  {'MB/s':>9}{'kframes/s':>13}  {'times':>6}")
    for name, size, ours, theirs in rows(feed):
        times = ours.megabytes / theirs.megabytes
        print(
            f"{name:<15}{size:>6}  {ours.megabytes:>9,.0f}{ours.kiloframes:>13,.0f}"
            f"  {theirs.megabytes:>9,.0f}{theirs.kiloframes:>13,.0f}  {times:>6.1f}"
        )


if __name__ == "__main__":
    main()
