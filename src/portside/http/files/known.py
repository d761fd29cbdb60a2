"""Small files that were served before: the heads of their answers are kept for a second, and never what is in them.

A file that is asked for again is opened, read and looked at anew. Where it is still in the state that an answer was
made for, that answer's head goes out with it, and nothing else is decided again. What a program may change meanwhile,
such as its content types, is followed within the second.
"""

import os
import time
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from portside.http.files import names, openat2
from portside.http.files.resources import COARSE_TICK, Resource
from portside.http.files.sending import SENDFILE_FROM
from portside.http.files.tree import name_below

if TYPE_CHECKING:
    from portside.core.knownfiles import KnownFile
    from portside.http.files.answers import Fields
    from portside.http.files.handler import SimpleHTTPRequestHandler

MOST: Final = 1024  # answers that are kept: clients choose targets, so that there would else be no end of them


class Ready(NamedTuple):
    """An answer to GET that was made ready.

    Args:
        second: in which it was made, and is good.
        settings: of the handler that made it.
        file: the file in the state that it was made for.
        lines: its head between the first three lines and Content-Length.
        length: the value of that.
        has_codings: whether a client that takes a coding gets something else.
    """

    second: int
    settings: tuple[Any, ...]
    file: "KnownFile"
    lines: bytes
    length: str
    has_codings: bool


_READY: Final[dict[tuple[type, str, str], Ready]] = {}


def send(handler: "SimpleHTTPRequestHandler") -> bool:
    """Answer GET with a file that is known; False where nothing was sent, and the answer is to be made anew."""
    key = type(handler), handler.directory, handler.path
    ready = _READY.get(key)
    if ready is None:
        return False
    second, settings, file, lines, length, has_codings = ready  # one look-up for all of them
    if second != int(time.time()) or handler.command != "GET" or settings != _settings(handler):
        return False
    if (asked := handler._wishes()) and (has_codings or asked.keys() != _CODINGS_ONLY):
        return False
    content = file.read()
    if content is None:
        _READY.pop(key, None)
        return False
    handler.send_response(HTTPStatus.OK)
    handler._headers_buffer.append(lines)
    handler.send_header("Content-Length", length)
    handler.end_headers()
    handler.wfile.write(content)
    return True


_CODINGS_ONLY: Final = {"accept-encoding"}


def _settings(handler: "SimpleHTTPRequestHandler") -> tuple[Any, ...]:
    """What a head depends on beside the request and the file."""
    extra = handler.extra_response_headers
    return (
        handler.file_options,
        handler.extensions_map,
        handler.default_content_type,
        handler.index_pages,
        tuple(extra) if extra else None,  # a program may change the list
    )


def remember(handler: "SimpleHTTPRequestHandler", found: Resource, fields: "Fields", *, has_codings: bool) -> None:
    """Keep the answer with a whole file, as it is, that a handler has just sent, where the file can be told again.

    Args:
        handler: with the usual methods.
        found: the file.
        fields: of the head, Content-Length among them.
        has_codings: whether a client that takes a coding gets something else.
    """
    now, reader = time.time(), _reader()
    if reader is None or not _can_be_told(found.status, now) or (name := _name_of(handler, found)) is None:
        return
    others = [each for each in fields if each[0].lower() not in _UNDERSTOOD]
    if len(others) != len(fields) - 1:
        return
    if len(_READY) >= MOST:
        _READY.clear()
    confined = not handler.file_options.follow_symlinks
    _READY[type(handler), handler.directory, handler.path] = Ready(
        second=int(now),
        settings=_settings(handler),
        file=reader(os.fsencode(handler.directory), os.fsencode(name), found.status, confined=confined),
        lines="".join(f"{key}: {value}\r\n" for key, value in others).encode("latin-1"),
        length=str(found.status.st_size),
        has_codings=has_codings,
    )


# What `send_header` looks at: Content-Length is told to it each time, and answers with others are not kept.
_UNDERSTOOD: Final = frozenset({"connection", "content-length", "transfer-encoding", "x-traceback"})


def _can_be_told(status: os.stat_result, now: float) -> bool:
    """Whether a file is small, and every change of it will be seen: what is young may change in the same tick."""
    return status.st_size < SENDFILE_FROM and now - status.st_mtime > COARSE_TICK


def _name_of(handler: "SimpleHTTPRequestHandler", found: Resource) -> str | None:
    """The file's name below the folder; None where it is elsewhere, or the same target may lead to another file."""
    name = name_below(handler.directory, found.path)
    if name is None or len(handler.path) > names.LONGEST:
        return None
    if names.names_folder(handler.path) and os.path.basename(name) != next(iter(handler.index_pages)):
        return None  # an index page that comes before it may appear
    return name


@cache
def _reader() -> "type[KnownFile] | None":
    """What reads them; None where the compiled core is missing, or the kernel has no openat2(2)."""
    try:
        from portside.core.knownfiles import KnownFile
    except ImportError:
        return None
    return KnownFile if openat2.is_available() else None
