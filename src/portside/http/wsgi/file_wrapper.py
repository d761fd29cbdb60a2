"""`wsgi.file_wrapper`: a file as a body, which the system sends without a detour where it can (PEP 3333)."""

import io
import os
import stat
from typing import Any, Protocol, Self

# Bytes of a block where the file has to be read: as the standard library's.
BLOCK = 8192


class FileLike(Protocol):
    """What an application may wrap."""

    def read(self, size: int, /) -> bytes:
        """Return up to so many bytes; none at the end."""


class FileWrapper:
    """An iterable over a file's blocks; what an application returns when it wants the file sent.

    Args:
        filelike: an object with `read(size)`; it is closed after the response if it has a `close()`.
        block_size: a hint: bytes of one `read`.
    """

    def __init__(self, filelike: FileLike, block_size: int = BLOCK) -> None:
        self.filelike = filelike
        self.blksize = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    # Its own iterator, as the standard library's is: what wraps it (Werkzeug, for ranges) closes the iterator it gets.
    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        if data := self.filelike.read(self.blksize):
            return data
        raise StopIteration


def span(filelike: Any) -> tuple[int, int] | None:
    """Where in a regular file its position is, and how many bytes follow; None for what has to be read to be sent.

    Only an ordinary file of Python's is what its descriptor says: a `GzipFile` has a descriptor too.
    """
    if type(getattr(filelike, "raw", filelike)) is not io.FileIO:
        return None
    try:
        found = os.fstat(filelike.fileno())
        position = filelike.tell()
    except (OSError, ValueError):  # it cannot seek, or is closed
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return position, max(0, found.st_size - position)
