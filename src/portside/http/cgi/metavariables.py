"""What a script is told of its request: the meta-variables of RFC 3875, section 4.1, as an environment.

No socket and no file is looked at here. The rule for header fields is WSGI's too.
"""

import os
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

# Programs take HTTP_PROXY for their own proxy, and a field `Proxy` would set it (httpoxy, CVE-2016-5385).
# Content-Type and Content-Length have variables of their own (4.1.18).
_OWN = frozenset(("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH", "HTTP_PROXY"))

# Of a header field that says who the client is, and of one that only this connection is concerned with, scripts are
# not told (4.1.18).
SECRET = frozenset(("HTTP_AUTHORIZATION", "HTTP_PROXY_AUTHORIZATION"))
_HOP = frozenset(("HTTP_CONNECTION", "HTTP_KEEP_ALIVE", "HTTP_TE", "HTTP_TRAILER", "HTTP_TRANSFER_ENCODING"))

# Always set for scripts, which often look without asking first; the standard library's handler did so.
_ALWAYS = ("REMOTE_HOST", "CONTENT_LENGTH", "HTTP_ACCEPT", "HTTP_COOKIE", "HTTP_REFERER", "HTTP_USER_AGENT")


def variable(field: str) -> str | None:
    """The variable of a header field; None for one that is not passed on.

    A name with an underscore would look like one with a dash, and a client could forge what a proxy in front has
    set: it is left out, as nginx and Apache do.
    """
    name = f"HTTP_{field.upper().replace('-', '_')}"
    return None if "_" in field or name in _OWN else name


def joined(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The variables of all header fields; fields of one name become one list (RFC 9110, 5.3; cookies: RFC 6265)."""
    found: dict[str, str] = {}
    for field, value in fields:
        name = variable(field)
        if name is not None and name in found:
            separator = "; " if name == "HTTP_COOKIE" else ","
            found[name] = f"{found[name]}{separator}{value.strip()}"
        elif name is not None:
            found[name] = value.strip()
    return found


def of_fields(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The same for a script, which is not told what is the server's alone."""
    return {name: value for name, value in joined(fields).items() if name not in SECRET and name not in _HOP}


def server_name_and_port(server: Any) -> tuple[str, str]:
    """SERVER_NAME and SERVER_PORT of any server; neither may be empty, and a Unix socket has neither."""
    address = server.server_address
    host, port = address[:2] if isinstance(address, tuple) else ("", 80)
    return str(getattr(server, "server_name", host) or "localhost"), str(port)


def inherited(environment: Mapping[str, str], patterns: Iterable[str]) -> dict[str, str]:
    """The part of the server's own environment that a script sees."""
    chosen = tuple(patterns)
    return {name: value for name, value in environment.items() if any(fnmatchcase(name, pattern) for pattern in chosen)}


def environment(
    *, inherited: Mapping[str, str], request: Mapping[str, str | None], fields: Iterable[tuple[str, str]]
) -> dict[str, str]:
    """A script's whole environment.

    Args:
        inherited: what it sees of the server's.
        request: the variables of this request by name; those that are None are not set.
        fields: the request's header fields.

    Returns:
        The environment. What the request says comes last: a server that was itself started as a CGI script has
        variables of the same names.
    """
    return {
        **{name: value for name, value in inherited.items() if not _is_request(name)},
        **dict.fromkeys(_ALWAYS, ""),
        **{name: as_bytes_say(value) for name, value in of_fields(fields).items()},
        **{name: value for name, value in request.items() if value is not None},
        "GATEWAY_INTERFACE": "CGI/1.1",
    }


def as_bytes_say(text: str) -> str:
    """Text of a head, which is read as Latin-1, as the system passes on the very bytes that the client sent."""
    return os.fsdecode(text.encode("latin-1", "replace"))


def _is_request(name: str) -> bool:
    return name.upper().startswith("HTTP_") or name in _REQUEST


_REQUEST = frozenset(
    (
        *("AUTH_TYPE", "CONTENT_LENGTH", "CONTENT_TYPE", "GATEWAY_INTERFACE", "HTTPS", "PATH_INFO", "PATH_TRANSLATED"),
        *("QUERY_STRING", "REMOTE_ADDR", "REMOTE_HOST", "REMOTE_IDENT", "REMOTE_PORT", "REMOTE_USER", "REQUEST_METHOD"),
        *("REQUEST_URI", "SCRIPT_FILENAME", "SCRIPT_NAME", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL"),
        "SERVER_SOFTWARE",
    )
)
