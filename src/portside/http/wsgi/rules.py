"""What an application may say to `start_response`: PEP 3333's rules, checked at once, so that its author sees where.

Text in, bytes of a head out; no socket. What was looked at once is remembered: applications answer with the same names.
"""

import re
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import NamedTuple

# A token of RFC 9110, 5.6.2.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

# A field's value is what Latin-1 has but controls; a tab is none here (RFC 9110, 5.5).
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]|[^\x00-\xff]")

_STATUS = re.compile(r"[1-9][0-9]{2} [^\x00-\x1f\x7f]*")

# They are the server's (PEP 3333, "Other HTTP Features"; RFC 2616, 13.5.1, with the name that clients invented).
HOP_BY_HOP = frozenset(
    (
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te"),
        *("trailer", "trailers", "transfer-encoding", "upgrade"),
    )
)

# Names and status lines that are remembered, each; above what an application uses, below what one could be made to.
REMEMBERED = 1024


# Whole heads are remembered where they have few fields and few characters; others are likely to come once only.
FEW = 8
SHORT = 512


class Kind(Enum):
    """What a header field is to the server."""

    ORDINARY = auto()
    LENGTH = auto()
    DATE = auto()
    SERVER = auto()


_KINDS = {"content-length": Kind.LENGTH, "date": Kind.DATE, "server": Kind.SERVER}

_ORDINARY = Kind.ORDINARY
_names: dict[str, Kind] = {}
_statuses: dict[str, tuple[int, str]] = {}


class Head(NamedTuple):
    """What an application has announced.

    Attributes:
        code: the status.
        line: the status line after the version, with its line end.
        fields: the header fields, each with its line end.
        length: bytes of the body, as its Content-Length says; None without one.
        has_date, has_server: whether the application says these itself.
    """

    code: int
    line: str
    fields: str
    length: int | None
    has_date: bool
    has_server: bool


def checked(status: str, headers: Sequence[tuple[str, str]]) -> Head:
    """What `check` returns and raises; an answer like one before is known."""
    if type(headers) is not list or len(headers) > FEW:
        return check(status, headers)
    key = (status, *headers)
    try:
        head = _heads.get(key)
    except TypeError:  # lists in the place of tuples, which can change
        return check(status, headers)
    if head is None:
        head = check(status, headers)
        if len(head.fields) <= SHORT and "\nset-cookie:" not in f"\n{head.fields.lower()}":  # that is nobody else's
            if len(_heads) >= REMEMBERED:
                _heads.clear()  # most are the same but for a length: the usual ones will soon be back
            _heads[key] = head
    return head


def check(status: str, headers: Sequence[tuple[str, str]]) -> Head:
    """Check what an application gave to `start_response`.

    Raises:
        TypeError: something is not of the type that PEP 3333 asks for.
        ValueError: a status or field that cannot be sent, or is the server's to send.
        AssertionError: a status that is none, as wsgiref has it.
    """
    code, line = _statuses.get(status) or _status(status)
    if type(headers) is not list:
        raise TypeError(f"the headers must be a list, not {type(headers).__name__}")
    lines, length, has_date, has_server = [], None, False, False
    for name, value in headers:
        kind = _names.get(name) or _kind(name)
        if not (type(value) is str and value.isprintable() and value.isascii()):
            _check_value(name, value)
        if kind is not _ORDINARY:
            length = _length(value, length) if kind is Kind.LENGTH else length
            has_date, has_server = has_date or kind is Kind.DATE, has_server or kind is Kind.SERVER
        lines.append(f"{name}: {value}\r\n")
    return Head(code, line, "".join(lines), length, has_date, has_server)


_heads: dict[tuple[object, ...], Head] = {}


# wsgiref's way to say so, exception and words, which its own tests know.
_STATUS_RULES: tuple[tuple[Callable[[str], bool], str], ...] = (
    (lambda status: len(status) >= 4, "Status must be at least 4 characters"),
    (lambda status: status[:3].isdigit(), "Status message must begin w/3-digit code"),
    (lambda status: status[3] == " ", "Status message must have a space after code"),
)


def _status(status: str) -> tuple[int, str]:
    if type(status) is not str:
        raise TypeError(f"the status must be a str, not {type(status).__name__}")
    for is_kept, words in _STATUS_RULES:
        if not is_kept(status):
            raise AssertionError(words)
    if not _STATUS.fullmatch(status) or not _is_latin(status):
        raise ValueError(f"the status {status!r} must be three digits, a space and a reason, as in '200 OK'")
    made = int(status[:3]), f"{status}\r\n"
    if len(_statuses) < REMEMBERED:
        _statuses[status] = made
    return made


def _kind(name: str) -> Kind:
    if type(name) is not str:
        raise TypeError(f"a header's name must be a str, not {type(name).__name__}")
    if not _NAME.fullmatch(name):
        raise ValueError(f"the header name {name!r} has characters that a name cannot have")
    lower = name.lower()
    if lower in HOP_BY_HOP:
        raise ValueError(f"the header {name!r} is about the connection, which is the server's: leave it out")
    if lower == "status":
        raise ValueError("the status is the first argument of start_response, not a header")
    kind = _KINDS.get(lower, _ORDINARY)
    if len(_names) < REMEMBERED:
        _names[name] = kind
    return kind


def _check_value(name: str, value: str) -> None:
    if type(value) is not str:
        raise TypeError(f"the value of the header {name!r} must be a str, not {type(value).__name__}")
    if bad := _BAD_VALUE.search(value):
        raise ValueError(f"the value of the header {name!r} has a {bad[0]!r}, which cannot be sent")


def _is_latin(text: str) -> bool:
    return text.isascii() or all(character <= "\xff" for character in text)


def _length(value: str, before: int | None) -> int:
    text = value.strip()
    if not (text.isascii() and text.isdecimal()) or before not in (None, int(text)):
        raise ValueError(f"the Content-Length {value!r} must be one number of bytes")
    return int(text)
