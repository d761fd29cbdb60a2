"""A request as a script gets it: command line, environment and standard input."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from typing import IO, Any

from portside.http.cgi import metavariables
from portside.http.cgi.options import CGIOptions
from portside.http.cgi.paths import ScriptPath, search_words
from portside.http.cgi.process import PIECE, command

Body = IO[bytes] | Callable[[], bytes]


class BodyTooLarge(Exception):
    """The request's body is longer than scripts are given."""


class ScriptRequest:
    """What a script is told.

    Args:
        handler: the request's handler, which knows the request and sends the answer.
        path: the script in the URL.
        file: the script's file.
    """

    def __init__(self, handler: Any, path: ScriptPath, file: str) -> None:
        self.handler = handler
        self.options: CGIOptions = handler.cgi_options
        self.path = path
        self.file = file
        self._left = 0  # bytes of the body that were not read yet
        self._first = b""  # the first of them
        self._length: int | None = None  # bytes of the body, where there is one

    def command(self) -> list[str]:
        """The command line."""
        handler = self.handler
        words = search_words(self.path.query) if handler.command in ("GET", "HEAD") else []
        return command(self.file, words, through_python=not handler.have_fork and handler.is_python(self.file))

    def body(self) -> Body | None:
        """Standard input: the request's body as it comes where its length is known, else by a file; None without one.

        A file is the caller's to close.

        Raises:
            BodyTooLarge: it is longer than `CGIOptions.input`.
            OSError: what reading it raises.
        """
        headers = self.handler.headers
        if headers.get("Transfer-Encoding") is not None:
            return self._spooled()
        self._length = _number(headers.get("Content-Length"))
        if not self._length:
            return None
        if self._length > self.options.input:
            raise BodyTooLarge
        self._left = self._length
        # A client that waits for 100 (Continue) is told so by the first read: after the script's head it is too late.
        self._first = self._read_piece()
        return self._next_piece

    def _next_piece(self) -> bytes:
        first, self._first = self._first, b""
        return first or self._read_piece()

    def _read_piece(self) -> bytes:
        data: bytes = self.handler.rfile.read1(min(PIECE, self._left)) if self._left else b""
        self._left -= len(data)
        return data

    def _spooled(self) -> IO[bytes]:
        """A body in chunks, which scripts know nothing of: its length has to be known before they start (4.1.2)."""
        self._length = 0
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(tempfile.TemporaryFile())
            while data := self.handler.rfile.read1(PIECE):
                self._length += file.write(data)
                if self._length > self.options.input:
                    raise BodyTooLarge
            file.seek(0)
            stack.pop_all()
        return file

    def environment(self) -> dict[str, str]:
        """The whole environment; to be asked for after `body()`, which knows the length of one in chunks."""
        return metavariables.environment(
            inherited=metavariables.inherited(os.environ, self.options.environment),
            request=self._variables(),
            fields=self.handler.headers.items(),
        )

    def _variables(self) -> dict[str, str | None]:
        handler, path = self.handler, self.path
        as_bytes_say = metavariables.as_bytes_say
        content_type, user = handler.headers.get("Content-Type"), handler.remote_user
        name, at = metavariables.server_name_and_port(handler.server)
        host, port = _host_and_port(handler.client_address)
        return {
            "AUTH_TYPE": None if user is None else handler.headers.get("Authorization", "").partition(" ")[0],
            "CONTENT_LENGTH": None if self._length is None else str(self._length),
            "CONTENT_TYPE": None if content_type is None else as_bytes_say(content_type),
            "HTTPS": "on" if hasattr(handler.connection, "cipher") else None,
            "PATH_INFO": path.info,
            "PATH_TRANSLATED": handler.script_file(path.info) if path.info else None,
            "QUERY_STRING": as_bytes_say(path.query),
            "REMOTE_ADDR": host,
            "REMOTE_PORT": port,
            "REMOTE_USER": user,
            "REQUEST_METHOD": handler.command,
            "REQUEST_URI": as_bytes_say(handler.path),
            "SCRIPT_FILENAME": self.file,
            "SCRIPT_NAME": path.name,
            "SERVER_NAME": name,
            "SERVER_PORT": at,
            "SERVER_PROTOCOL": handler.request_version,
            "SERVER_SOFTWARE": handler.version_string(),
        }


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() else None


def _host_and_port(client_address: Any) -> tuple[str, str | None]:
    """Of an Internet client both; of a Unix socket's nothing."""
    if isinstance(client_address, tuple) and len(client_address) >= 2:
        return str(client_address[0]), str(client_address[1])
    return "", None
