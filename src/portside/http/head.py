"""Request heads, without input or output: bytes in, a request line and header fields out, or an `HTTPError`.

1. The request line is read here: the standard library's handlers serve any method (`do_SPAM`), and answer what is wrong
   with a line in words that programs and tests know. llhttp knows only registered methods.
2. The header fields are llhttp's (through httptools), strict, with no leniency turned on: it refuses bare LF and CR,
   folded lines, a space before the colon, repeated and odd Content-Length, and both lengths (RFC 9112, 5 and 6).
3. What llhttp leaves to its callers is checked here: Host (RFC 9112, 3.2), and transfer codings (RFC 9112, 6.1).
4. Any bytes give a head, or an `HTTPError`; nothing else is ever raised about them.
"""

import re
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple

from portside.http.collecting import FieldCollector, look_for
from portside.http.errors import HTTPError
from portside.http.limits import HTTPLimits

try:
    from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
except ImportError as error:
    raise ImportError("portside.http parses requests with httptools: pip install 'portside[http]'") from error

# Characters of a line that an answer shows: enough to recognise it.
_SHOWN = 200

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# What no target may hold: controls and DEL. Bytes above ASCII are let through, as nginx does: people type them.
_NO_TARGET = re.compile(r"[\0-\x20\x7f]")
# uri-host [":" port] of RFC 9110, 7.2, loosely: nothing that would end it, and nobody's name and password before it.
_AUTHORITY = re.compile(r"(?:\[([0-9A-Za-z.:%_~-]+)\]|[0-9A-Za-z.\-_~%!$&'()*+,;=\x80-\xff]*)(?::[0-9]*)?")
_FUTURE_ADDRESS = re.compile(r"v[0-9A-Fa-f]+\..+")  # RFC 3986, 3.2.2
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://([^/?#]*)")


class RequestLine(NamedTuple):
    """The first line of a request.

    Attributes:
        method: as it was sent; methods are case-sensitive.
        target: as it was sent, latin-1 decoded.
        version: "HTTP/1.1", or "" where the line has none (HTTP/0.9).
        number: the version as numbers; (0, 9) where the line has none.
    """

    method: str
    target: str
    version: str
    number: tuple[int, int]


class HeaderFields(NamedTuple):
    """The header fields of a request, and what they say of its body and connection.

    Attributes:
        fields: name and value of each, latin-1 decoded, in the order they were sent.
        length: of the body in bytes; None where it is chunked, or there is no body.
        chunked: whether the body is chunked.
        connection: the options of Connection, in lower case.
        expects_continue: whether the client waits for 100 (Continue).
        host: what Host says; None where it is missing.
    """

    fields: tuple[tuple[str, str], ...]
    length: int | None
    chunked: bool
    connection: frozenset[str]
    expects_continue: bool
    host: str | None


class RequestHead(NamedTuple):
    """A whole head."""

    line: RequestLine
    headers: HeaderFields


def parse_head(head: bytes, limits: HTTPLimits) -> RequestHead:
    r"""Read a head, from the first byte of its line to the CRLF that ends its fields.

    Raises:
        HTTPError: it is no head, or passes a limit.
    """
    end = head.find(b"\n") + 1
    check_sizes(head, limits)
    line = parse_request_line(head[:end].decode("latin-1").removesuffix("\r\n"))
    headers = parse_fields(head[end:], limits)
    check_request(line, headers)
    return RequestHead(line, headers)


# The request line


def parse_request_line(text: str) -> RequestLine:
    """Read a request line without its end (RFC 9112, 3).

    Raises:
        HTTPError: 400 or 505, in the standard library's words.
    """
    words = text.split(" ")
    if len(words) == 3 and (number := _VERSIONS.get(words[2])) and _is_sound(words[0], words[1]):
        return RequestLine(words[0], words[1], words[2], number)
    return _unusual_line(text)


_USUAL_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

# Versions that need no look at their digits.
_VERSIONS = {"HTTP/1.1": (1, 1), "HTTP/1.0": (1, 0)}


def _is_sound(method: str, target: str) -> bool:
    if method in _USUAL_METHODS and target.isascii() and target.isprintable() and target:
        return True  # the same verdict for less
    return bool(_TOKEN.fullmatch(method)) and target != "" and not _NO_TARGET.search(target)


def _unusual_line(text: str) -> RequestLine:
    """A line without a version, or with another one, or a wrong one."""
    words = text.split()
    version, number = "", (0, 9)
    if len(words) >= 3:
        version, number = words[-1], _version_number(words[-1])
    if number >= (2, 0):
        raise HTTPError(505, f"Invalid HTTP version ({version.partition('/')[2]})")
    # One space between words, and none around them (RFC 9112, 3); a line without a version may end in one, as some
    # clients write it with an empty version.
    alone = text if version else text.removesuffix(" ")
    if not 2 <= len(words) <= 3 or alone != " ".join(words) or not _is_sound(words[0], words[1]):
        raise HTTPError(400, f"Bad request syntax ({shown(text)})")
    if not version and words[0] != "GET":
        raise HTTPError(400, f"Bad HTTP/0.9 request type ({shown(words[0])})")
    return RequestLine(words[0], words[1], version, number)


_VERSION = re.compile(r"HTTP/([0-9])\.([0-9])")  # RFC 9112, 2.3


def _version_number(version: str) -> tuple[int, int]:
    if not (match := _VERSION.fullmatch(version)):
        raise HTTPError(400, f"Bad request version ({shown(version)})")
    return int(match[1]), int(match[2])


def shown(text: str) -> str:
    """A text of the client's as an answer shows it: quoted, escaped and cut."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


# The header fields


# The fields that say how a message is framed and what becomes of its connection.
_MEANT_FOR_US = frozenset({"connection", "content-length", "expect", "host", "transfer-encoding"})
look_for(_MEANT_FOR_US)


NO_FIELDS = HeaderFields((), None, False, frozenset(), False, None)


def parse_fields(block: bytes, limits: HTTPLimits) -> HeaderFields:
    r"""Read header fields, from the first one's first byte to the CRLF that ends them.

    Raises:
        HTTPError: 400, 413, 431 or 501.
    """
    if block == b"\r\n":
        return NO_FIELDS
    if len(block) < 4 or block.find(b"\r\n\r\n") + 4 != len(block) or block.startswith(b"\r"):
        raise HTTPError(400, "Bad header fields", "they do not end where they should")
    collector = FieldCollector()
    try:
        # A line of our own: the client's was read above, and with GET no field can switch protocols.
        HttpRequestParser(collector).feed_data(b"GET / HTTP/1.1\r\n" + block)
    except HttpParserUpgrade:
        pass  # "Connection: upgrade" is the handler's to act upon
    except HttpParserError as error:
        raise _refusal(str(error)) from error
    if len(collector.fields) > limits.header_count:
        raise HTTPError(431, "Too many headers", f"got more than {limits.header_count} headers")
    return _understood(tuple(collector.fields), collector.meant)


# llhttp's reasons that are more than bad syntax, by what they contain.
_STATUS_OF = {
    "Content-Length overflow": (413, None),
    "Request has invalid `Transfer-Encoding`": (501, "Unsupported transfer coding"),
}


def _refusal(reason: str) -> HTTPError:
    status, message = next((row for words, row in _STATUS_OF.items() if words in reason), (400, "Bad header fields"))
    return HTTPError(status, message, reason)


def _understood(fields: tuple[tuple[str, str], ...], meant: dict[str, list[str]]) -> HeaderFields:
    length = meant.get("content-length")
    return HeaderFields(
        fields,
        int(length[0]) if length else None,  # llhttp lets a single one through, of digits only
        "transfer-encoding" in meant and _is_chunked(meant["transfer-encoding"]),
        _options(meant["connection"]) if "connection" in meant else _NO_OPTIONS,
        "expect" in meant and any(value.lower() == "100-continue" for value in meant["expect"]),
        _host(meant["host"]) if "host" in meant else None,
    )


def _is_chunked(codings: list[str]) -> bool:
    if [coding.lower() for coding in codings] != ["chunked"]:
        raise HTTPError(501, "Unsupported transfer coding", "the only transfer coding understood here is chunked")
    return True


_NO_OPTIONS: frozenset[str] = frozenset()


def _options(values: Iterable[str]) -> frozenset[str]:
    return frozenset(option.strip(" \t").lower() for value in values for option in value.split(","))


def _host(hosts: list[str]) -> str:
    if len(hosts) > 1 or not _is_authority(hosts[0]):
        raise HTTPError(400, "Bad Host header", "a request has one Host, which is a name and perhaps a port")
    return hosts[0]


def _is_authority(text: str) -> bool:
    """Whether a text names a host; what is in brackets has to be an address, or `urlsplit` of a program raises."""
    found = _AUTHORITY.fullmatch(text)
    if not found or found[1] is None:
        return found is not None
    try:
        return bool(_FUTURE_ADDRESS.fullmatch(found[1]) or IPv6Address(found[1]))
    except AddressValueError:
        return False


# Both together


def check_request(line: RequestLine, headers: HeaderFields) -> None:
    """Hold a request line and its fields against each other.

    Raises:
        HTTPError: 400, for a version that cannot be chunked (RFC 9112, 6.1).
    """
    if headers.chunked and line.number < (1, 1):
        raise HTTPError(400, "Bad header fields", "Transfer-Encoding came with HTTP/1.1")


def authority(line: RequestLine, headers: HeaderFields) -> str | None:
    """The host that a request is for: its target's where that is absolute, else its Host's (RFC 9112, 3.2 and 3.3).

    Returns:
        None where an old client names none.

    Raises:
        HTTPError: 400, where HTTP/1.1 demands one and there is none, or the target's is none.
    """
    if headers.host is None and line.number >= (1, 1):
        raise HTTPError(400, "Missing Host header", "an HTTP/1.1 request says which host it is for")
    if line.target[:1] == "/" or not (absolute := _ABSOLUTE.match(line.target)):
        return headers.host
    if not _is_authority(absolute[1]):
        raise HTTPError(400, "Bad request target", "the target's authority is no name with perhaps a port")
    return absolute[1]


# Sizes


def check_sizes(head: bytes | bytearray, limits: HTTPLimits) -> None:
    """Hold a head, whole or not, against the limits.

    Raises:
        HTTPError: 414 or 431.
    """
    end = head.find(b"\n") + 1 or len(head)
    if end > limits.request_line:
        raise HTTPError(414)
    if len(head) - end > min(limits.header_line, limits.header_bytes):  # else no line can be too long
        check_fields(head[end:], limits)


def check_fields(block: bytes | bytearray, limits: HTTPLimits) -> None:
    """Hold header fields, all or not, against the limits.

    Raises:
        HTTPError: 431.
    """
    if any(len(line) >= limits.header_line for line in block.split(b"\n")):
        raise HTTPError(431, "Line too long", f"got more than {limits.header_line} bytes in a header line")
    if len(block) > limits.header_bytes:
        raise HTTPError(431, "Headers too long", f"got more than {limits.header_bytes} bytes of headers")
