"""What a script answered: the head of its output (RFC 3875, section 6). Bytes in, a `ScriptHead` out; no pipe."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus


class BadOutput(Exception):
    """The script's answer is none; the message says why, for its author."""


@dataclass(frozen=True, kw_only=True)
class ScriptHead:
    """A script's head, as the client is to see it.

    Attributes:
        status: 200 where the script named none, 302 where it named a location only (6.2.3).
        reason: the words after the status.
        fields: names and values for the client, without what is the server's to say.
        length: bytes of the body as the script announced them; None where it did not.
        local: a path to be answered instead, a local redirect (6.2.2); else None.
    """

    status: int
    reason: str
    fields: tuple[tuple[str, str], ...]
    length: int | None
    local: str | None


# A token of RFC 9110, 5.6.2, and a value without control characters: neither can break the head of our answer.
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_STATUS = re.compile(r"([2-9][0-9]{2})(?: (.*))?")

# Fields of the connection and fields that the server sets itself (6.3.4 leaves it to the server whose counts).
_SERVERS_OWN = frozenset(
    (
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
        *("date", "server", "status"),
    )
)

# Of these at least one says that this is CGI at all, and each may stand there once (6.3).
_CGI = ("content-type", "location", "status")
_SINGLE = (*_CGI, "content-length")

_END = re.compile(rb"\n\r?\n")


def head_end(output: bytes) -> int:
    """Where the body begins; -1 while the head's blank line has not come."""
    if output.startswith((b"\n", b"\r\n")):
        raise BadOutput("its answer begins with an empty line: a head comes first, such as `Content-Type: text/plain`")
    end = _END.search(output)
    return end.end() if end else -1


def parse_head(head: bytes) -> ScriptHead:
    """Read a head, its blank line included.

    Raises:
        BadOutput: it breaks a rule of RFC 3875.
    """
    fields = [_field(line) for line in head.rstrip(b"\r\n").split(b"\n")]
    single = _single(fields)
    status, reason = _status(single)
    return ScriptHead(
        status=status,
        reason=reason,
        fields=tuple((name, value) for name, value in fields if name.lower() not in _SERVERS_OWN),
        length=_length(single.get("content-length")),
        local=_local(single),
    )


def _field(line: bytes) -> tuple[str, str]:
    matched = _FIELD.fullmatch(line.removesuffix(b"\r"))
    if not matched:
        raise BadOutput(f"{line[:80]!r} in the head of its answer is no header field: `Name: value`, one a line")
    return matched[1].decode("ascii"), matched[2].rstrip(b" \t").decode("latin-1")


def _single(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in fields:
        key = name.lower()
        if key in _SINGLE and key in found:
            raise BadOutput(f"its answer has more than one {name}")
        found[key] = value
    if not any(key in found for key in _CGI):
        raise BadOutput("its answer has neither Content-Type nor Location nor Status")
    return found


def _status(fields: dict[str, str]) -> tuple[int, str]:
    if "status" not in fields:
        chosen = HTTPStatus.FOUND if "location" in fields else HTTPStatus.OK
        return chosen, chosen.phrase
    matched = _STATUS.fullmatch(fields["status"])
    if not matched:
        raise BadOutput(f"its status {fields['status']!r} is none: write three digits, from 200 on")
    code = int(matched[1])
    return code, matched[2] or _phrase(code)


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return ""


def _length(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise BadOutput(f"its Content-Length {text!r} is no number of bytes")
    return int(text)


def _local(fields: dict[str, str]) -> str | None:
    """A path alone is for the server; with a status, or with a host before it (`//host/path`), it is for the client."""
    location = fields.get("location", "")
    return location if location.startswith("/") and location[1:2] != "/" and "status" not in fields else None
