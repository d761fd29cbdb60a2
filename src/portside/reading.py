"""Buffered readers: one that a timeout does not rob, and one that bounds its lines.

The standard library's `BufferedReader` loses what it has read of a line when the rest does not come in time, and a
socket's `makefile` refuses to be read again after a timeout. Here every byte stays in the buffer until it is given out.
"""

import io
import socket
from collections.abc import Callable
from typing import Any

from portside.frames import READ_SIZE
from portside.framing import FrameTooLong


class PatientReader(io.BufferedIOBase):
    """Reads from `receive`, and can be read again after that raised.

    Args:
        receive: called with a number of bytes; returns some of them, or b"" at the end of the stream.

    Raises:
        OSError: out of every method that reads: whatever `receive` raises. What came before it is not lost.
    """

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive
        self._buffer = bytearray()

    def readable(self) -> bool:
        """True."""
        return True

    def peek(self, size: int = 0) -> bytes:
        """What is buffered, after one receive where that is nothing; `size` is ignored, as in the standard library."""
        if not self._buffer:
            self._fill()
        return bytes(self._buffer)

    def read(self, size: int | None = -1) -> bytes:
        """`size` bytes, or fewer at the end of the stream; everything up to the end for -1 or None."""
        wanted = -1 if size is None else size
        while (wanted < 0 or len(self._buffer) < wanted) and self._fill():
            pass
        return self._take(len(self._buffer) if wanted < 0 else wanted)

    def read1(self, size: int = -1) -> bytes:
        """At most `size` bytes (-1: any number), with at most one receive."""
        if not self._buffer and size != 0:
            self._fill()
        return self._take(len(self._buffer) if size < 0 else size)

    def readline(self, size: int | None = -1) -> bytes:
        """A line with its end, or what there is of it at the end of the stream; at most `size` bytes of it."""
        limit = -1 if size is None else size
        scanned = 0
        while (end := self._buffer.find(b"\n", scanned) + 1) == 0:
            scanned = len(self._buffer)
            if 0 <= limit <= scanned or not self._fill():
                end = len(self._buffer)
                break
        return self._take(end if limit < 0 else min(end, limit))

    def _fill(self) -> bool:
        data = self._receive(READ_SIZE)
        self._buffer += data
        return bool(data)

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data


class PromptFile(io.RawIOBase):
    """A socket's bytes, unbuffered, where the kernel bounds each wait (SO_RCVTIMEO, socket(7)): that is a timeout.

    Args:
        file: the socket's file without a buffer; closed with this one.
        sock: the socket; it stays the caller's.
    """

    def __init__(self, file: Any, sock: socket.socket) -> None:
        self._file = file
        self._sock = sock

    def readable(self) -> bool:
        """True."""
        return True

    def fileno(self) -> int:
        """The socket's descriptor."""
        return int(self._file.fileno())

    def readinto(self, buffer: Any, /) -> int | None:
        """Receive some bytes; 0 at the end of the stream.

        Raises:
            TimeoutError: the client sent nothing in time.
        """
        count: int | None = self._file.readinto(buffer)
        if count is None and self._sock.gettimeout() != 0:
            raise TimeoutError("the client sent nothing in time")
        return count

    def close(self) -> None:
        """Close the file; the socket stays open."""
        self._file.close()
        super().close()


class BoundedReader(io.BufferedReader):
    """A buffered reader that gives out no line of more than so many bytes, unless it is asked for a piece of one.

    Args:
        raw: what it reads; closed with it.
        buffer_size: bytes of its buffer.
        longest: bytes of the longest line, its end included.
    """

    def __init__(self, raw: Any, buffer_size: int, longest: int) -> None:
        super().__init__(raw, buffer_size)
        self._longest = longest

    def __iter__(self) -> Any:
        """The lines, up to the end of the stream; a generator, since that is as fast as the reader's own iterator."""
        readline, longest = super().readline, self._longest
        while line := readline(longest + 1):
            if len(line) > longest:
                raise FrameTooLong(longest)
            yield line

    def readline(self, size: int | None = -1, /) -> bytes:
        """A line with its end, or at most `size` bytes of it.

        Raises:
            FrameTooLong: the line has more bytes than are allowed; what was read of it is gone.
        """
        if size is not None and size >= 0:
            return super().readline(size)
        line = super().readline(self._longest + 1)
        if len(line) > self._longest:
            raise FrameTooLong(self._longest)
        return line


def bounded_reader(file: Any, sock: Any, buffer_size: int, longest: int | None, *, prompt: bool) -> Any:
    """A handler's file to read from, in the bounds of a server's limits.

    Args:
        file: what `makefile("rb")` gave; without a buffer, its lines are not bounded. The result takes its place.
        sock: the socket below it.
        buffer_size: bytes of its buffer; -1 is the system's default.
        longest: bytes of the longest line; None or 0 for any.
        prompt: whether the kernel bounds each wait.
    """
    buffered = isinstance(file, io.BufferedReader)
    if not prompt and not (longest and buffered):
        return file
    raw = file.detach() if buffered else file
    if prompt:
        raw = PromptFile(raw, sock)
    if not buffered:
        return raw
    size = io.DEFAULT_BUFFER_SIZE if buffer_size < 0 else buffer_size
    return BoundedReader(raw, size, longest) if longest else io.BufferedReader(raw, size)
