"""Fuzz request heads: any bytes give a head, or an HTTPError with a status; nothing else.

    python -m fuzz.fuzz_http_head --seconds 60

A head that is accepted is held against what a second reader, written as plainly as possible, makes of it: the two must
agree on where the body ends.
"""

import random

from fuzz._runner import run
from portside.http import head
from portside.http.errors import HTTPError
from portside.http.head import RequestHead, parse_head
from portside.http.limits import HTTPLimits

LIMITS = HTTPLimits()
SMALL = HTTPLimits(request_line=40, header_line=40, header_bytes=120, header_count=4)
LINES = (
    b"GET / HTTP/1.1",
    b"POST /a?b HTTP/1.0",
    b"SPAM http://a:80/ HTTP/1.1",
    b"GET /",
    b"OPTIONS * HTTP/1.2",
    b"PRI * HTTP/2.0",
)
NAMES = (
    b"Host",
    b"Content-Length",
    b"Transfer-Encoding",
    b"Connection",
    b"Expect",
    b"X",
    b"content-length",
    b"Upgrade",
)
VALUES = (
    b"a",
    b"5",
    b"0",
    b"chunked",
    b"gzip, chunked",
    b"close",
    b"keep-alive",
    b"upgrade",
    b"100-continue",
    b"",
    b"+5",
)
COLONS = (b": ", b":", b" : ", b":\t", b": " * 20)
ENDS = (b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\n ", b"")
NOISE = 0.3  # share of heads with a byte changed: most stay nearly right, and get far into the parser


def check(data: bytes) -> None:
    """Hold one head against the contract."""
    for limits in (LIMITS, SMALL):
        try:
            found = parse_head(data, limits)
        except HTTPError as error:
            if not 400 <= error.status < 600:
                raise AssertionError(f"{error.status} for {data!r}") from error
            continue
        if (length := plain_length(data)) != length_of(found):
            raise AssertionError(f"{data!r} has a body of {length}, and was read as {found!r}")


def length_of(head: RequestHead) -> int | str:
    """The body that a head announces."""
    return "chunked" if head.headers.chunked else head.headers.length or 0


def plain_length(data: bytes) -> int | str:
    """The same, for a head that is known to be well-formed."""
    found: int | str = 0
    for line in data.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"transfer-encoding":
            found = value.strip(b" \t").lower().decode()
        elif name.lower() == b"content-length":
            found = int(value)
    return found


def made_up(source: random.Random) -> bytes:
    """A head: a line, fields, and now and then noise."""
    parts = [source.choice(LINES), source.choice(ENDS)]
    for _ in range(source.randrange(8)):
        parts += [source.choice(NAMES), source.choice(COLONS), source.choice(VALUES), source.choice(ENDS)]
    data = bytearray(b"".join((*parts, b"\r\n")))
    while source.random() < NOISE:
        place = source.randrange(len(data))
        data[place : place + source.randrange(2)] = source.randbytes(1)
    return bytes(data)


if __name__ == "__main__":
    run(check, made_up, led_by=(head,))
