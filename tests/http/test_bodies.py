"""Bodies of requests: each ends where its request does."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.http.bodies import (
    CHUNK_LINE,
    NO_BODY,
    TRAILERS,
    ChunkDecoder,
    ChunkedBody,
    LengthBody,
    chunk_size,
    open_body,
)
from portside.http.errors import HTTPError, IncompleteRequest
from portside.http.head import NO_FIELDS


def source(data: bytes, step: int = 65536) -> Callable[[int], bytes]:
    """What a connection's reader would give: pieces of at most `step` bytes."""
    rest = bytearray(data)

    def receive(size: int) -> bytes:
        piece = bytes(rest[: min(size, step)])
        del rest[: len(piece)]
        return piece

    return receive


def chunked(pieces: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n\r\n"


@given(st.binary(max_size=300), st.integers(1, 400), st.binary(max_size=20))
def test_length_body_leaves_what_follows(data: bytes, step: int, after: bytes) -> None:
    receive = source(data + after, step)
    assert LengthBody(receive, len(data)).read() == data
    assert b"".join(iter(lambda: receive(100), b"")) == after


@given(st.lists(st.binary(max_size=100), max_size=8), st.integers(1, 400), st.binary(max_size=20))
def test_chunked_body_gives_back_what_follows(pieces: list[bytes], step: int, after: bytes) -> None:
    receive, given_back = source(chunked(pieces) + after, step), list[bytes]()
    assert ChunkedBody(receive, given_back.append).read() == b"".join(pieces)
    assert b"".join([*given_back, *iter(lambda: receive(100), b"")]) == after


@given(st.binary(max_size=60), st.integers(1, 20))
def test_any_bytes_are_chunks_or_an_http_error_however_they_are_split(data: bytes, step: int) -> None:
    assert outcome(data, step) == outcome(data, len(data) + 1)


def outcome(data: bytes, step: int) -> tuple[bytes, bool, str]:
    decoder, decoded = ChunkDecoder(), b""
    try:
        for start in range(0, len(data), step):
            decoded += decoder.feed(data[start : start + step])
    except HTTPError as error:
        return b"", False, str(error)
    return decoded, decoder.ended, ""


def test_body_that_ends_early() -> None:
    with pytest.raises(IncompleteRequest, match="Incomplete"):
        LengthBody(source(b"abc"), 4).read()
    with pytest.raises(IncompleteRequest):
        ChunkedBody(source(b"3\r\nabc\r\n"), list[bytes]().append).read()


def test_body_that_ends_early_is_a_connection_error_for_programs_that_catch_those() -> None:
    with pytest.raises(ConnectionResetError):
        LengthBody(source(b"abc"), 4).read()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"0" * (CHUNK_LINE + 1), 400),
        (b"3;" + b"x" * CHUNK_LINE + b"\r\nabc\r\n0\r\n\r\n", 400),
        (b"0\r\n" + b"X: y\r\n" * TRAILERS + b"\r\n", 431),
        (b"0\r\nX: " + b"y" * TRAILERS + b"\r\n\r\n", 400),
    ],
)
def test_lines_between_chunks_are_bounded(data: bytes, status: int) -> None:
    with pytest.raises(HTTPError) as caught:
        ChunkedBody(source(data), list[bytes]().append).read()
    assert caught.value.status == status


@pytest.mark.parametrize(("line", "size"), [(b"0", 0), (b"a", 10), (b"00fF", 255), (b"3 ;x", 3), (b'3;x="y"', 3)])
def test_chunk_size(line: bytes, size: int) -> None:
    assert chunk_size(line) == size


def test_drop() -> None:
    body = LengthBody(source(b"x" * 1000, 100), 1000)
    assert not body.drop(500)
    assert body.drop(501)
    assert body.read() == b""


def test_before_reading_is_called_once_and_only_where_there_is_a_body() -> None:
    calls = list[str]()
    body = LengthBody(source(b"abc", 1), 3)
    body.before_reading = lambda: calls.append("now")
    assert (body.read(1), body.read(), calls) == (b"a", b"bc", ["now"])


def test_nothing_announced_is_no_body() -> None:
    assert open_body(NO_FIELDS, source(b"rest"), list[bytes]().append) is NO_BODY
    assert (NO_BODY.read(), NO_BODY.readline(), NO_BODY.ended) == (b"", b"", True)
