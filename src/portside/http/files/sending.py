"""Sends a body, by the system's own way from file to socket where there is one."""

import io
import os
from collections.abc import Callable
from typing import Any, Final

from portside.http.files.body import PIECE, FileBody
from portside.http.files.ranges import Span

# Bytes; what is shorter is read and leaves in one call with the head, which is faster than a call of its own.
SENDFILE_FROM: Final = 64 * 1024


def send(body: FileBody, output: Any) -> None:
    """Send what is left of a body; afterwards it stands at what could not be sent, as the file has become shorter.

    Args:
        body: the file object.
        output: a handler's `wfile`, or any other file object to write to. Where it has a method
            `sendfile(file, offset, count)`, which returns the number of bytes it has sent, long spans go by that.

    Raises:
        OSError: as `output.write`.
    """
    sendfile = getattr(output, "sendfile", None)
    for piece in list(body.remaining()):
        if isinstance(piece, Span):
            if not _send_span(body, piece, output, sendfile):
                return
        else:
            output.write(piece)
            body.skip(len(piece))


def _send_span(body: FileBody, span: Span, output: Any, sendfile: Callable[[Any, int, int], int] | None) -> bool:
    """Send what is left of a span; False where it is not there any more."""
    if sendfile and span.length >= SENDFILE_FROM:
        with io.FileIO(body.fileno(), closefd=False) as file:
            sent = sendfile(file, span.start, span.length)
        body.skip(sent)
        return sent == span.length
    return _copy(body, span, output)


def _copy(body: FileBody, span: Span, output: Any) -> bool:
    """The same by way of memory."""
    place = span.start
    while place < span.stop and (part := os.pread(body.fileno(), min(PIECE, span.stop - place), place)):
        output.write(part)
        body.skip(len(part))
        place += len(part)
    return place == span.stop
