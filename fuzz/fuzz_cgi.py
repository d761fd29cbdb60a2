"""Fuzz what lies between clients and scripts: any output gives a head or BadOutput, any request a sound environment.

python -m fuzz.fuzz_cgi --seconds 60
"""

import os
import random
from contextlib import suppress

from fuzz._runner import run
from portside.http.cgi import metavariables, output, paths
from portside.http.cgi.metavariables import environment
from portside.http.cgi.output import BadOutput, head_end, parse_head
from portside.http.cgi.paths import collapse, search_words, split_directory

TOKENS = (
    *(
        b"Content-Type: text/plain",
        b"Status: 200 OK",
        b"status:404",
        b"Location: /x?y",
        b"Location: //x",
        b"Location: ",
    ),
    *(
        b"Content-Length: 5",
        b"Content-Length: \xb2",
        b"X:",
        b": y",
        b"\r",
        b"\0",
        b"\xff",
        b"\t",
        b" ",
        b"hello",
        b"\x0b",
    ),
)
TARGETS = (
    "/",
    "/cgi-bin",
    "/cgi-bin/a",
    "..",
    "/..",
    "/.",
    "//",
    "%2e",
    "%2F",
    "%",
    "%00",
    "?",
    "?a=b",
    "?a+b",
    "#",
    "\xff",
)
NAMES = ("Host", "Proxy", "proxy", "X-A", "X_A", "Content-Type", "Authorization", "Cookie", "TE", "X--", "-", "\xff")
ENDS = (b"\n", b"\n", b"\r\n", b"")
UNTOLD = {"HTTP_PROXY", "HTTP_AUTHORIZATION", "HTTP_PROXY_AUTHORIZATION", "HTTP_TE", "HTTP_TRANSFER_ENCODING"}


def check(data: bytes) -> None:
    """Try one input: a script's output, and behind an empty line and a NUL a request for it."""
    said, _, asked = data.partition(b"\0\0")
    with suppress(BadOutput):
        answered(said)
    target, *fields = asked.decode("latin-1").split("\n")
    located(target)
    told(target, [(name, value) for name, _, value in (field.partition(":") for field in fields)])


def answered(said: bytes) -> None:
    """A head, where there is one, breaks nothing of ours."""
    end = head_end(said)
    if end < 0:
        return
    head = parse_head(said[:end])
    expect(200 <= head.status <= 999, f"status {head.status}", said)
    expect(head.length is None or head.length >= 0, f"length {head.length}", said)
    expect(head.local is None or (head.local[0] == "/" and head.local[1:2] != "/"), f"leads to {head.local!r}", said)
    texts = [head.reason, *(text for field in head.fields for text in field)]
    expect(not any(set(text) & set("\r\n\0") for text in texts), f"{texts} would split the answer", said)


def located(target: str) -> None:
    """No path leads above the root, and no word of a query is an option."""
    with suppress(IndexError):
        collapsed = collapse(target)
        steps = collapsed.partition("?")[0].split("/")
        expect(collapsed[:1] == "/" and ".." not in steps, f"{collapsed!r}", target)
        split_directory(collapsed, ("/cgi-bin", "/htbin"))
    query = target.partition("?")[2]
    expect(not any(word.startswith("-") for word in search_words(query)), "an option", target)


def told(target: str, fields: list[tuple[str, str]]) -> None:
    """An environment that the system takes, without what is not the script's to know."""
    found = environment(
        inherited={"PATH": "/bin"}, request={"QUERY_STRING": target, "REMOTE_USER": None}, fields=fields
    )
    expect(not UNTOLD & found.keys(), f"{UNTOLD & found.keys()} is told", fields)
    with suppress(ValueError):  # a NUL, which no header field has: llhttp refuses it
        [os.fsencode(text) for text in found.values()]


def expect(holds: bool, complaint: str, data: object) -> None:
    """A finding, where it does not."""
    if not holds:
        raise AssertionError(f"{complaint}: {data!r}")


def made_up(source: random.Random) -> bytes:
    """Lines of a head, a target, and fields."""
    said = b"".join(source.choice(TOKENS) + source.choice(ENDS) for _ in range(source.randrange(6)))
    target = "".join(source.choices(TARGETS, k=source.randrange(6)))
    fields = (
        f"{source.choice(NAMES)}:{source.choice(('a', '', ' b ', chr(0xE9)))}" for _ in range(source.randrange(4))
    )
    return said + b"\n\0\0" + "\n".join((target, *fields)).encode("latin-1")


if __name__ == "__main__":
    run(check, made_up, led_by=(metavariables, output, paths))
