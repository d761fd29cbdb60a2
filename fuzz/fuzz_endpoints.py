"""Fuzz `Endpoint.parse`: any text gives an endpoint that round-trips, or EndpointError; nothing else.

python -m fuzz.fuzz_endpoints --seconds 60
"""

import random
import sys

from fuzz._runner import run
from portside import endpoint_text, endpoints
from portside.endpoints import Endpoint, EndpointError

# What endpoints are made of, and what breaks parsers: texts of nothing but noise would fail at the scheme.
PIECES = [
    *["tcp:", "udp:", "unix:", "unixgram:", "fd:", "//", "[", "]", "::1", "fe80::1%eth0", "127.0.0.1", "0x7f.1", "a.b"],
    *[
        "?mode=",
        "?backlog=",
        "&reuse_port=",
        "660",
        "0",
        "65535",
        "99999999999",
        "%41",
        "%",
        "%2F",
        "%FF",
        "@",
        "#",
        ":",
    ],
    *["\0", " ", "\n", "é", "٣", "\udcc3", "\ud800", "\u2028", "x" * 300],
]
LONGEST = 8  # pieces in a text
NOISE = 0.3  # share of texts with a strange character: most stay nearly right, and get far into the parser


def check(text: str) -> None:
    """Hold one text against the contract."""
    try:
        endpoint = Endpoint.parse(text)
    except EndpointError:
        return
    if Endpoint.parse(str(endpoint)) != endpoint:
        raise AssertionError(f"{text!r} became {endpoint!r}, and its text {str(endpoint)!r} something else")


def as_text(data: bytes) -> str:
    """What bytes spell; those that are no UTF-8 become surrogates, as in sys.argv."""
    return data.decode("utf-8", "surrogateescape")


def random_text(source: random.Random) -> str:
    """Pieces in any order, now and then with one character out of all that exist."""
    pieces = source.choices(PIECES, k=source.randint(1, LONGEST))
    if source.random() < NOISE:
        pieces.insert(source.randint(0, len(pieces)), chr(source.randrange(sys.maxunicode)))
    return "".join(pieces)


if __name__ == "__main__":
    run(check, random_text, led_by=(endpoint_text, endpoints), from_bytes=as_text)
