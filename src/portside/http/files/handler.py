"""`SimpleHTTPRequestHandler`: serves the files of a folder, and takes uploads where it is told to."""

import io
import mimetypes
import os
import posixpath
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from fnmatch import fnmatchcase
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, ClassVar, Final

from portside.http.files import cors, known, listing, names, sending, uploads
from portside.http.files.answers import Answer, Fields, Representation, asked, conditional, content
from portside.http.files.body import FileBody
from portside.http.files.encodings import is_compressible, packed
from portside.http.files.folders import entries, is_hidden
from portside.http.files.options import FileOptions
from portside.http.files.resources import Resource, find, find_index, negotiate, status_of, validators
from portside.http.files.storing import UploadRefused
from portside.http.files.tree import Tree
from portside.http.handler import BaseHTTPRequestHandler

# The first takes a path, from Python 3.13 on; the other takes a URL, of which a path is one.
_guess: Callable[[str], tuple[str | None, str | None]] = getattr(mimetypes, "guess_file_type", mimetypes.guess_type)

_CONTENT: Final = (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT)
_CACHED: Final = (*_CONTENT, HTTPStatus.NOT_MODIFIED)


class SimpleHTTPRequestHandler(BaseHTTPRequestHandler):
    """Serves the files of a folder to GET and HEAD, and takes uploads where `file_options` says so.

    Args:
        directory: the folder; the current one by default. It may be given as `handler_args` of the server too.
        extra_response_headers: pairs of name and value that every answer with content gets.

    Attributes:
        file_options: how files are served.
        index_pages: what a folder is answered with, the first that it holds; else it is listed.
        extensions_map: content types by extension, which count before those that the system knows.
        default_content_type: for what has none.

    All methods may be overridden, and call each other in the standard library's order: `do_GET` calls `send_head` and
    then `copyfile`; `send_head` calls `translate_path`, then `guess_type` for a file or `list_directory` for a folder.
    """

    server_version = "SimpleHTTP/0.6"  # as the standard library has called itself for twenty years
    default_content_type = "application/octet-stream"
    index_pages: ClassVar[tuple[str, ...]] = ("index.html", "index.htm")
    extensions_map: ClassVar[dict[str, str]] = {
        ".gz": "application/gzip",
        ".Z": "application/octet-stream",
        ".bz2": "application/x-bzip2",
        ".xz": "application/x-xz",
    }
    _encodings_map_default = extensions_map  # the standard library's second name for it
    file_options: FileOptions = FileOptions()

    def __init__(
        self,
        *args: Any,
        directory: str | os.PathLike[str] | None = None,
        extra_response_headers: Iterable[tuple[str, str]] | None = None,
        **kwargs: Any,
    ) -> None:
        self.directory = os.getcwd() if directory is None else os.fspath(directory)
        self.extra_response_headers = None if extra_response_headers is None else list(extra_response_headers)
        super().__init__(*args, **kwargs)

    _is_plain = False  # whether all that `do_GET` calls is ours
    _read: Any = None  # the request's fields that were looked at, and what answers depend on among them
    _asked: Mapping[str, str] = MappingProxyType({})

    def _look_for_overrides(self) -> None:
        super()._look_for_overrides()
        cls, own = type(self), vars(self)
        self._is_plain = all(getattr(cls, name) is ours and name not in own for name, ours in _OURS.items())

    def _wishes(self) -> Mapping[str, str]:
        """The request's fields that answers depend on, under their names in small letters."""
        if self._message is not None:  # the program has looked at `headers`, and may have changed them
            return asked(self.headers.items())
        if self._fields is not self._read:  # clients repeat themselves
            self._read, self._asked = self._fields, asked(self._fields.fields)
        return self._asked

    def do_GET(self) -> None:
        """Serve a file, a part of it, or a folder."""
        if self._is_plain and known.send(self):  # what follows, for less
            return
        if body := self.send_head():
            try:
                self.copyfile(body, self.wfile)
            finally:
                body.close()

    def do_HEAD(self) -> None:
        """Serve the head that GET would have."""
        if body := self.send_head():
            body.close()

    def do_PUT(self) -> None:
        """Store a file, where `file_options.uploads` says so."""
        _upload(self, _store_file)

    def do_POST(self) -> None:
        """Store the files of a form in the folder that the target names, or any other content as PUT does."""
        _upload(self, _store_form_or_file)

    def do_OPTIONS(self) -> None:
        """Tell browsers what a page of another origin may do, where `file_options.cors_origins` names any."""
        options = self.file_options
        if not options.cors_origins:
            self.send_error(HTTPStatus.NOT_IMPLEMENTED, f"Unsupported method ({self.command!r})")
            return
        methods = ("GET", "HEAD", "OPTIONS", *(("POST", "PUT") if options.uploads else ()))
        allow = [("Allow", ", ".join(methods))]
        wanted = self.headers.get("Access-Control-Request-Headers")
        _send(self, Answer(HTTPStatus.NO_CONTENT, [*allow, *cors.preflight_fields(methods, wanted)]))

    def send_head(self) -> Any:
        """Send the status and the head that GET and HEAD have in common.

        Returns:
            A file object to copy to the client, which the caller closes; None where there is nothing to add.
        """
        path = self.translate_path(self.path)
        fields = self._wishes()
        try:
            found = _look_up(self, path, fields)
        except (OSError, ValueError) as error:
            self.send_error(status_of(error), "File not found")
            return None
        if not found.is_folder:
            return _send_file(self, found, fields)
        found.close()
        if not names.names_folder(self.path):
            head = [("Location", names.with_slash(self.path)), ("Content-Length", "0")]
            _send(self, Answer(HTTPStatus.MOVED_PERMANENTLY, head))
            return None
        return self.list_directory(path)

    def list_directory(self, path: str) -> Any:
        """Send the head of the page that lists a folder; returns as `send_head`."""
        options = self.file_options
        try:
            if not options.listings:
                raise PermissionError("listings are off")
            with Tree(self.directory, confined=not options.follow_symlinks) as tree:
                found = entries(tree, path, hide_dot_files=options.hide_dot_files)
                is_root = tree.name_of(path) == os.curdir
        except (OSError, ValueError):
            self.send_error(HTTPStatus.NOT_FOUND, "No permission to list directory")
            return None
        title = f"Directory listing for {names.shown(self.path)}"
        page = listing.page(title, found, is_root=is_root, uploads=options.uploads)
        _send(self, Answer(HTTPStatus.OK, [("Content-type", listing.CONTENT_TYPE), ("Content-Length", str(len(page)))]))
        return io.BytesIO(page)

    def translate_path(self, path: str) -> str:
        """The path of the file that the target of a request names, below `directory`."""
        return names.translate(path, self.directory)

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Copy from one file object to the other; files of this class go by sendfile(2) where the connection allows.

        A file that has become shorter since its length was promised ends the connection, so that the client can tell.
        """
        if not isinstance(source, FileBody):
            shutil.copyfileobj(source, outputfile)
            return
        sending.send(source, outputfile)
        if source.tell() < source.length:
            self.log_error("%s became shorter while it was sent", source.name)
            self.close_connection = True

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        """The content type of a file, by its extension."""
        path = os.fspath(path)
        extension = posixpath.splitext(path)[1]
        for key in (extension, extension.lower()):
            if key in self.extensions_map:
                return self.extensions_map[key]
        return _guess(path)[0] or self.default_content_type

    def end_headers(self) -> None:
        """Add the fields that `file_options` asks for, and end the head."""
        options = self.file_options
        if (options.headers or options.cors_origins) and self._status >= HTTPStatus.OK:
            headers = getattr(self, "headers", None)  # a request that could not be read has none
            origin = headers.get("Origin") if headers else None
            _send_fields(self, (*options.headers, *cors.fields(options.cors_origins, origin)))
        super().end_headers()


# What decides about the answer to GET, or wants to be asked for each part of it.
_OURS: Final = {
    name: getattr(SimpleHTTPRequestHandler, name)
    for name in (
        *("send_head", "translate_path", "guess_type", "copyfile"),
        *("send_response", "send_header", "date_time_string", "__getattribute__"),
    )
}


# Reading


def _look_up(handler: SimpleHTTPRequestHandler, path: str, fields: Mapping[str, str]) -> Resource:
    """Open what a path leads to: a file in the coding that is to be sent, or a folder that has no index page.

    Raises:
        OSError, ValueError: there is nothing for this client.
    """
    options = handler.file_options
    with Tree(handler.directory, confined=not options.follow_symlinks) as tree:
        if is_hidden(tree.name_of(path) or os.path.basename(path), hide_dot_files=options.hide_dot_files):
            raise FileNotFoundError(path)
        found = find(tree, path)
        try:
            if found.is_folder and names.names_folder(handler.path):
                found = _index_of(tree, found, handler.index_pages)
            if not found.is_folder:
                found = found._replace(content_type=handler.guess_type(found.path))
                if options.compress:
                    found = negotiate(tree, found, fields, gzip_limit=options.gzip_limit)
        except BaseException:
            found.close()
            raise
    return found


def _index_of(tree: Tree, folder: Resource, index_pages: Iterable[str]) -> Resource:
    """The index page of a folder, which is then closed; the folder where there is none."""
    index = find_index(tree, folder.path, index_pages)
    if index is None:
        return folder
    folder.close()
    return index


def _send_file(handler: SimpleHTTPRequestHandler, found: Resource, fields: Mapping[str, str]) -> Any:
    """Send the head of a file, which is closed with what is returned: its body, or None where there is none."""
    with ExitStack() as stack:
        stack.callback(found.close)
        method = handler.command or ""
        what = _representation(handler, found)
        if reply := conditional(method, fields, what):
            _send(handler, reply)
            return None
        if found.is_raw and found.coding:
            body = packed(_body(found), found.coding)
            _send(handler, content(method, fields, what._replace(size=len(body), has_ranges=False)))
            return io.BytesIO(body)
        reply = content(method, fields, what)
        _send(handler, reply)
        if handler._is_plain and reply.status is HTTPStatus.OK and found.coding is None:
            known.remember(handler, found, _all_fields(handler, reply), has_codings=what.varies)
        if not reply.pieces:
            return None
        stack.pop_all()
        return FileBody(found.descriptor, reply.pieces, name=found.path)


def _representation(handler: SimpleHTTPRequestHandler, found: Resource) -> Representation:
    state = validators(found.status, found.coding)
    return Representation(
        content_type=found.content_type,
        size=found.status.st_size,
        validators=state,
        last_modified=handler.date_time_string(state.modified),
        coding=found.coding,
        varies=handler.file_options.compress and is_compressible(found.content_type),
    )


def _body(found: Resource) -> bytes:
    """All that is in a file that is small enough to be packed."""
    with open(found.descriptor, "rb", closefd=False) as file:
        return file.read(found.status.st_size)


def _send(handler: SimpleHTTPRequestHandler, reply: Answer) -> None:
    """Send an answer's status and head."""
    handler.send_response(reply.status)
    _send_fields(handler, _all_fields(handler, reply))
    handler.end_headers()


def _all_fields(handler: SimpleHTTPRequestHandler, reply: Answer) -> Fields:
    """The fields of an answer, with those that the handler adds."""
    found = list(reply.fields)
    if reply.status in _CONTENT:
        found += handler.extra_response_headers or ()
    if reply.status in _CACHED and (value := _cache_control(handler)):
        found.append(("Cache-Control", value))
    return found


def _send_fields(handler: SimpleHTTPRequestHandler, fields: Iterable[tuple[str, str]]) -> None:
    for name, value in fields:
        handler.send_header(name, value)


def _cache_control(handler: SimpleHTTPRequestHandler) -> str | None:
    patterns = handler.file_options.cache_control
    location = names.unquoted(names.split(handler.path)[0]) if patterns else ""
    return next((value for pattern, value in patterns.items() if fnmatchcase(location, pattern)), None)


# Storing


def _upload(handler: SimpleHTTPRequestHandler, store: Callable[[SimpleHTTPRequestHandler], Answer]) -> None:
    if not handler.file_options.uploads:
        handler.send_error(HTTPStatus.NOT_IMPLEMENTED, f"Unsupported method ({handler.command!r})")
        return
    try:
        uploads.check(handler)
        reply = store(handler)
    except UploadRefused as refusal:
        handler.send_error(refusal.status, refusal.message)
    else:
        _send(handler, reply)


def _store_file(handler: SimpleHTTPRequestHandler) -> Answer:
    stored = uploads.receive_file(handler)
    etag = ("ETag", str(validators(stored.status).etag))
    if stored.replaced:
        return Answer(HTTPStatus.NO_CONTENT, [etag])
    location = ("Location", names.split(handler.path)[0])
    return Answer(HTTPStatus.CREATED, [location, etag, ("Content-Length", "0")])


def _store_form_or_file(handler: SimpleHTTPRequestHandler) -> Answer:
    boundary = uploads.boundary_of(handler)
    if boundary is None:
        return _store_file(handler)
    uploads.receive_form(handler, boundary)
    # The browser shows the folder again, and does not send the form again when the page is loaded again.
    return Answer(HTTPStatus.SEE_OTHER, [("Location", handler.path), ("Content-Length", "0")])
