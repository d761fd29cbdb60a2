"""Fuzz the fields that file requests are decided by: any bytes give an answer, and one that is true.

    python -m fuzz.fuzz_file_fields --seconds 60

The contract: Range, If-*, and Accept-Encoding never raise, whatever they hold; every span that is sent lies within the
file; the length that is promised is that of what is sent; a 304 and a 412 answer a condition that was asked.
"""

import random

from fuzz._runner import run
from portside.http.files import answers, conditions, encodings, ranges
from portside.http.files.answers import ASKED, Answer, Representation, conditional, content
from portside.http.files.conditions import ETag, Validators, read_date, read_etags
from portside.http.files.encodings import CODINGS, accepted
from portside.http.files.ranges import MOST_RANGES, Span

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
NAMES = sorted(ASKED)
METHODS = ("GET", "HEAD", "POST", "SPAM")
SIZES = (0, 1, 79, 1000, 2**40)
TOKENS = (
    *("bytes=", "bytes", "-", ",", "=", "0", "1", "999", "18446744073709551616", " ", "\t", "+5", "_", "\u0663"),
    *('"a"', 'W/"a"', '"b"', '"', "W/", "*", DATE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"),
    *("GMT", "+0100", "99999999999", "gzip", "br", "zstd", "identity", ";q=", "0.5", "1.000", ";", "\x80", "\xff"),
)


def check(data: bytes) -> None:
    """Try one input: a byte each for the method, the file and the names of the fields, and text for their values."""
    chosen, sent = data[:3].ljust(3, b"\0"), fields(data[3:])
    size, weak = SIZES[chosen[1] % len(SIZES)], bool(chosen[2] % 2)
    what = Representation("text/plain", size, Validators(ETag("a", weak=weak), 784111777), DATE)
    method = METHODS[chosen[0] % len(METHODS)]
    answer = conditional(method, sent, what)
    if answer:
        expect(bool(sent.keys() & {name for name in NAMES if name.startswith("if-")}), "nothing was asked", data)
    else:
        answer = content(method, sent, what)
        expect_true(answer, size, data)
    for value in sent.values():
        expect(set(accepted(value)) <= set(CODINGS), "a coding that there is not", data)
        expect(all(str(tag) in value for tag in read_etags(value)), "a tag that was not sent", data)
        expect(isinstance(read_date(value), int | None), "a date that is no number", data)


def fields(data: bytes) -> dict[str, str]:
    """Values from the input, each with its name: a byte before it says which."""
    lines = [line for line in data.decode("latin-1").split("\n") if line]
    return {NAMES[ord(line[0]) % len(NAMES)]: line[1:] for line in lines}


def expect_true(answer: Answer, size: int, data: bytes) -> None:
    """The answer is what its head says."""
    head = dict(answer.fields)
    spans = [piece for piece in answer.pieces if isinstance(piece, Span)]
    expect(len(spans) <= MOST_RANGES, "too many parts", data)
    expect(all(0 <= span.start <= span.stop <= size for span in spans), f"{spans} of {size} bytes", data)
    length = sum(piece.length if isinstance(piece, Span) else len(piece) for piece in answer.pieces)
    expect(int(head["Content-Length"]) == length, f"{length} bytes are sent, {head['Content-Length']} promised", data)
    if answer.status == 206 and len(answer.pieces) == 1:
        expect(head["Content-Range"] == spans[0].content_range(size), head["Content-Range"], data)


def expect(holds: bool, complaint: str, data: bytes) -> None:
    """Raise AssertionError with the input unless the property holds."""
    if not holds:
        raise AssertionError(f"{complaint}; input: {data!r}")


# Where inputs come from


def made_up(source: random.Random) -> bytes:
    """An input of a few fields, whose values are of tokens and of noise."""
    lines = [source.randbytes(3).replace(b"\n", b"\0")]
    for _ in range(source.randrange(5)):
        value = "".join(source.choice(TOKENS) for _ in range(source.randrange(10)))
        noise = source.randbytes(source.choice((0, 0, 0, 1, 5)))
        lines.append(bytes([source.randrange(11, 256)]) + value.encode("latin-1", "replace") + noise)
    return lines[0] + b"\n".join(lines[1:])


if __name__ == "__main__":
    run(check, made_up, led_by=(answers, conditions, encodings, ranges))
