"""Uploads: PUT of a file, and POST of a form or of a file's plain content."""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from portside.http.files import cors, forms
from portside.http.files.answers import asked
from portside.http.files.conditions import Verdict, evaluate
from portside.http.files.folders import is_hidden
from portside.http.files.names import names_folder
from portside.http.files.resources import validators
from portside.http.files.storing import PartialFile, UploadRefused, check_name, disk, plain_name
from portside.http.files.tree import Tree

if TYPE_CHECKING:
    from portside.http.files.handler import SimpleHTTPRequestHandler

PIECE: Final = 64 * 1024  # bytes of a body in memory at a time

_FOLDER: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC


class Stored(NamedTuple):
    """A file that was stored.

    Args:
        status: its status.
        replaced: there was one of its name before.
    """

    status: os.stat_result
    replaced: bool


def check(handler: "SimpleHTTPRequestHandler") -> None:
    """Refuse what can be refused before anything of the body is read.

    Raises:
        UploadRefused: the request comes from a page of another origin (403), sends a part of a file (400), or more
            than may be sent (413).
    """
    fields, options = handler.headers, handler.file_options
    if cors.is_foreign(fields.get("Origin"), fields.get("Host"), options.cors_origins):
        raise UploadRefused(HTTPStatus.FORBIDDEN, "pages of other origins may not upload")
    if "Content-Range" in fields:  # RFC 9110, section 14.5: else a part would replace the whole
        raise UploadRefused(HTTPStatus.BAD_REQUEST, "parts of files cannot be uploaded")
    if (_announced(handler) or 0) > options.upload_limit:
        raise _too_large(options.upload_limit)


def boundary_of(handler: "SimpleHTTPRequestHandler") -> bytes | None:
    """The boundary of the form that the request sends; None where it sends something else.

    Raises:
        UploadRefused: it sends a form, and does not say how its parts are told from each other.
    """
    try:
        return forms.boundary_of(handler.headers.get("Content-Type", ""))
    except forms.FormCorrupt as error:
        raise UploadRefused(HTTPStatus.BAD_REQUEST, str(error)) from error


def receive_file(handler: "SimpleHTTPRequestHandler") -> Stored:
    """Store the body under the name that the request's target gives it.

    Raises:
        UploadRefused: nothing was stored.
        OSError: the client is gone; nothing was stored.
    """
    path = handler.translate_path(handler.path)
    folder_path, name = os.path.split(path)
    if names_folder(handler.path) or not name:
        raise UploadRefused(HTTPStatus.CONFLICT, "this names a folder, and a file is to be stored")
    check_name(name)
    with _folder(handler, folder_path, name) as folder:
        exists = _check_state(handler, folder, name)
        with PartialFile(folder, name) as part:
            for piece in _body(handler):
                part.write(piece)
            status = part.finish()
            part.keep(overwrite=handler.file_options.overwrite)
    return Stored(status, exists)


def receive_form(handler: "SimpleHTTPRequestHandler", mark: bytes) -> int:
    """Store the files of a form in the folder that the request's target names, when the form is whole.

    Args:
        handler: of the request.
        mark: the form's boundary.

    Returns:
        How many.

    Raises:
        UploadRefused: the form is not stored; where a file of one of its names came into being meanwhile, those before
            it are.
        OSError: the client is gone; nothing was stored.
    """
    with _folder(handler, handler.translate_path(handler.path)) as folder, ExitStack() as stack:
        parts: list[PartialFile] = []
        try:
            for event in forms.read_form(_body(handler), mark):
                _take(event, parts, stack, folder, handler)
        except forms.FormCorrupt as error:
            raise UploadRefused(HTTPStatus.BAD_REQUEST, str(error)) from error
        for part in parts:
            part.keep(overwrite=handler.file_options.overwrite)
    return len(parts)


def _take(
    event: forms.Event, parts: list[PartialFile], stack: ExitStack, folder: int, handler: "SimpleHTTPRequestHandler"
) -> None:
    """Do what an event of a form asks for."""
    if isinstance(event, forms.FileBegins):
        name = plain_name(event.name)
        _check_visible(handler, name)
        _check_state(handler, folder, name)
        parts.append(stack.enter_context(PartialFile(folder, name)))
    elif isinstance(event, forms.FileEnds):
        parts[-1].finish()
    else:
        parts[-1].write(event)


@contextmanager
def _folder(handler: "SimpleHTTPRequestHandler", path: str, name: str = "") -> Iterator[int]:
    """Open the folder to store in, which lies in the tree.

    The body of the `with` is not within `disk`, as it reads from the client.
    """
    with ExitStack() as stack:
        with disk():
            tree = stack.enter_context(Tree(handler.directory, confined=not handler.file_options.follow_symlinks))
            _check_visible(handler, os.path.join(tree.name_of(path) or "", name))
            folder = stack.enter_context(tree.opened(path, _FOLDER))
        yield folder


def _check_visible(handler: "SimpleHTTPRequestHandler", name: str) -> None:
    if is_hidden(name, hide_dot_files=handler.file_options.hide_dot_files):
        raise UploadRefused(HTTPStatus.FORBIDDEN, "files of this name are not served")


def _check_state(handler: "SimpleHTTPRequestHandler", folder: int, name: str) -> bool:
    """Refuse before the body is read what would be refused after; returns whether there is such a file."""
    with disk():
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            status = None
    current = validators(status) if status else None
    if evaluate("PUT", asked(handler.headers.items()), current) is not Verdict.PROCEED:
        raise UploadRefused(HTTPStatus.PRECONDITION_FAILED, "the file is in another state")
    if status and stat.S_ISDIR(status.st_mode):
        raise UploadRefused(HTTPStatus.CONFLICT, "there is a folder of this name")
    if status and not handler.file_options.overwrite:
        raise UploadRefused(HTTPStatus.CONFLICT, "there is such a file already")
    return status is not None


def _body(handler: "SimpleHTTPRequestHandler") -> Iterator[bytes]:
    """The request's body, in pieces.

    Raises:
        UploadRefused: it is longer than it may be.
        OSError: the client left before its end.
    """
    limit, count = handler.file_options.upload_limit, 0
    while piece := handler.rfile.read1(PIECE):
        count += len(piece)
        if count > limit:
            raise _too_large(limit)
        yield piece


def _announced(handler: "SimpleHTTPRequestHandler") -> int | None:
    """The length of the body in bytes; None where it is not announced."""
    text = handler.headers.get("Content-Length", "").strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _too_large(limit: int) -> UploadRefused:
    return UploadRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"an upload has at most {limit} bytes")
