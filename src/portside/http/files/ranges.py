"""Range requests (RFC 9110, section 14): which bytes are asked for, and how several parts are laid out."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

MOST_RANGES: Final = 64  # asked for at once: far more than any client's, and few enough to sort for nothing
WORTH_A_PART: Final = 80  # bytes: what stands between two parts; a smaller gap is sent instead (RFC 9110, 15.3.7.2)

_UNIT: Final = re.compile(r"bytes[ \t]*=", re.IGNORECASE)
_SPEC: Final = re.compile(r"([0-9]*)-([0-9]*)")
_DIGITS: Final = 18  # more of them are more bytes than a file can have (2**63 has 19)


class Span(NamedTuple):
    """Bytes from `start` up to `stop`, which is not among them."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.stop - self.start

    def content_range(self, size: int) -> str:
        """The value of Content-Range, of a content of `size` bytes."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


class NotSatisfiable(Exception):
    """None of the ranges that were asked for holds a byte: 416."""


def read_ranges(text: str, size: int) -> tuple[Span, ...] | None:
    """Read a Range field, for a content of `size` bytes.

    Returns:
        The spans to send, in the order they were asked for, without overlap, and with those merged that lie closer
        than a part's own head is long. None where the field is to be ignored and the whole sent: another unit, no
        ranges at all, or more of them than an honest client asks for.

    Raises:
        NotSatisfiable: the field is right, and every range lies beyond the end.
    """
    unit = _UNIT.match(text)
    specs = [spec for each in text[unit.end() :].split(",") if (spec := each.strip(" \t"))] if unit else []
    if not 0 < len(specs) <= MOST_RANGES:
        return None
    spans = [_read_spec(spec, size) for spec in specs]
    if None in spans:
        return None
    satisfiable = [span for span in spans if span and span.length > 0]
    if not satisfiable:
        raise NotSatisfiable(f"none of the ranges lies within the {size} bytes there are")
    return merged(satisfiable)


def _read_spec(spec: str, size: int) -> Span | None:
    """One range, cut to the size, or empty where it lies beyond; None where it is none."""
    found = _SPEC.fullmatch(spec)
    if not found or spec == "-":
        return None
    first, last = found.groups()
    if not first:
        return Span(max(0, size - _number(last)), size)
    start = _number(first)
    if not last:
        return Span(start, max(start, size))
    return Span(start, max(start, min(_number(last) + 1, size))) if _number(last) >= start else None


def _number(digits: str) -> int:
    """The number, or one that is larger than any file where it has more digits than any has."""
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= _DIGITS else 10**_DIGITS


def merged(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Merge what overlaps or nearly touches; what is left stands where its first range stood."""
    groups: list[tuple[int, Span]] = []
    for order, span in sorted(enumerate(spans), key=lambda each: each[1]):
        if groups and span.start <= groups[-1][1].stop + WORTH_A_PART:
            first, before = groups[-1]
            groups[-1] = (min(first, order), Span(before.start, max(before.stop, span.stop)))
        else:
            groups.append((order, span))
    return tuple(span for _, span in sorted(groups))


def multipart(spans: Iterable[Span], size: int, content_type: str, boundary: str) -> Iterator[bytes | Span]:
    """Lay out a `multipart/byteranges` body (RFC 9110, section 14.6).

    Args:
        spans: the parts.
        size: bytes of the whole content.
        content_type: of the whole content; it is repeated in every part.
        boundary: a text that no part holds.

    Yields:
        What goes on the wire, in turn: bytes as they are, and spans of the content.
    """
    between = ""
    for span in spans:
        content_range = span.content_range(size)
        yield (
            f"{between}--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {content_range}\r\n\r\n"
        ).encode("iso-8859-1")
        yield span
        between = "\r\n"
    yield f"{between}--{boundary}--\r\n".encode("iso-8859-1")
