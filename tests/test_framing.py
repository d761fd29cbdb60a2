"""Codecs: what they take, what they refuse, and that it never matters how the bytes were split or how many they are."""

import copy
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

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

SIZE = 40  # bytes that frames of the property tests may have: few, so that the limits are met often
KIB = 1024

CODECS: list[Codec] = [
    Lines(max_size=SIZE),
    Lines(ending=b"\r\n", max_size=SIZE),
    Delimited(max_size=SIZE),
    Delimited(delimiter=b"aa", max_size=SIZE),
    Delimited(delimiter=b"\r\n.\r\n", max_size=SIZE),
    Fixed(size=1),
    Fixed(size=5),
    *(LengthPrefixed(width=width, max_size=SIZE) for width in (1, 2, 4, 8)),
    *(LengthPrefixed(width=width, byteorder="little", max_size=SIZE) for width in (1, 2, 4, 8)),
    Varint(max_size=SIZE),
    Varint(max_size=300),
    Netstring(max_size=SIZE),
    Netstring(max_size=9),
]

Cuts = list[int]

codecs = st.sampled_from(CODECS)
cuts = st.lists(st.integers(min_value=0, max_value=10_000), max_size=12)
# Bytes that mean something to one codec or another, so that what is made of them gets past the first header.
telling = st.lists(st.sampled_from([b"a", b".", b"\r", b"\n", b"\0", b"\x02", b"\x80", b"0", b"3", b":", b","]))
noise = st.one_of(st.binary(max_size=300), telling.map(b"".join))


def decoded(codec: Codec, pieces: Iterable[bytes]) -> tuple[list[bytes], type[FrameError] | None]:
    """All frames, and the kind of the error after them."""
    decoder, frames = codec.decoder(), list[bytes]()
    try:
        for piece in pieces:
            decoder.feed(piece)
            for frame in decoder:
                frames.append(frame)
        decoder.finish()
    except FrameError as error:
        return frames, type(error)
    return frames, None


def split(wire: bytes, places: Cuts) -> list[bytes]:
    """The bytes, cut at these places."""
    ends = sorted({0, len(wire), *(place % (len(wire) + 1) for place in places)})
    return [wire[start:end] for start, end in pairwise(ends)]


def singly(wire: bytes) -> list[bytes]:
    """The bytes, each by itself."""
    return [wire[place : place + 1] for place in range(len(wire))]


def can_be_sent(codec: Codec, frame: bytes) -> bool:
    """Whether the codec encodes the frame."""
    try:
        return bool(codec.encode(frame))
    except FrameError:
        return False


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Codec, list[bytes]]:
    """A codec, and frames that it encodes."""
    codec = draw(codecs)
    least = codec.max_size if isinstance(codec, Fixed) else 0
    payloads = st.binary(min_size=least, max_size=codec.max_size)
    return codec, draw(st.lists(payloads.filter(lambda frame: can_be_sent(codec, frame)), max_size=20))


# Properties, of every codec


@given(conversations(), cuts)
def test_round_trip(conversation: tuple[Codec, list[bytes]], places: Cuts) -> None:
    codec, frames = conversation
    wire = b"".join(codec.encode(frame) for frame in frames)
    assert decoded(codec, split(wire, places)) == (frames, None)


@given(codecs, noise, cuts)
@example(Netstring(max_size=9), b"99x", [2])
@example(Lines(max_size=1), b"a\r\r\n", [3])
@example(Delimited(delimiter=b"aa", max_size=2), b"xaaaa", [2, 3, 4])
def test_any_split_gives_the_same(codec: Codec, wire: bytes, places: Cuts) -> None:
    whole = decoded(codec, [wire])
    assert decoded(codec, split(wire, places)) == whole
    assert decoded(codec, singly(wire)) == whole


@given(codecs, noise, cuts)
def test_feeding_ahead_gives_the_same(codec: Codec, wire: bytes, places: Cuts) -> None:
    decoder, frames = codec.decoder(), list[bytes | None]()
    try:
        for piece in split(wire, places):
            decoder.feed(piece)
            frames.append(decoder.next_frame())
        for frame in decoder:
            frames.append(frame)
    except FrameError:
        pass
    assert [frame for frame in frames if frame is not None] == decoded(codec, [wire])[0]


@given(codecs, noise)
def test_a_frame_is_within_the_limit(codec: Codec, wire: bytes) -> None:
    assert all(len(frame) <= codec.max_size for frame in decoded(codec, [wire])[0])


@given(conversations(), cuts)
def test_pending_is_what_was_not_given_out(conversation: tuple[Codec, list[bytes]], places: Cuts) -> None:
    codec, frames = conversation
    decoder, held = codec.decoder(), 0
    for piece in split(b"".join(codec.encode(frame) for frame in frames), places):
        decoder.feed(piece)
        held += len(piece)
        assert decoder.pending == held
        for frame in decoder:
            held -= len(codec.encode(frame))
            assert decoder.pending == held


@given(codecs, noise, noise)
def test_an_error_is_final(codec: Codec, wire: bytes, later: bytes) -> None:
    decoder = codec.decoder()
    decoder.feed(wire)
    try:
        list(decoder)
    except FrameError as error:
        decoder.feed(later)
        assert decoder.pending == 0
        for again in (decoder.next_frame, decoder.finish, lambda: list(decoder)):
            with pytest.raises(type(error)) as caught:
                again()
            assert str(caught.value) == str(error)


@given(codecs, noise)
def test_finish_knows_before_the_frames_are_taken(codec: Codec, wire: bytes) -> None:
    frames, error = decoded(codec, [wire])
    decoder = codec.decoder()
    decoder.feed(wire)
    assert _kind_raised_by(decoder.finish) is error
    assert [decoder.next_frame() for _ in frames] == frames
    assert _kind_raised_by(decoder.next_frame) is error


def _kind_raised_by(call: Callable[[], object]) -> type[FrameError] | None:
    try:
        call()
    except FrameError as error:
        return type(error)
    return None


@given(conversations())
def test_any_kind_of_bytes(conversation: tuple[Codec, list[bytes]]) -> None:
    codec, frames = conversation
    decoder = codec.decoder()
    for frame in frames:
        buffer = bytearray(codec.encode(bytearray(frame)))
        assert codec.encode(memoryview(frame)) == buffer
        decoder.feed(memoryview(buffer)[:1])
        decoder.feed(buffer[1:])
        buffer[:] = bytes(len(buffer))
    assert list(decoder) == frames


# What each codec takes and refuses

LONG = 20 * KIB  # bytes, more than are split at a time


@pytest.mark.parametrize(
    ("codec", "wire", "frames"),
    [
        (Lines(), b"one\ntwo\r\n\n\r\nthree\n", [b"one", b"two", b"", b"", b"three"]),
        (Lines(), b"a\rb\r\r\n", [b"a\rb\r"]),
        (Lines(max_size=3), b"abc\nabc\r\n", [b"abc", b"abc"]),
        (Lines(), b"a" * LONG + b"\r\nb\n", [b"a" * LONG, b"b"]),
        (Delimited(), b"one\0\0two\n\0", [b"one", b"", b"two\n"]),
        (Delimited(delimiter=b"aa"), b"xaaayaa", [b"x", b"ay"]),
        (Delimited(delimiter=b"\n", max_size=3), b"ab\r\n", [b"ab\r"]),
        (Fixed(size=3), b"abcdef", [b"abc", b"def"]),
        (LengthPrefixed(), b"\0\0\0\x02hi\0\0\0\0", [b"hi", b""]),
        (LengthPrefixed(width=2, byteorder="little"), b"\x02\0hi", [b"hi"]),
        (LengthPrefixed(width=8), b"\0\0\0\0\0\0\0\x01a", [b"a"]),
        (Varint(), b"\x02hi\0" + b"\xac\x02" + b"a" * 300, [b"hi", b"", b"a" * 300]),
        (Varint(), b"\x81" + b"\x80" * 8 + b"\0a", [b"a"]),
        (Netstring(), b"12:hello world!,0:,", [b"hello world!", b""]),
    ],
)
def test_takes(codec: Codec, wire: bytes, frames: list[bytes]) -> None:
    assert decoded(codec, [wire]) == (frames, None)
    assert decoded(codec, singly(wire)) == (frames, None)


@pytest.mark.parametrize(
    ("codec", "wire", "frames", "error"),
    [
        (Lines(max_size=3), b"abc\nabcd", [b"abc"], FrameTooLong),
        (Lines(max_size=3), b"abc\nabcd\nabc\n", [b"abc"], FrameTooLong),
        (Lines(max_size=3), b"abc\r\r", [], FrameTooLong),
        (Delimited(delimiter=b"--", max_size=3), b"abc--abcd", [b"abc"], FrameTooLong),
        (Delimited(delimiter=b"--", max_size=3), b"abc-d", [], FrameTooLong),
        (LengthPrefixed(max_size=3), b"\0\0\0\x01a\0\0\0\x04", [b"a"], FrameTooLong),
        (LengthPrefixed(width=8), b"\x80" + bytes(7), [], FrameTooLong),
        (LengthPrefixed(width=8, byteorder="little"), bytes(7) + b"\x80", [], FrameTooLong),
        (Varint(), b"\x80" * 9 + b"\x01", [], FrameTooLong),
        (Varint(), b"\x80" * 9 + b"\x02", [], FrameCorrupt),
        (Varint(), b"\x01a" + b"\x80" * 10, [b"a"], FrameCorrupt),
        (Netstring(max_size=99), b"100", [], FrameTooLong),
        (Netstring(max_size=50), b"1:a,51:", [b"a"], FrameTooLong),
        (Netstring(), b":,", [], FrameCorrupt),
        (Netstring(), b"01:a,", [], FrameCorrupt),
        (Netstring(), b"00", [], FrameCorrupt),
        (Netstring(), b" 1:a,", [], FrameCorrupt),
        (Netstring(), b"-1:a,", [], FrameCorrupt),
        (Netstring(), b"\xd9\xa1:a,", [], FrameCorrupt),
        (Netstring(), b"1:a,1:ab", [b"a"], FrameCorrupt),
    ],
)
def test_refuses(codec: Codec, wire: bytes, frames: list[bytes], error: type[FrameError]) -> None:
    for pieces in ([wire], singly(wire)):
        decoder, taken = codec.decoder(), list[bytes]()
        with pytest.raises(error):
            for piece in pieces:
                decoder.feed(piece)
                taken.extend(iter(decoder.next_frame, None))
        assert taken == frames


@pytest.mark.parametrize(
    ("codec", "wire"),
    [
        (Lines(), b"one\ntw"),
        (Lines(), b"\r"),
        (Delimited(delimiter=b"--"), b"one-"),
        (Fixed(size=3), b"abcd"),
        (LengthPrefixed(), b"\0\0\0"),
        (LengthPrefixed(), b"\0\0\0\x02h"),
        (Varint(), b"\x80"),
        (Netstring(), b"1"),
        (Netstring(), b"1:a"),
    ],
)
def test_an_end_inside_a_frame(codec: Codec, wire: bytes) -> None:
    decoder = codec.decoder()
    decoder.feed(wire)
    assert len(list(decoder)) <= 1
    with pytest.raises(FrameCorrupt, match="ended inside a frame"):
        decoder.finish()


@pytest.mark.parametrize(
    ("codec", "frame", "error"),
    [
        (Lines(max_size=3), b"abcd", FrameTooLong),
        (Lines(), b"a\nb", FrameCorrupt),
        (Lines(ending=b"\r\n"), b"a\r", FrameCorrupt),
        (Delimited(max_size=3), b"abcd", FrameTooLong),
        (Delimited(delimiter=b"--"), b"a--b", FrameCorrupt),
        (Delimited(delimiter=b"--"), b"a-", FrameCorrupt),
        (Fixed(size=3), b"ab", FrameCorrupt),
        (Fixed(size=3), b"abcd", FrameTooLong),
        (LengthPrefixed(max_size=3), b"abcd", FrameTooLong),
        (LengthPrefixed(width=1), bytes(256), FrameTooLong),
        (Varint(max_size=3), b"abcd", FrameTooLong),
        (Netstring(max_size=3), b"abcd", FrameTooLong),
    ],
)
def test_does_not_send(codec: Codec, frame: bytes, error: type[FrameError]) -> None:
    with pytest.raises(error):
        codec.encode(frame)


def test_lines_are_sent_with_their_ending() -> None:
    assert (Lines().encode(b"hi"), Lines(ending=b"\r\n").encode(b"hi")) == (b"hi\n", b"hi\r\n")


def test_too_long_says_how_long_is_allowed() -> None:
    error = FrameTooLong(7)
    assert (error.limit, str(error)) == (7, "the frame is longer than the 7 bytes that are allowed")
    assert copy.copy(error).limit == 7


def test_one_except_is_enough() -> None:
    assert issubclass(FrameTooLong, FrameError) and issubclass(FrameCorrupt, FrameError)
    assert issubclass(FrameError, ValueError)


@pytest.mark.parametrize(
    ("kind", "option", "value", "accepted"),
    [
        (Lines, "ending", b"\r", r"b'\n' or b'\r\n'"),
        (Lines, "max_size", 0, "a number of bytes, 1 or more"),
        (Varint, "max_size", "9", "a number of bytes, 1 or more"),
        (Delimited, "delimiter", b"", "bytes that are not empty"),
        (Delimited, "delimiter", "--", "bytes that are not empty"),
        (Fixed, "size", 0, "a number of bytes, 1 or more"),
        (LengthPrefixed, "width", 3, "1, 2, 4 or 8"),
        (LengthPrefixed, "byteorder", "native", "'big' or 'little'"),
        (Netstring, "max_size", -1, "a number of bytes, 1 or more"),
    ],
)
def test_options_are_checked(kind: Callable[..., Codec], option: str, value: object, accepted: str) -> None:
    with pytest.raises(ValueError, match="cannot be used") as caught:
        kind(**{option: value})
    assert str(caught.value) == f"{option}={value!r} cannot be used: give {accepted}"


# What it costs, counted in bytes and not in seconds


@pytest.fixture
def peak() -> Iterator[Callable[[], int]]:
    """The most memory that was held since the test began, in bytes."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


@pytest.mark.parametrize("codec", [LengthPrefixed(width=8, max_size=KIB), Varint(max_size=KIB)])
def test_an_announcement_of_exabytes_allocates_nothing(codec: Codec, peak: Callable[[], int]) -> None:
    decoder = codec.decoder()
    decoder.feed(b"\x80" + bytes(7) if isinstance(codec, LengthPrefixed) else b"\x80" * 9 + b"\x01")
    with pytest.raises(FrameTooLong) as caught:
        decoder.next_frame()
    assert caught.value.limit == KIB
    assert peak() < 64 * KIB


@pytest.mark.parametrize("codec", [Lines(max_size=64 * KIB), Delimited(delimiter=b"--", max_size=64 * KIB)])
def test_a_frame_without_end_is_refused_with_its_first_byte_too_many(codec: Codec, peak: Callable[[], int]) -> None:
    decoder = codec.decoder()
    for _ in range(64):
        decoder.feed(b"a" * KIB)
        assert decoder.next_frame() is None
    decoder.feed(b"a")
    with pytest.raises(FrameTooLong):
        decoder.next_frame()
    for _ in range(KIB):
        decoder.feed(b"a" * KIB)
    assert decoder.pending == 0
    assert peak() < 256 * KIB


class Work(Counter[str]):
    """What the decoders do to bytes: how many they copy and search, and how often they join them."""


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Puts types that count their work in the place of bytes and bytearray."""
    counts = Work()

    class CountingBytes(bytes):
        def __getitem__(self, key: Any) -> Any:
            counts["copied"] += len(range(*key.indices(len(self))))
            return super().__getitem__(key)

        def find(self, part: Any, *bounds: Any) -> int:
            return _counted_find(counts, super().find(part, *bounds), len(self), *bounds)

    class CountingBytearray(bytearray):
        def __init__(self) -> None:
            super().__init__()
            counts["joined"] += 1

        def find(self, part: Any, *bounds: Any) -> int:
            return _counted_find(counts, super().find(part, *bounds), len(self), *bounds)

    monkeypatch.setattr(framing, "bytes", CountingBytes, raising=False)
    monkeypatch.setattr(framing, "bytearray", CountingBytearray, raising=False)
    return counts


def _counted_find(counts: Work, found: int, length: int, start: int) -> int:
    counts["searched"] += (length if found < 0 else found) - start
    return found


COUNTED_ON: list[Codec] = [Lines(), Delimited(delimiter=b"--"), LengthPrefixed(), Varint(), Netstring()]


@pytest.mark.parametrize("codec", [*COUNTED_ON, Fixed(size=10)], ids=repr)
def test_many_frames_in_one_feed_are_copied_once(codec: Codec, work: Work) -> None:
    wire = bytes(codec.encode(b"0123456789")) * 10_000
    work.clear()
    assert decoded(codec, [wire]) == ([b"0123456789"] * 10_000, None)
    assert work["copied"] <= 3 * len(wire)
    assert work["searched"] <= len(wire)
    assert work["joined"] <= 2


@pytest.mark.parametrize("codec", [*COUNTED_ON, Fixed(size=10_000)], ids=repr)
def test_a_long_frame_that_drips_in_is_joined_a_few_times(codec: Codec, work: Work) -> None:
    wire = bytes(codec.encode(b"a" * 10_000))
    work.clear()
    assert decoded(codec, singly(wire)) == ([b"a" * 10_000], None)
    assert work["joined"] <= 10
    assert work["copied"] + work["searched"] <= 4 * len(wire)


def test_frames_taken_one_by_one_from_a_growing_backlog_are_joined_seldom(work: Work) -> None:
    codec = LengthPrefixed()
    wire = bytes(codec.encode(b"0123456789")) * 10
    decoder = codec.decoder()
    for _ in range(1_000):
        decoder.feed(wire)
        assert decoder.next_frame() == b"0123456789"
    assert work["joined"] <= 10
