"""Request heads: bytes in, a head or an HTTPError out."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portside.http.errors import HTTPError
from portside.http.head import (
    NO_FIELDS,
    RequestLine,
    authority,
    parse_fields,
    parse_head,
    parse_request_line,
)
from portside.http.limits import HTTPLimits

LIMITS = HTTPLimits()

TOKENS = st.text("!#$%&'*+-.^_`|~0123456789abcXYZ", min_size=1, max_size=12)
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20).filter(
    lambda text: not any(0x7F <= ord(character) < 0xA0 for character in text)
)


def fields(text: str) -> bytes:
    return text.encode("latin-1") + b"\r\n"


def status_of(head: bytes, limits: HTTPLimits = LIMITS) -> int:
    with pytest.raises(HTTPError) as caught:
        parse_head(head, limits)
    return caught.value.status


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("GET / HTTP/1.1", RequestLine("GET", "/", "HTTP/1.1", (1, 1))),
        ("SPAM /a?b=c HTTP/1.0", RequestLine("SPAM", "/a?b=c", "HTTP/1.0", (1, 0))),
        ("GET relative HTTP/1.1", RequestLine("GET", "relative", "HTTP/1.1", (1, 1))),
        ("GET /\xc3\xa4 HTTP/1.1", RequestLine("GET", "/\xc3\xa4", "HTTP/1.1", (1, 1))),
        ("GET / HTTP/1.9", RequestLine("GET", "/", "HTTP/1.9", (1, 9))),
        ("GET / HTTP/0.9", RequestLine("GET", "/", "HTTP/0.9", (0, 9))),
        ("GET /", RequestLine("GET", "/", "", (0, 9))),
        ("GET / ", RequestLine("GET", "/", "", (0, 9))),
        ("OPTIONS * HTTP/1.1", RequestLine("OPTIONS", "*", "HTTP/1.1", (1, 1))),
    ],
)
def test_request_line(text: str, line: RequestLine) -> None:
    assert parse_request_line(text) == line


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        ("GET / FUBAR", 400, "Bad request version ('FUBAR')"),
        ("GET / HTTP/9.9.9", 400, "Bad request version ('HTTP/9.9.9')"),
        ("GET / HTTP/9.9", 505, "Invalid HTTP version (9.9)"),
        ("GET /a b HTTP/1.1", 400, "Bad request syntax ('GET /a b HTTP/1.1')"),
        ("POST /", 400, "Bad HTTP/0.9 request type ('POST')"),
        ("/", 400, "Bad request syntax ('/')"),
        ("", 400, "Bad request syntax ('')"),
    ],
)
def test_bad_request_line_is_told_in_the_standard_librarys_words(text: str, status: int, message: str) -> None:
    with pytest.raises(HTTPError) as caught:
        parse_request_line(text)
    assert (caught.value.status, caught.value.message) == (status, message)


def test_what_is_shown_of_a_bad_line_is_cut() -> None:
    with pytest.raises(HTTPError) as caught:
        parse_request_line("x" * 5000)
    assert len(str(caught.value)) < 300


@given(st.lists(st.tuples(TOKENS, VALUES), max_size=20))
def test_fields_come_out_as_they_went_in(pairs: list[tuple[str, str]]) -> None:
    pairs = [(name, value) for name, value in pairs]
    found = parse_fields(fields("".join(f"{name}: {value}\r\n" for name, value in pairs)), LIMITS)
    assert list(found.fields) == pairs


def test_no_fields() -> None:
    assert parse_fields(b"\r\n", LIMITS) == NO_FIELDS


def test_what_fields_say_of_the_message() -> None:
    found = parse_fields(
        fields(
            "HOST: a:80\r\nconnection: Keep-Alive, x\r\nConnection: close\r\n"
            "Expect: 100-Continue\r\ncontent-length: 7\r\n"
        ),
        LIMITS,
    )
    assert (found.host, found.length, found.chunked, found.expects_continue) == ("a:80", 7, False, True)
    assert found.connection == {"keep-alive", "x", "close"}


def test_chunked() -> None:
    found = parse_fields(fields("Transfer-Encoding: CHUNKED\r\n"), LIMITS)
    assert (found.chunked, found.length) == (True, None)


@pytest.mark.parametrize(
    ("target", "host", "expected"),
    [
        ("/", "a", "a"),
        ("*", "a", "a"),
        ("http://b/", "a", "b"),
        ("http://b:81", "a", "b:81"),
        ("https://[::1]:443/x", "a", "[::1]:443"),
        ("there:443", "there:443", "there:443"),
    ],
)
def test_authority(target: str, host: str, expected: str) -> None:
    line = RequestLine("GET", target, "HTTP/1.1", (1, 1))
    assert authority(line, parse_fields(fields(f"Host: {host}\r\n"), LIMITS)) == expected


def test_authority_of_an_old_client() -> None:
    assert authority(RequestLine("GET", "/", "HTTP/1.0", (1, 0)), NO_FIELDS) is None


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 16384 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 101 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + (b"X: " + b"a" * 8000 + b"\r\n") * 9 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 100 + b"\r\n", 200),
        (b"GET /" + b"a" * (8192 - 16) + b" HTTP/1.1\r\n\r\n", 200),
    ],
)
def test_sizes(head: bytes, status: int) -> None:
    if status == 200:
        parse_head(head, LIMITS)
    else:
        assert status_of(head) == status


PIECES = [
    *(b"GET", b" ", b"/", b"HTTP/1.1", b"\r\n", b"\n", b"Host", b":", b"a", b"5", b",", b"\0", b"\xff"),
    *(b"Content-Length", b"Transfer-Encoding", b"chunked"),
]


@given(st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join)))
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
@example(b"\r\n\r\n")
@example(b"GET / HTTP/1.1\r\n\r\nHost: a\r\n\r\n")
@example(b"OPTIONS * HTTP/1.1\r\nContent-Length:\t5\r\n")
def test_any_bytes_give_a_head_or_an_http_error(data: bytes) -> None:
    try:
        head = parse_head(data, LIMITS)
    except HTTPError as error:
        assert 400 <= error.status < 600
        return
    assert head.line.method
    assert data.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("block", [b"X: a\r\n", b"X: a", b"X: a\r\n\r\nY: b\r\n\r\n", b"\r\nGET / HTTP/1.1\r\n\r\n"])
def test_fields_end_where_they_should(block: bytes) -> None:
    with pytest.raises(HTTPError):
        parse_fields(block, LIMITS)
