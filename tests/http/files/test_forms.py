"""Forms with files: the same events however the bytes are split, and one error for whatever is no form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.http.files.forms import FILE_ENDS, MOST_PARTS, Event, FileBegins, FormCorrupt, boundary_of, read_form
from tests.test_framing import split

EDGE = b"edge"
TYPE = "multipart/form-data; boundary=edge"

contents = st.one_of(
    st.binary(max_size=50), st.lists(st.sampled_from([b"\r\n--ed", b"--edge", b"\r", b"\n"])).map(b"".join)
)
file_names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\;'), min_size=1, max_size=10)
parts = st.lists(st.tuples(file_names, contents), max_size=5)
noise = st.lists(
    st.sampled_from(
        [b"--edge", b"\r\n", b"--", b"\r\n--edge", b"Content-Disposition: form-data; filename=", b'"a"', b"x", b"\n"]
    )
).map(b"".join)
cuts = st.lists(st.integers(0, 10_000), max_size=8)


def part(content: bytes, disposition: str) -> bytes:
    head = f"--edge\r\nContent-Disposition: form-data; {disposition}\r\nContent-Type: text/plain\r\n\r\n"
    return head.encode() + content + b"\r\n"


def form(*pieces: bytes) -> bytes:
    return b"".join(pieces) + b"--edge--\r\n"


def files(pieces: list[bytes]) -> list[tuple[bytes, bytes]]:
    """The files of a form, each with its content."""
    found: list[tuple[bytes, bytes]] = []
    is_open = False
    for event in read_form(pieces, EDGE):
        if isinstance(event, FileBegins):
            assert not is_open
            found.append((event.name, b""))
        elif isinstance(event, bytes):
            assert is_open
            found[-1] = (found[-1][0], found[-1][1] + event)
        is_open = event is not FILE_ENDS
    assert not is_open
    return found


@given(parts, cuts)
def test_files_come_back(sent: list[tuple[str, bytes]], places: list[int]) -> None:
    inside = [(name, content) for name, content in sent if b"\r\n--edge" not in b"\r\n" + content]
    wire = form(*(part(content, f'name="f"; filename="{name}"') for name, content in inside))
    assert files(split(wire, places)) == [(name.encode(), content) for name, content in inside]


@given(st.one_of(noise, st.binary(max_size=60)), cuts)
def test_anything_else_is_refused_in_one_way(wire: bytes, places: list[int]) -> None:
    def outcome(pieces: list[bytes]) -> list[Event] | str:
        try:
            return [event for event in read_form(pieces, EDGE) if not isinstance(event, bytes)]
        except FormCorrupt as error:
            return str(error)

    assert isinstance(outcome([wire]), str) == isinstance(outcome(split(wire, places)), str)


def test_fields_that_are_no_files() -> None:
    wire = form(part(b"text", 'name="a"'), part(b"file", 'name="b"; filename="c"'), part(b"", 'name="d"; filename=""'))
    assert files([wire]) == [(b"c", b"file")]


@pytest.mark.parametrize(
    "wire",
    [
        *(b"", b"--edge\r\n", form(part(b"a", 'filename="b"'))[:-10], b"nonsense", b"--other--\r\n"),
        b"\r\nnonsense" + form(part(b"a", 'filename="b"')),  # taken for a form where it came in one piece
    ],
)
def test_cut_off(wire: bytes) -> None:
    with pytest.raises(FormCorrupt):
        files([wire])


def test_too_many_parts() -> None:
    with pytest.raises(FormCorrupt, match=str(MOST_PARTS)):
        files([form(*[part(b"", 'name="a"')] * (MOST_PARTS + 1))])


def test_head_of_a_part_is_bounded() -> None:
    with pytest.raises(FormCorrupt):
        files([form(part(b"", 'name="' + "a" * 100_000 + '"'))])


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (TYPE, b"edge"),
        ('Multipart/Form-Data; charset=x; boundary="a b"', b"a b"),
        ("application/x-www-form-urlencoded", None),
        ("text/plain; boundary=edge", None),
        ("", None),
    ],
)
def test_boundary(content_type: str, boundary: bytes | None) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary="])
def test_form_without_boundary(content_type: str) -> None:
    with pytest.raises(FormCorrupt, match="boundary"):
        boundary_of(content_type)


def test_boundary_that_is_too_long() -> None:
    with pytest.raises(FormCorrupt):
        list(read_form([b""], b"x" * 100_000))
