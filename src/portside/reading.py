"""A buffered reader that a timeout does not rob.

The standard library's `BufferedReader` loses what it has read of a line when the rest does not come in time, and a
socket's `makefile` refuses to be read again after a timeout. Here every byte stays in the buffer until it is given out.
"""

import io
from collections.abc import Callable

from portside.frames import READ_SIZE


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
