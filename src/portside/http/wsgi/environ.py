"""What an application is told of its request: PEP 3333's `environ`. A head in, a dict out; no socket.

Most of it is the same for every request of a connection, and is copied; the rest is filled in.
"""

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from portside.http.cgi.metavariables import variable
from portside.http.targets import origin_form

# Names of header fields that are remembered: clients send the same ones, but one could be made to invent names.
REMEMBERED = 1024

_variables: dict[str, str] = {"Content-Type": "CONTENT_TYPE", "Content-Length": "CONTENT_LENGTH"}


def add_request(environ: dict[str, Any], method: str, target: str, version: str) -> None:
    """What the request line says.

    Args:
        environ: is filled.
        method: as "GET".
        target: as the client sent it, each character a byte of it (Latin-1).
        version: as "HTTP/1.1".
    """
    path, _, query = (origin_form(target) or "").partition("?")
    environ["REQUEST_METHOD"] = method
    environ["PATH_INFO"] = decoded(path) if "%" in path else path
    environ["QUERY_STRING"] = query
    environ["REQUEST_URI"] = target
    environ["SERVER_PROTOCOL"] = version


def add_fields(environ: dict[str, Any], fields: Iterable[tuple[str, str]]) -> None:
    """The header fields; those of one name become one list."""
    for name, value in fields:
        key = _variables.get(name)
        if key is None:
            key = _remember(name)
        if key not in environ:
            environ[key] = value
        elif key:
            environ[key] = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{value}"
    environ.pop("", None)  # fields that are not passed on


def decoded(path: str) -> str:
    """A path without percent signs, its bytes as Latin-1 characters (PEP 3333, "Unicode Issues")."""
    return unquote_to_bytes(path.encode("latin-1")).decode("latin-1")


def _remember(name: str) -> str:
    lower = name.lower()
    known = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}.get(lower)
    key = known or variable(name) or ""
    if len(_variables) < REMEMBERED:
        _variables[name] = key
    return key
