"""PatientReader reads like the standard library's BufferedReader, and loses nothing when a receive raises."""

import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.reading import PatientReader

PIECES = st.lists(st.binary(min_size=1, max_size=12) | st.sampled_from([b"\n", b"a\n", b"\n\n"]), max_size=12)
SIZES = st.none() | st.integers(-1, 20)


class Source:
    """Yields pieces, one a receive, then the end; a piece of None is a time-out."""

    def __init__(self, *pieces: bytes | None) -> None:
        self._pieces: Iterator[bytes | None] = iter(pieces)

    def receive(self, size: int) -> bytes:
        piece = next(self._pieces, b"")
        if piece is None:
            raise TimeoutError
        assert len(piece) <= size
        return piece


def reader(*pieces: bytes | None) -> PatientReader:
    return PatientReader(Source(*pieces).receive)


@given(PIECES, st.lists(st.tuples(st.sampled_from(["read", "readline"]), SIZES), max_size=10))
def test_reads_as_the_standard_library_does(pieces: list[bytes], calls: list[tuple[str, int | None]]) -> None:
    ours, theirs = reader(*pieces), io.BytesIO(b"".join(pieces))
    for name, size in calls:
        assert getattr(ours, name)(size) == getattr(theirs, name)(size)
    assert ours.read() == theirs.read()


@given(PIECES)
def test_lines_are_the_same_however_they_arrive(pieces: list[bytes]) -> None:
    assert list(reader(*pieces)) == list(io.BytesIO(b"".join(pieces)))


@pytest.mark.parametrize("name", ["read", "readline"])
def test_a_time_out_loses_nothing(name: str) -> None:
    ours = reader(b"half a ", None, b"line\n")
    with pytest.raises(TimeoutError):
        getattr(ours, name)()
    assert getattr(ours, name)() == b"half a line\n"


def test_read1_receives_at_most_once() -> None:
    ours = reader(b"first", b"second")
    assert [ours.read1(3), ours.read1(), ours.read1(100), ours.read1()] == [b"fir", b"st", b"second", b""]


def test_read1_of_nothing_waits_for_nothing() -> None:
    assert reader(None).read1(0) == b""


def test_peek_takes_nothing() -> None:
    ours = reader(b"first", b"second")
    assert (ours.peek(), ours.peek(2), ours.read(5), ours.peek()) == (b"first", b"first", b"first", b"second")


def test_readinto_and_readable() -> None:
    ours, buffer = reader(b"fir", b"st and more"), bytearray(5)
    assert ours.readable()
    assert (ours.readinto(buffer), bytes(buffer)) == (5, b"first")
