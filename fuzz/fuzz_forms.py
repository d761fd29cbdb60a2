"""Fuzz forms with files: any bytes give files or FormCorrupt; the same ones however they are split.

python -m fuzz.fuzz_forms --seconds 60
"""

import random
from collections.abc import Iterable
from contextlib import suppress

from fuzz._noise import spoil
from fuzz._runner import run
from portside.http.files import forms, storing
from portside.http.files.forms import FileBegins, FormCorrupt, boundary_of, read_form
from portside.http.files.storing import UploadRefused, plain_name

EDGE = b"edge"
TOKENS = (
    *(
        b"--edge",
        b"--edge--",
        b"\r\n",
        b"\r\n\r\n",
        b"\r\n--edge",
        b"\n",
        b"\r",
        b"-",
        b"--",
        b"\0",
        b"\xff",
        b"a" * 300,
    ),
    *(
        b"Content-Disposition: form-data; ",
        b'name="f"',
        b'; filename="a.txt"',
        b'filename="',
        b"; filename=a",
        b"=?x?=",
    ),
    *(
        b'; filename="../a"',
        b'; filename="C:\\\\a"',
        b'; filename="\xc3\xbc"',
        b"; filename*=utf-8''%C3%BC",
        b"X: y",
        b":",
    ),
)
TYPES = (
    "multipart/form-data",
    "; ",
    "boundary=",
    "edge",
    '"',
    ";",
    "=",
    "\xe9",
    "MULTIPART/form-data",
    "boundary*=x'y'z",
)
NOISE = 0.3  # share of forms with a byte changed

Outcome = list[tuple[bytes, bytes]] | None


def check(form: tuple[bytes, int]) -> None:
    """Try one form, and the size of the pieces that it comes in."""
    data, step = form
    whole = files([data])
    pieces = files(data[start : start + step] for start in range(0, len(data), step))
    if whole != pieces:
        raise AssertionError(f"{data!r} gives {whole} at once, and {pieces} in pieces of {step} bytes")
    for name, _ in whole or ():
        named(name)
    with suppress(FormCorrupt):
        boundary_of(data.decode("latin-1"))


def files(pieces: Iterable[bytes]) -> Outcome:
    """The files of a form, each with its content; None where it is none."""
    found: list[tuple[bytes, bytes]] = []
    try:
        for event in read_form(pieces, EDGE):
            if isinstance(event, FileBegins):
                found.append((event.name, b""))
            elif isinstance(event, bytes):
                name, content = found.pop()
                found.append((name, content + event))
    except FormCorrupt:
        return None
    return found


def named(sent: bytes) -> None:
    """A name that a file may have in a folder, or a refusal."""
    try:
        name = plain_name(sent)
    except UploadRefused:
        return
    if not name or set(name) & set("/\0") or name in (".", ".."):
        raise AssertionError(f"{sent!r} becomes {name!r}")


def in_pieces(data: bytes) -> tuple[bytes, int]:
    """An input of bytes: the first of them is the size of the pieces."""
    return data[1:], sum(data[:1]) % 40 + 1


def made_up(source: random.Random) -> tuple[bytes, int]:
    """Parts and tokens, or a Content-Type; now and then with noise."""
    if source.random() < 0.1:
        return "".join(source.choices(TYPES, k=source.randrange(1, 9))).encode("latin-1"), 9
    data = bytearray(b"".join(part(source) for _ in range(source.randrange(1, 5))))
    data += source.choice((b"--edge--\r\n", b"--edge--\r\n", b""))
    spoil(data, source, NOISE)
    return bytes(data), source.randrange(1, 40)


def part(source: random.Random) -> bytes:
    """A whole part, or some tokens."""
    if source.random() < NOISE:
        return b"".join(source.choices(TOKENS, k=source.randrange(1, 6)))
    name = source.choice((b"a.txt", b"", b"\xc3\xbc", b"..", b"a/b", b"C:\\a", b'a\\"b'))
    content = b"".join(source.choices(TOKENS, k=source.randrange(3)))
    return b'--edge\r\nContent-Disposition: form-data; name="f"; filename="%b"\r\n\r\n%b\r\n' % (name, content)


if __name__ == "__main__":
    run(check, made_up, led_by=(forms, storing), from_bytes=in_pieces)
