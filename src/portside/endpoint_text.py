"""The text of endpoints: fields in, one line out, and back. No sockets here.

Rules of this file:

* ``read`` returns fields or raises ``EndpointError``, for any text; ``checked`` does the same for any fields.
* Text that ``write`` makes of checked fields is read back as the same fields.
* What differs between the schemes is in one table, ``_FORMS``, at the end of the file.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

__all__ = ["EndpointError", "checked", "read", "shown", "write"]

_ACCEPTED: Final = (
    "tcp://HOST:PORT, tcp://:PORT, tls://HOST:PORT, https://HOST, udp://HOST:PORT, unix:/PATH, unix:@NAME,"
    " unixgram:/PATH, unixgram:@NAME, fd:N, systemd:NAME or a PORT alone"
)

# Smallest and largest accepted number of each field.
_RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "port": (0, 0xFFFF),  # 16 bits in TCP and UDP (RFC 9293, RFC 768); 0 lets the system choose
    "fd": (0, 0x7FFF_FFFF),  # a C int: beyond it Python raises OverflowError, which is no OSError
    "mode": (0, 0o777),  # permission bits: set-user-id and sticky mean nothing on a socket
    "backlog": (1, 0xFFFF),  # 16 bits in FreeBSD and in Linux before 4.1; the kernel lowers it to its somaxconn
}

# White space and control characters are nearly always a slip of a shell or a configuration file, and "#" would be read
# as a fragment by every other program that knows URLs. A path may hold them, percent-encoded.
_NEVER_PLAIN: Final = re.compile(r"[\s\x00-\x20\x7f#]")
_BAD_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PLAIN_IN_PATH: Final = "/@:+,="
_PLAIN_IN_OPTION: Final = "/@:+,"

_HTTPS_PORT: Final = 443  # where https:// leaves it out

_PORT_ALONE: Final = re.compile(r"[0-9]+")
_DIGITS: Final = re.compile(r"[0-9]{1,10}")  # ASCII only, and never so many that int() refuses them
_OCTAL_DIGITS: Final = re.compile(r"0?[0-7]{3}")
_SPELLINGS: Final[Mapping[str, str]] = {"mode": "03o"}  # format of a number in text, "d" for the others
_FLAGS: Final[Mapping[str, bool]] = {"1": True, "0": False, "true": True, "false": False}
_AUTHORITY: Final = re.compile(r"(?:\[(?P<literal>[^\[\]]*:[^\[\]]*)\]|(?P<name>[^\[\]:]*))(?::(?P<port>[^\[\]:]*))?")

# RFC 1123 section 2.1, with the underscore that container networks use. Python's IDNA codec raises UnicodeError, which
# is no OSError, for longer or empty labels: such a name must not reach the resolver.
_NAME: Final = re.compile(r"(?:(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\.)*(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\.?")
_NAME_LIMIT: Final = 253  # characters (RFC 1035 section 2.3.4, without the length bytes)
# "127.1", "0x7f.1" and "2130706433" are old spellings of 127.0.0.1 to inet_aton. As in the URL standard's "ends in a
# number" rule, a host that looks like a number is an IPv4 address in four parts or an error, never a surprise.
_LOOKS_NUMERIC: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?")
# An interface's number (a C int) or name, without the characters that end a host or an endpoint.
_ZONE: Final = re.compile(r"[0-9]{1,9}|[0-9]*[A-Za-z_.:~-][A-Za-z0-9_.:~-]*")

# A name of systemd's sockets: printable ASCII without a colon (systemd.socket(5), FileDescriptorName=), and without
# what ends an endpoint's text.
_SOCKET_NAME: Final = re.compile(r"[!\"$-9;->@-~]{0,255}")

_SHOWN_LIMIT: Final = 80  # characters of a wrong text in a message: a line of a terminal, whatever was passed in


class EndpointError(ValueError):
    """An endpoint that is none: the message is one sentence that says what is wrong and what is accepted."""


def read(text: str) -> dict[str, Any]:
    """Take an endpoint's text apart.

    Args:
        text: one of the forms of ``docs/reference/endpoints.md``.

    Returns:
        The fields that the text names, by the names of ``Endpoint``, the scheme among them; not checked yet.

    Raises:
        EndpointError: the text has none of the forms.
    """
    found = _NEVER_PLAIN.search(text)
    if found:
        raise EndpointError(f"the character {found[0]!r} is not accepted; in a path write it as in %20")
    if _PORT_ALONE.fullmatch(text):
        return {"scheme": "tcp", "port": _read_number("port", text)}
    scheme, _, rest = text.partition(":")
    body, mark, query = rest.partition("?")
    return {"scheme": scheme} | _form(scheme).read(body) | (_read_options(scheme, query) if mark else {})


def write(fields: Mapping[str, Any]) -> str:
    """Write the canonical text.

    Args:
        fields: all fields of an ``Endpoint``, checked.

    Returns:
        ASCII text that ``read`` takes apart into the same fields.
    """
    query = "&".join(_written_options(fields))
    return f"{fields['scheme']}:{_form(fields['scheme']).write(fields)}{query and '?'}{query}"


def checked(fields: Mapping[str, Any], changed: Set[str]) -> dict[str, Any]:
    """Check fields, whether they come from text or not.

    Args:
        fields: all fields of an ``Endpoint``.
        changed: names of those that differ from their defaults.

    Returns:
        The fields of the scheme, hosts written in their one way.

    Raises:
        EndpointError: a field is out of its range, or was changed and does not belong to the scheme.
    """
    form = _form(fields["scheme"])
    accepted = form.parts + form.options
    for name in changed - {"scheme", *accepted}:
        raise EndpointError(f"{name} does not belong to {fields['scheme']}; it takes {', '.join(accepted)}")
    if fields["key"] and not fields["cert"]:
        raise EndpointError("key is given without cert; name the certificate's file too")
    if fields["mode"] is not None and fields["path"].startswith("@"):
        raise EndpointError("mode does not belong to an abstract name, which is no file; leave it out")
    return {name: _CHECKS[name](fields[name]) for name in accepted}


def _form(scheme: str) -> _Form:
    try:
        return _FORMS[scheme]
    except KeyError as error:
        raise EndpointError(f"the scheme {shown(scheme)} is unknown; accepted are {_ACCEPTED}") from error


# Parts and options


def shown(text: str) -> str:
    """Quote a text for a message, shortened where somebody passed in a book."""
    return repr(text if len(text) <= _SHOWN_LIMIT else f"{text[:_SHOWN_LIMIT]}...")


def _read_inet(body: str) -> dict[str, Any]:
    if not body.startswith("//"):
        raise EndpointError("two slashes are missing; write them before the host, as in tcp://127.0.0.1:9000")
    found = _AUTHORITY.fullmatch(body[2:])
    if found is None:
        raise EndpointError("host and port cannot be told apart; write an IPv6 address in brackets, as in [::1]:9000")
    if not found["port"]:
        raise EndpointError("the port is missing; write it after the host, as in tcp://127.0.0.1:9000")
    return {"host": found["literal"] or found["name"], "port": _read_number("port", found["port"])}


def _read_https(body: str) -> dict[str, Any]:
    """The port may be left out: RFC 9110, section 4.2.2."""
    found = _AUTHORITY.fullmatch(body[2:])
    return _read_inet(body if found is None or found["port"] is not None else f"{body}:{_HTTPS_PORT}")


def _read_number(field: str, text: str) -> int:
    if not _DIGITS.fullmatch(text):
        raise _out_of_range(field, shown(text))
    return int(text)


def _read_path(body: str) -> dict[str, Any]:
    if body.startswith("//") and not body.startswith("///"):
        raise EndpointError("a host does not belong to a path; write one slash, as in unix:/run/app.sock, or three")
    return {"path": _read_file(body.removeprefix("//"))}


def _read_file(text: str) -> str:
    if _BAD_PERCENT.search(text):
        raise EndpointError("a % without two hexadecimal digits is not accepted; write %25 for the character itself")
    return _from_bytes(unquote_to_bytes(_to_bytes(text)))


def _to_bytes(path: str) -> bytes:
    """Encode like ``os.fsencode``, but alike on every system, and with the file's one documented error."""
    try:
        return path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise EndpointError("a lone surrogate is no character of a path; write bytes as in %FF") from error


def _from_bytes(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _read_mode(text: str) -> int:
    if not _OCTAL_DIGITS.fullmatch(text):
        raise _out_of_range("mode", shown(text))
    return int(text, 8)


def _read_flag(text: str) -> bool:
    if text not in _FLAGS:
        raise EndpointError(f"reuse_port {shown(text)} is not accepted; accepted are {', '.join(_FLAGS)}")
    return _FLAGS[text]


def _read_options(scheme: str, query: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    accepted = _form(scheme).options
    for item in query.split("&"):
        name, _, value = item.partition("=")
        if name not in accepted:
            raise EndpointError(f"{scheme} has no option {shown(name)}; it takes {' and '.join(accepted) or 'none'}")
        if name in options:
            raise EndpointError(f"the option {name} is given twice; give it once")
        options[name] = _OPTIONS[name](value)
    return options


def _written_options(fields: Mapping[str, Any]) -> Iterator[str]:
    for name in _form(fields["scheme"]).options:
        value = fields[name]
        if value is not None and value is not False and value != "":
            yield f"{name}={_spelled(name, value)}"


def _write_inet(fields: Mapping[str, Any]) -> str:
    host = f"[{fields['host']}]" if ":" in fields["host"] else fields["host"]
    return f"//{host}:{fields['port']}"


def _write_path(fields: Mapping[str, Any]) -> str:
    text = quote_from_bytes(_to_bytes(fields["path"]), safe=_PLAIN_IN_PATH)
    # Two plain slashes in front would announce a host.
    return f"/%2F{text[2:]}" if text.startswith("//") else text


def _spelled(field: str, value: Any) -> str:
    if isinstance(value, str):
        return quote_from_bytes(_to_bytes(value), safe=_PLAIN_IN_OPTION)
    return format(value, _SPELLINGS.get(field, "d"))


# Checks of single fields


def _checked_number(field: str, value: int | None) -> int | None:
    low, high = _RANGES[field]
    if value is not None and not low <= value <= high:
        raise _out_of_range(field, _spelled(field, value))
    return value


def _out_of_range(field: str, shown: str) -> EndpointError:
    low, high = (_spelled(field, limit) for limit in _RANGES[field])
    return EndpointError(f"{field} {shown} is not accepted; accepted is {low} to {high}")


def _checked_host(host: str) -> str:
    if ":" in host:
        return _checked_ipv6(host)
    if _LOOKS_NUMERIC.fullmatch(host):
        return _checked_ipv4(host)
    if host and (len(host) > _NAME_LIMIT or not _NAME.fullmatch(host)):
        raise EndpointError(
            f"host {shown(host)} is no name; accepted are letters a to z, digits, '-', '_' and '.' (other alphabets as"
            " xn--...), or nothing for all interfaces"
        )
    return host.lower()


def _checked_ipv6(host: str) -> str:
    _, mark, zone = host.partition("%")
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError as error:
        raise EndpointError(f"host {shown(host)} is no IPv6 address; write one as in ::1 or fe80::1%eth0") from error
    if mark and not _ZONE.fullmatch(zone):
        raise EndpointError(f"zone {shown(zone)} is no interface; write its name or number, as in fe80::1%eth0")
    return str(address)


def _checked_ipv4(host: str) -> str:
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError as error:
        raise EndpointError(f"host {shown(host)} is no IPv4 address; write four numbers, as in 127.0.0.1") from error


def _checked_path(path: str) -> str:
    if path in ("", "@"):
        raise EndpointError("the path is empty; write a file's path or @ and a name")
    return _checked_file(path)


def _checked_file(path: str) -> str:
    if "\0" in path:
        raise EndpointError("a path cannot hold the character NUL; leave it out")
    if _from_bytes(_to_bytes(path)) != path:
        raise EndpointError("the path spells a character as surrogates; write the character itself")
    return path


def _checked_name(name: str) -> str:
    if not _SOCKET_NAME.fullmatch(name):
        raise EndpointError(
            f"name {shown(name)} is not accepted; accepted is the FileDescriptorName= of systemd sockets, or nothing"
            " for all of them"
        )
    return name


# Tables


@dataclass(frozen=True, kw_only=True, slots=True)
class _Form:
    """What differs from scheme to scheme."""

    parts: tuple[str, ...]  # fields that stand before the question mark
    options: tuple[str, ...]  # fields that stand after it, in canonical order
    read: Callable[[str], dict[str, Any]]
    write: Callable[[Mapping[str, Any]], str]


_INET: Final = functools.partial(_Form, parts=("host", "port"), read=_read_inet, write=_write_inet)
_PATH: Final = functools.partial(_Form, parts=("path",), read=_read_path, write=_write_path)
_FORMS: Final[Mapping[str, _Form]] = {
    "tcp": _INET(options=("backlog", "reuse_port")),
    "tls": _INET(options=("cert", "key", "backlog", "reuse_port")),
    "https": _INET(options=("cert", "key", "backlog", "reuse_port"), read=_read_https),
    "udp": _INET(options=("reuse_port",)),
    "unix": _PATH(options=("mode", "backlog")),
    "unixgram": _PATH(options=("mode",)),
    "fd": _Form(
        parts=("fd",),
        options=(),
        read=lambda body: {"fd": _read_number("fd", body)},
        write=lambda fields: str(fields["fd"]),
    ),
    "systemd": _Form(
        parts=("name",), options=(), read=lambda body: {"name": body}, write=lambda fields: str(fields["name"])
    ),
}

_OPTIONS: Final[Mapping[str, Callable[[str], int | str]]] = {
    "cert": _read_file,
    "key": _read_file,
    "mode": _read_mode,
    "backlog": functools.partial(_read_number, "backlog"),
    "reuse_port": _read_flag,
}

_CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "host": _checked_host,
    "port": functools.partial(_checked_number, "port"),
    "path": _checked_path,
    "fd": functools.partial(_checked_number, "fd"),
    "name": _checked_name,
    "mode": functools.partial(_checked_number, "mode"),
    "backlog": functools.partial(_checked_number, "backlog"),
    "reuse_port": bool,
    "cert": _checked_file,
    "key": _checked_file,
}
