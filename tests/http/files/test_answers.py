"""Which answer a request gets, decided from its fields alone."""

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.http.files.answers import Answer, Representation, asked, conditional, content
from portside.http.files.body import length_of
from portside.http.files.conditions import ETag, Validators
from portside.http.files.encodings import GZIP
from portside.http.files.ranges import Span

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
PLAIN = Representation("text/plain", 1000, Validators(ETag("a"), 784111777), DATE)
CODED = PLAIN._replace(coding=GZIP, varies=True)
PACKED = CODED._replace(has_ranges=False)

values = st.one_of(st.text(max_size=20), st.sampled_from(['"a"', "*", DATE, "bytes=0-9,500-", "bytes=-0"]))
fields = st.dictionaries(
    st.sampled_from(["range", "if-range", "if-match", "if-none-match", "if-modified-since"]), values
)


def answer(method: str, sent: dict[str, str], what: Representation = PLAIN) -> Answer:
    return conditional(method, sent, what) or content(method, sent, what)


def test_whole() -> None:
    assert answer("GET", {}) == Answer(
        HTTPStatus.OK,
        [
            ("Content-type", "text/plain"),
            ("Content-Length", "1000"),
            ("Last-Modified", DATE),
            ("ETag", '"a"'),
            ("Accept-Ranges", "bytes"),
        ],
        (Span(0, 1000),),
    )


def test_coded() -> None:
    head = dict(answer("GET", {}, CODED).fields)
    assert (head["Content-Encoding"], head["Vary"], head["Accept-Ranges"]) == ("gzip", "Accept-Encoding", "bytes")
    assert "Accept-Ranges" not in dict(answer("GET", {}, PACKED).fields)


def test_part() -> None:
    status, head, pieces = answer("GET", {"range": "bytes=1-2"})
    assert (status, pieces) == (HTTPStatus.PARTIAL_CONTENT, (Span(1, 3),))
    assert (dict(head)["Content-Range"], dict(head)["Content-Length"]) == ("bytes 1-2/1000", "2")


def test_parts() -> None:
    status, head, pieces = answer("GET", {"range": "bytes=0-0,500-500"})
    assert status is HTTPStatus.PARTIAL_CONTENT
    assert dict(head)["Content-type"].startswith("multipart/byteranges; boundary=")
    assert [piece for piece in pieces if isinstance(piece, Span)] == [Span(0, 1), Span(500, 501)]
    assert "Content-Range" not in dict(head)


def test_part_that_is_not_there() -> None:
    status, head, pieces = answer("GET", {"range": "bytes=1000-"})
    assert (status, pieces) == (HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, ())
    assert dict(head) == {"Content-Range": "bytes */1000", "Content-Length": "0"}


@pytest.mark.parametrize(
    ("method", "sent", "what"),
    [
        ("HEAD", {"range": "bytes=0-0"}, PLAIN),
        ("POST", {"range": "bytes=0-0"}, PLAIN),
        ("GET", {"range": "bytes=0-0"}, PACKED),
        ("GET", {"range": "bytes=0-0", "if-range": '"b"'}, PLAIN),
        ("GET", {"range": "lines=0-0"}, PLAIN),
        ("GET", {"range": "bytes=0-0, bytes=1-1"}, PLAIN),
    ],
)
def test_whole_instead_of_a_part(method: str, sent: dict[str, str], what: Representation) -> None:
    assert answer(method, sent, what).status is HTTPStatus.OK


def test_conditions_come_first() -> None:
    assert answer("GET", {"range": "bytes=5000-", "if-none-match": '"a"'}).status is HTTPStatus.NOT_MODIFIED
    assert answer("GET", {"range": "bytes=5000-", "if-match": '"b"'}).status is HTTPStatus.PRECONDITION_FAILED


def test_not_modified_repeats_what_caches_keep() -> None:
    assert answer("GET", {"if-none-match": '"a"'}, CODED).fields == [
        ("Last-Modified", DATE),
        ("ETag", '"a"'),
        ("Vary", "Accept-Encoding"),
    ]


@given(st.sampled_from(["GET", "HEAD", "SPAM"]), fields, st.sampled_from([PLAIN, CODED, PACKED]))
def test_length_is_that_of_the_pieces(method: str, sent: dict[str, str], what: Representation) -> None:
    status, head, pieces = answer(method, sent, what)
    if status is HTTPStatus.NOT_MODIFIED:
        assert pieces == ()
    else:
        assert int(dict(head)["Content-Length"]) == sum(map(length_of, pieces))
    assert not any(mark in value for _, value in head for mark in "\r\n\0")


def test_fields_that_are_asked_for() -> None:
    sent = [("Range", "bytes=0-0"), ("X", "y"), ("IF-None-Match", '"a"'), ("if-none-match", '"b"')]
    assert asked(sent) == {"range": "bytes=0-0", "if-none-match": '"a", "b"'}
