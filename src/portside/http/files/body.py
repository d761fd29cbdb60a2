"""What follows a head: spans of a file, with bytes between them, as one file object."""

import io
import os
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from portside.http.files.ranges import Span

PIECE: Final = 256 * 1024  # bytes of a file in memory at a time; what sendfile sends is never there


class Placed(NamedTuple):
    """A piece of a body, and where in the body it begins."""

    start: int
    piece: bytes | Span

    @property
    def stop(self) -> int:
        """Where in the body it ends."""
        return self.start + length_of(self.piece)


def length_of(piece: bytes | Span) -> int:
    """Bytes of a piece on the wire."""
    return piece.length if isinstance(piece, Span) else len(piece)


class FileBody(io.BufferedIOBase):
    """A file object of known length: what `send_head` returns, and `copyfile` copies.

    It reads like a file opened with `open(path, "rb")`, of which it is a part or the whole; what is added to the file
    meanwhile is not in it, as its length is promised in the head. Closing it closes the file.

    Args:
        file: a descriptor, which this object takes over.
        pieces: what to send, in turn: bytes as they are, and spans of the file.
        name: the file's path.
    """

    mode: Final = "rb"

    def __init__(self, file: int, pieces: Iterable[bytes | Span], *, name: str = "") -> None:
        self._file = file
        self.name = name
        self._pieces: list[Placed] = []
        self.length = 0  # bytes of all pieces
        for piece in pieces:
            self._pieces.append(Placed(self.length, piece))
            self.length += length_of(piece)
        self._position = 0

    def remaining(self) -> Iterator[bytes | Span]:
        """The pieces from the current position on; the position is theirs to move with `skip`."""
        for placed in self._pieces:
            if placed.stop > self._position:
                piece, offset = placed.piece, max(0, self._position - placed.start)
                yield Span(piece.start + offset, piece.stop) if isinstance(piece, Span) else piece[offset:]

    def skip(self, count: int) -> None:
        """Go on by so many bytes, which were sent by another way."""
        self._position += count

    def read(self, size: int | None = -1, /) -> bytes:
        """Read at most `size` bytes, or all; fewer where the file has become shorter."""
        wanted = self.length - self._position if size is None or size < 0 else size
        read = b"".join(self._take(wanted))
        self._position += len(read)
        return read

    def read1(self, size: int = -1, /) -> bytes:
        """Read at most `size` bytes, or a piece of convenient length."""
        return self.read(size if size >= 0 else PIECE)

    def readinto(self, buffer: Any, /) -> int:
        """Read into a buffer; returns the number of bytes."""
        with memoryview(buffer).cast("B") as view:
            read = self.read(len(view))
            view[: len(read)] = read
        return len(read)

    def _take(self, wanted: int) -> Iterator[bytes]:
        for piece in self.remaining():
            if wanted <= 0:
                return
            taken = self._bytes_of(piece, wanted)
            yield taken
            if len(taken) < min(wanted, length_of(piece)):
                return  # the file has become shorter
            wanted -= len(taken)

    def _bytes_of(self, piece: bytes | Span, wanted: int) -> bytes:
        if not isinstance(piece, Span):
            return piece[:wanted]
        found, place, stop = bytearray(), piece.start, min(piece.stop, piece.start + wanted)
        while place < stop and (part := os.pread(self._file, stop - place, place)):
            if place == piece.start and len(part) == stop - place:
                return part
            found += part
            place += len(part)
        return bytes(found)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a place in the body; returns it.

        Raises:
            ValueError: the place lies before the beginning, or `whence` is none of the three.
        """
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.length}
        if whence not in origins or (place := origins[whence] + offset) < 0:
            raise ValueError(f"cannot seek to {offset} from {whence}")
        self._position = place
        return place

    def tell(self) -> int:
        """The place in the body that is read next."""
        return self._position

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def fileno(self) -> int:
        """The file's descriptor; its position is not this object's.

        Raises:
            ValueError: it is closed.
        """
        if self.closed:
            raise ValueError("the file is closed")
        return self._file

    def close(self) -> None:
        """Close the file; may be called again."""
        if not self.closed:
            super().close()
            os.close(self._file)
