"""Range fields: what they ask for, and that what is sent is exactly that, within the file and never twice."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.http.files.ranges import MOST_RANGES, WORTH_A_PART, NotSatisfiable, Span, multipart, read_ranges

SIZE = 10_000
CONTENT = bytes(range(256)) * 40

numbers = st.one_of(st.integers(0, 12_000).map(str), st.sampled_from(["", "0", "9999", "10000", "007", "9" * 30]))
specs = st.tuples(numbers, numbers).map("-".join)
sensible = st.lists(specs, min_size=1, max_size=8).map(lambda ranges: "bytes=" + ",".join(ranges))
noise = st.text(st.sampled_from("bytes=-, \t0123456789x+_.\u0663"), max_size=40)
values = st.one_of(sensible, noise, noise.map(lambda text: "bytes=" + text), st.text(max_size=20))


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=0-499", [(0, 500)]),
        ("bytes=9500-", [(9500, 10_000)]),
        ("bytes=-500", [(9500, 10_000)]),
        ("bytes=0-", [(0, 10_000)]),
        ("bytes=0-99999", [(0, 10_000)]),
        ("bytes=-99999", [(0, 10_000)]),
        ("bytes=9999-9999", [(9999, 10_000)]),
        ("Bytes = 0-0", [(0, 1)]),
        ("bytes= 0-0 ,\t, 500-500,", [(0, 1), (500, 501)]),
        ("bytes=500-500,0-0", [(500, 501), (0, 1)]),
        ("bytes=0-0,20000-", [(0, 1)]),
        ("bytes=0-0,-0", [(0, 1)]),
        ("bytes=0-99,50-149", [(0, 150)]),
        ("bytes=0-99,100-199", [(0, 200)]),
        (f"bytes=0-0,{1 + WORTH_A_PART}-{1 + WORTH_A_PART}", [(0, 2 + WORTH_A_PART)]),
        (f"bytes=0-0,{2 + WORTH_A_PART}-{2 + WORTH_A_PART}", [(0, 1), (2 + WORTH_A_PART, 3 + WORTH_A_PART)]),
        ("bytes=5000-5009,0-9,5005-5014", [(5000, 5015), (0, 10)]),
        ("bytes=" + "0" * 50 + "1-1", [(1, 2)]),
        ("bytes=0-" + "9" * 5000, [(0, 10_000)]),
    ],
)
def test_asks_for(text: str, spans: list[tuple[int, int]]) -> None:
    assert read_ranges(text, SIZE) == tuple(Span(*span) for span in spans)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=1",
        "bytes=a-b",
        "bytes=2-1",
        "bytes=0-0,2-1",
        "bytes=+1-2",
        "bytes=1_0-2_0",
        "bytes=\u0663-\u0664",
        "bytes=0-0-0",
        "bytes=0 - 0",
        "bytes 0-0",
        "lines=0-0",
        "bytes=" + "0-0," * (MOST_RANGES + 1),
    ],
)
def test_is_ignored(text: str) -> None:
    assert read_ranges(text, SIZE) is None


@pytest.mark.parametrize("text", ["bytes=10000-", "bytes=10000-10001", "bytes=-0", "bytes=20000-,-0"])
def test_cannot_be_satisfied(text: str) -> None:
    with pytest.raises(NotSatisfiable):
        read_ranges(text, SIZE)


def test_nothing_of_an_empty_file_can_be_sent() -> None:
    with pytest.raises(NotSatisfiable):
        read_ranges("bytes=0-", 0)


@given(values, st.integers(0, SIZE))
def test_any_text_gives_spans_in_the_file_or_none(text: str, size: int) -> None:
    try:
        spans = read_ranges(text, size)
    except NotSatisfiable:
        return
    if spans is None:
        return
    assert 0 < len(spans) <= MOST_RANGES
    assert all(0 <= span.start < span.stop <= size for span in spans)
    assert all(before.stop + WORTH_A_PART < after.start for before, after in pairwise(sorted(spans)))


@given(sensible)
def test_everything_that_was_asked_for_is_sent(text: str) -> None:
    wanted = [bounds for bounds in re.findall(r"([0-9]*)-([0-9]*)", text) if bounds[0]]
    try:
        spans = read_ranges(text, SIZE)
    except NotSatisfiable:
        assert all(int(first) >= SIZE for first, _ in wanted)
        return
    for first, last in wanted if spans else ():
        stop = min(SIZE, int(last) + 1 if last else SIZE)
        assert int(first) >= SIZE or any(span.start <= int(first) and stop <= span.stop for span in spans or ())


@given(st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 100)), min_size=1, max_size=8))
def test_multipart_holds_each_part(bounds: list[tuple[int, int]]) -> None:
    spans = [Span(start, min(SIZE, start + length)) for start, length in bounds]
    pieces = list(multipart(spans, SIZE, "text/plain", "edge"))
    wire = b"".join(CONTENT[piece.start : piece.stop] if isinstance(piece, Span) else piece for piece in pieces)
    found = []
    assert wire.endswith(b"\r\n--edge--\r\n")
    for span in spans:
        head, _, wire = wire.partition(b"\r\n\r\n")
        assert head.lstrip(b"\r\n").split(b"\r\n") == [
            b"--edge",
            b"Content-Type: text/plain",
            f"Content-Range: bytes {span.start}-{span.stop - 1}/{SIZE}".encode(),
        ]
        found.append(wire[: span.length])
        wire = wire[span.length :]
    assert found == [CONTENT[span.start : span.stop] for span in spans]
    assert wire == b"\r\n--edge--\r\n"
