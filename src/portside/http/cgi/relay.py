"""From a script to its client: the answer as it comes, and never a 200 before the script has said so."""

import os
from http import HTTPStatus
from typing import Any

from portside.http.cgi.output import BadOutput, ScriptHead, head_end, parse_head
from portside.http.cgi.process import Script, ScriptTimeout
from portside.http.cgi.request import Body, BodyTooLarge, ScriptRequest
from portside.http.writer import ResponseWriter
from portside.telemetry import ScriptFailed, emit

# What the client is told of a script that breaks the rules before it has said anything (RFC 9110, 15.6).
_STATUSES: dict[type[Exception], HTTPStatus] = {
    BadOutput: HTTPStatus.BAD_GATEWAY,
    ScriptTimeout: HTTPStatus.GATEWAY_TIMEOUT,
}


class Relay:
    """One run of a script for one request.

    Args:
        request: the request, as the script gets it.
    """

    def __init__(self, request: ScriptRequest) -> None:
        self._request = request
        self._handler = request.handler
        self._options = request.options
        self._spoken = False  # whether the client was sent anything of the script's

    def run(self) -> str | None:
        """Run it, and answer the request.

        Returns:
            The path of a local redirect, which is to be answered instead; else None.

        Raises:
            OSError: the client is gone.
        """
        try:
            body = self._request.body()
        except BodyTooLarge:
            self._handler.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return None
        try:
            return self._run(body)
        finally:
            if body is not None and not callable(body):
                body.close()

    def _run(self, body: Body | None) -> str | None:
        try:
            script = self._started(body)
        except (OSError, ValueError) as error:  # no interpreter, no rights, a NUL byte where the system takes none
            self._tell(None, f"cannot be started: {error}", b"")
            self._handler.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
            return None
        with script:
            try:
                local = self._pass_on(script)
                self._ended(script)
            except (BadOutput, ScriptTimeout) as error:
                self._broken(script, error)
                return None
        return local

    def _started(self, body: Body | None) -> Script:
        return Script(
            self._request.command(),
            environment=self._request.environment(),
            directory=os.path.dirname(self._request.file) if self._options.own_directory else None,
            options=self._options,
            body=body,
            watched=_descriptor(self._handler.connection),
        )

    # -- the answer --

    def _pass_on(self, script: Script) -> str | None:
        if os.path.basename(self._request.file).startswith("nph-"):
            self._pass_on_raw(script)
            return None
        head, begun = self._head(script)
        if head.local is not None:
            self._drop(script)
            return head.local
        self._send_head(head)
        self._copy(script, begun, self._handler.wfile, head.length)
        return None

    def _head(self, script: Script) -> tuple[ScriptHead, bytes]:
        """The answer's head, and what has come of its body."""
        output = b""
        while (end := head_end(output)) < 0:
            if len(output) > self._options.head:
                raise BadOutput(f"the head of its answer is longer than {self._options.head} B")
            data = script.read()
            if not data:
                raise BadOutput("its answer ends before the empty line that ends its head")
            output += data
        return parse_head(output[:end]), output[end:]

    def _send_head(self, head: ScriptHead) -> None:
        self._spoken = True
        self._handler.send_response(head.status, head.reason)
        for name, value in head.fields:
            self._handler.send_header(name, value)
        self._handler.end_headers()

    def _pass_on_raw(self, script: Script) -> None:
        """A non-parsed-header script speaks HTTP by itself, and its connection ends with its answer (section 5)."""
        begun = script.read()
        if not begun:
            raise BadOutput("it answered nothing")
        self._spoken = True
        self._handler.close_connection = True
        self._copy(script, begun, _Raw(self._handler.connection), None)

    def _copy(self, script: Script, data: bytes, out: Any, length: int | None) -> None:
        """Send the body as it comes: what is there leaves before more is waited for."""
        limit = self._options.output if length is None else length
        copied = 0
        while True:
            if data:
                out.write(data[: limit - copied])
            copied += len(data)
            if copied > limit:
                raise BadOutput(f"its answer is longer than {limit} B, its Content-Length or what scripts are allowed")
            if not script.is_ready():
                out.flush()
            if not (data := script.read()):
                break
        if length is not None and copied < length and self._handler.command != "HEAD":
            raise BadOutput(f"its answer has {copied} B, and its Content-Length is {length}")

    def _drop(self, script: Script) -> None:
        dropped = 0
        while data := script.read():
            dropped += len(data)
            if dropped > self._options.output:
                raise BadOutput(f"its answer is longer than {self._options.output} B, what scripts are allowed")

    # -- the end --

    def _ended(self, script: Script) -> None:
        code = script.finish()
        if code:
            self._tell(code, "", script.errors)
        elif script.errors:
            self._handler.log_error("CGI script wrote to its standard error: %s", _text(script.errors))

    def _broken(self, script: Script, error: Exception) -> None:
        """It broke the rules: an error if that can still be said, else the end of the connection."""
        script.close()
        self._tell(script.exit_code, str(error), script.errors)
        if self._spoken:
            self._handler.close_connection = True
            if isinstance(writer := self._handler.wfile, ResponseWriter):
                writer.break_off()
        else:
            self._handler.send_error(_STATUSES[type(error)])

    def _tell(self, exit_code: int | None, reason: str, errors: bytes) -> None:
        text = _text(errors)
        told = "".join(f": {each}" for each in (reason, text) if each)
        self._handler.log_error("CGI script %s: exit code %s%s", self._request.path.name, exit_code, told)
        if ScriptFailed.subscribers:
            emit(
                ScriptFailed(
                    server=self._handler.server,
                    client_address=self._handler.client_address,
                    script=self._request.path.name,
                    exit_code=exit_code,
                    reason=reason,
                    errors=text,
                )
            )


class _Raw:
    """The connection itself, as something to write to."""

    def __init__(self, connection: Any) -> None:
        self.write = connection.sendall

    def flush(self) -> None:
        """Nothing waits here."""


def _text(errors: bytes) -> str:
    return errors.decode("utf-8", "replace").rstrip()


def _descriptor(connection: Any) -> int:
    try:
        return int(connection.fileno())
    except (AttributeError, OSError, TypeError, ValueError):  # no socket, in somebody's test
        return -1
