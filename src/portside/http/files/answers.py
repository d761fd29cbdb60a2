"""Which answer a request for a file gets: its status, head and body, decided without sending anything."""

import secrets
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final, NamedTuple

from portside.http.files.conditions import Validators, Verdict, allows_range, evaluate
from portside.http.files.encodings import Coding
from portside.http.files.ranges import NotSatisfiable, Span, multipart, read_ranges

Fields = list[tuple[str, str]]

# What the answers depend on. Several fields of one name mean the same as one with their values in a list (RFC 9110,
# section 5.3); where the name allows for no list, such as Range, that is no valid value any more.
ASKED: Final = frozenset(
    {
        "accept-encoding",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "range",
    }
)


class Representation(NamedTuple):
    """What there is to be sent.

    Args:
        content_type: the value of Content-type.
        size: bytes.
        validators: of its present state.
        last_modified: the same time as it is written in a head.
        coding: the content coding it is in.
        varies: whether another client may get another coding of it.
        has_ranges: whether parts of it can be sent.
    """

    content_type: str
    size: int
    validators: Validators
    last_modified: str
    coding: Coding | None = None
    varies: bool = False
    has_ranges: bool = True


class Answer(NamedTuple):
    """The answer: a status, the fields of the head, and what the body is made of, in turn."""

    status: HTTPStatus
    fields: Fields
    pieces: tuple[bytes | Span, ...] = ()


def asked(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Pick the fields that answers depend on, under their names in small letters."""
    found: dict[str, str] = {}
    for name, value in fields:
        if (key := name.lower()) in ASKED:
            found[key] = f"{found[key]}, {value}" if key in found else value
    return found


def conditional(method: str, fields: Mapping[str, str], what: Representation) -> Answer | None:
    """The answer that the request's conditions ask for; None where the content is to be sent.

    Args:
        method: the request's.
        fields: what `asked` has picked.
        what: what there is; its size does not matter.
    """
    verdict = evaluate(method, fields, what.validators)
    if verdict is Verdict.NOT_MODIFIED:
        return Answer(HTTPStatus.NOT_MODIFIED, _description(what))
    if verdict is Verdict.FAILED:
        return Answer(HTTPStatus.PRECONDITION_FAILED, [("Content-Length", "0")])
    return None


def content(method: str, fields: Mapping[str, str], what: Representation) -> Answer:
    """The answer with the content, or the parts of it that the request asks for.

    Args:
        method: the request's; no other than GET has ranges (RFC 9110, section 14.2).
        fields: what `asked` has picked.
        what: what there is to be sent.
    """
    if method == "GET" and what.has_ranges and "range" in fields and allows_range(fields, what.validators):
        return _part(fields["range"], what)
    return _whole(what)


def _part(wanted: str, what: Representation) -> Answer:
    try:
        spans = read_ranges(wanted, what.size)
    except NotSatisfiable:
        head = [("Content-Range", f"bytes */{what.size}"), ("Content-Length", "0")]
        return Answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, head)
    if spans is None:
        return _whole(what)
    return _one_part(spans[0], what) if len(spans) == 1 else _several_parts(spans, what)


def _one_part(span: Span, what: Representation) -> Answer:
    head = _head(what.content_type, span.length, what)
    return Answer(HTTPStatus.PARTIAL_CONTENT, [*head, ("Content-Range", span.content_range(what.size))], (span,))


def _several_parts(spans: tuple[Span, ...], what: Representation) -> Answer:
    boundary = secrets.token_hex(16)  # 128 bits of chance: no content holds it, nor can anybody foresee it
    pieces = tuple(multipart(spans, what.size, what.content_type, boundary))
    length = sum(piece.length if isinstance(piece, Span) else len(piece) for piece in pieces)
    head = _head(f"multipart/byteranges; boundary={boundary}", length, what)
    return Answer(HTTPStatus.PARTIAL_CONTENT, head, pieces)


def _whole(what: Representation) -> Answer:
    return Answer(HTTPStatus.OK, _head(what.content_type, what.size, what), (Span(0, what.size),))


def _head(content_type: str, length: int, what: Representation) -> Fields:
    head = [("Content-type", content_type), ("Content-Length", str(length)), *_description(what)]
    if what.coding:
        head.append(("Content-Encoding", what.coding.name))
    if what.has_ranges:
        head.append(("Accept-Ranges", "bytes"))
    return head


def _description(what: Representation) -> Fields:
    """What a 304 repeats too (RFC 9110, section 15.4.5)."""
    head = [("Last-Modified", what.last_modified), ("ETag", str(what.validators.etag))]
    return [*head, ("Vary", "Accept-Encoding")] if what.varies else head
