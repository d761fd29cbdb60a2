"""Readers read like the standard library's; one loses nothing when a receive raises, one bounds its lines."""

import io
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.framing import FrameTooLong
from portside.reading import BoundedReader, PatientReader, bounded_reader

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


# Bounds

LONGEST = 20


@given(PIECES, st.integers(16, 40))
def test_lines_within_the_bound_are_the_standard_librarys(pieces: list[bytes], buffer_size: int) -> None:
    whole = b"".join(pieces)
    lines = list(io.BytesIO(whole))
    allowed = next((number for number, line in enumerate(lines) if len(line) > LONGEST), len(lines))
    for take in (iter, lambda file: iter(file.readline, b"")):
        taken = []
        try:
            for line in take(BoundedReader(io.BytesIO(whole), buffer_size, LONGEST)):
                taken.append(line)
        except FrameTooLong as error:
            assert (error.limit, allowed < len(lines)) == (LONGEST, True)
        assert taken == lines[:allowed]


def test_a_piece_of_a_long_line_may_be_asked_for() -> None:
    file = BoundedReader(io.BytesIO(bytes(100)), 64, LONGEST)
    assert (file.readline(30), file.read(30)) == (bytes(30), bytes(30))
    with pytest.raises(FrameTooLong):
        file.readline()


@pytest.mark.parametrize("buffer_size", [-1, 0, 100])
@pytest.mark.parametrize("longest", [None, LONGEST])
def test_a_wait_that_the_kernel_ends_is_a_timeout(buffer_size: int, longest: int | None) -> None:
    ours, theirs = socket.socketpair()
    with (
        ours,
        theirs,
        bounded_reader(ours.makefile("rb", buffer_size), ours, buffer_size, longest, prompt=True) as file,
    ):
        theirs.sendall(b"line\n")
        assert file.readline() == b"line\n"
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 10_000))
        with pytest.raises(TimeoutError, match="sent nothing in time"):
            file.read(1)
        assert file.fileno() == ours.fileno()
        theirs.close()
        assert file.read(1) == b""
    assert ours.fileno() == -1


def test_the_buffer_has_the_size_that_was_asked_for() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, bounded_reader(ours.makefile("rb", 10), ours, 10, LONGEST, prompt=False) as file:
        theirs.sendall(bytes(100))
        assert len(file.peek()) == 10


def test_a_socket_that_does_not_wait_is_none_the_wiser() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, bounded_reader(ours.makefile("rb", 0), ours, 0, None, prompt=True) as file:
        ours.setblocking(False)
        assert file.read(1) is None
