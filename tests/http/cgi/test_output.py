"""What a script answered."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.http.cgi.output import BadOutput, ScriptHead, head_end, parse_head

TEXT = b"Content-Type: text/plain\n"


@pytest.mark.parametrize(
    ("output", "end"),
    [
        (b"", -1),
        (b"Content-Type: text/plain\n", -1),
        (b"Content-Type: text/plain\r\n\r", -1),
        (b"A: b\n\nbody", 6),
        (b"A: b\r\n\r\nbody\n\n", 8),
        (b"A: b\n\r\nbody", 7),
        (b"A: b\nC: d\n\n", 11),
    ],
)
def test_end_of_the_head(output: bytes, end: int) -> None:
    assert head_end(output) == end


@pytest.mark.parametrize("output", [b"\nbody", b"\r\n"])
def test_answer_without_a_head(output: bytes) -> None:
    with pytest.raises(BadOutput, match="a head comes first"):
        head_end(output)


@pytest.mark.parametrize(
    ("head", "status", "reason"),
    [
        (TEXT, 200, "OK"),
        (TEXT + b"Status: 404\n", 404, "Not Found"),
        (TEXT + b"status: 404 Gone Fishing \n", 404, "Gone Fishing"),
        (b"Status: 299\n", 299, ""),
        (b"Location: https://example.org/\n", 302, "Found"),
        (b"Location: //example.org/x\n", 302, "Found"),
        (b"Location: /x\nStatus: 303 See Other\n", 303, "See Other"),
    ],
)
def test_status(head: bytes, status: int, reason: str) -> None:
    found = parse_head(head + b"\n")
    assert (found.status, found.reason, found.local) == (status, reason, None)


def test_local_redirect() -> None:
    assert parse_head(b"Location: /x?y=1\r\n\r\n").local == "/x?y=1"


def test_fields_for_the_client() -> None:
    head = b"Content-type:text/html\r\nX-Own:  v\xe9 \r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 5\r\n"
    own = b"Connection: close\r\nTransfer-Encoding: chunked\r\nServer: me\r\nDate: today\r\nStatus: 201\r\n"
    assert parse_head(head + own + b"\r\n") == ScriptHead(
        status=201,
        reason="Created",
        fields=(
            ("Content-type", "text/html"),
            ("X-Own", "v\xe9"),
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("Content-Length", "5"),
        ),
        length=5,
        local=None,
    )


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"hello", "no header field"),
        (TEXT + b" folded", "no header field"),
        (TEXT + b"Bad Name: x", "no header field"),
        (TEXT + b": x", "no header field"),
        (TEXT + b"A: b\rC: d", "no header field"),
        (TEXT + b"A: b\0", "no header field"),
        (TEXT + TEXT, "more than one Content-Type"),
        (b"Location: /x\nlocation: /x\n", "more than one location"),
        (TEXT + b"Content-Length: 5\nContent-Length: 5\n", "more than one Content-Length"),
        (b"X-Own: x", "neither Content-Type nor Location nor Status"),
        (b"Status: OK", "status 'OK'"),
        (b"Status: 100 Continue", "status '100 Continue'"),
        (b"Status: 2000", "status '2000'"),
        (b"Status: ", "status ''"),
        (TEXT + b"Content-Length: +5", "Content-Length '[+]5'"),
        (TEXT + b"Content-Length: 5, 5", "no number"),
        (TEXT + b"Content-Length: " + b"9" * 30, "no number"),
    ],
)
def test_bad_head(head: bytes, why: str) -> None:
    with pytest.raises(BadOutput, match=why):
        parse_head(head.rstrip(b"\n") + b"\n\n")


HEADS = st.lists(
    st.sampled_from(
        [b"Content-Type: text/plain", b"Status: 2", b"04", b"\r", b"\n", b": ", b"Location: /", b"\0", b"\xff"]
    )
    | st.binary(max_size=8)
)


@given(HEADS)
def test_any_bytes_are_a_head_or_bad(pieces: list[bytes]) -> None:
    output = b"".join(pieces) + b"\n\n"
    try:
        head = parse_head(output[: head_end(output)])
    except BadOutput:
        return
    assert 200 <= head.status <= 999
    text = "".join(f"{name}{value}" for name, value in (*head.fields, ("", head.reason)))
    assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f]", text)
