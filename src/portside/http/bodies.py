"""Request bodies as file objects: each ends where its request ends, whatever follows on the connection.

What a body reads from is called with a number of bytes and returns some of them (`read1` of a connection's reader).
"""

from collections.abc import Callable
from enum import Enum, auto

from portside.frames import READ_SIZE
from portside.http.errors import HTTPError, IncompleteRequest
from portside.http.head import HeaderFields
from portside.reading import PatientReader

# Bytes of a chunk-size line, extensions included: 16 digits say more than any body has; nobody uses extensions, and
# nobody may hide megabytes in them (CVE-2023-39326).
CHUNK_LINE = 256

# Bytes of all trailer fields, which are read and dropped (RFC 9110, 6.5.1: nobody may be made to use them).
TRAILERS = 8 * 1024


class RequestBody(PatientReader):
    """The body of one request.

    Args:
        receive: returns some bytes of the body; b"" at its end.
    """

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        super().__init__(receive)
        self.ended = False
        self.before_reading: Callable[[], object] | None = None

    def _fill(self) -> bool:
        if self.ended:
            return False
        if (call := self.before_reading) is not None:
            self.before_reading = None
            call()
        self.ended = not super()._fill()
        return not self.ended

    def drop(self, most: int) -> bool:
        """Read what is left and throw it away, at most `most` bytes.

        Returns:
            False when there is more.

        Raises:
            HTTPError, OSError: as reading does.
        """
        self._buffer.clear()
        while not self.ended and most > 0:
            self._fill()
            most -= len(self._buffer)
            self._buffer.clear()
        return self.ended


class NoBody(RequestBody):
    """The body of a request that has none."""

    def __init__(self) -> None:
        super().__init__(lambda _: b"")
        self.ended = True


NO_BODY = NoBody()  # shared by all: it has no state, unless a program closes it


class LengthBody(RequestBody):
    """A body of `length` bytes (RFC 9112, 6.2).

    Raises:
        IncompleteRequest: out of every method that reads, when the client ended before.
    """

    def __init__(self, source: Callable[[int], bytes], length: int) -> None:
        super().__init__(self._next)
        self._source = source
        self._left = length
        self.ended = length == 0

    def _next(self, size: int) -> bytes:
        data = self._source(min(size, self._left)) if self._left else b""
        if not data and self._left:
            raise IncompleteRequest(f"the body ended {self._left} bytes before its Content-Length")
        self._left -= len(data)
        return data

    def _fill(self) -> bool:
        filled = super()._fill()
        self.ended = self.ended or not self._left
        return filled


class _State(Enum):
    """What comes next in a chunked body."""

    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILERS = auto()
    END = auto()


class ChunkDecoder:
    """The chunked transfer coding (RFC 9112, 7.1), strict, without input or output: bytes in, bytes out.

    Attributes:
        ended: whether the last chunk and its trailers are complete.
        rest: what was fed after that, the next request's.
    """

    def __init__(self) -> None:
        self._state = _State.SIZE
        self._left = 0
        self._trailers = 0
        self.rest = bytearray()

    @property
    def ended(self) -> bool:
        """Whether the body is complete."""
        return self._state is _State.END

    def feed(self, data: bytes) -> bytes:
        """Decode some bytes.

        Returns:
            What they hold of the body.

        Raises:
            HTTPError: 400, they are no chunks.
        """
        self.rest += data
        pieces = []
        while self._state is not _State.END:
            if self._state is _State.DATA:
                if not self.rest:
                    break
                pieces.append(self._data())
            elif not self._line():
                break
        return b"".join(pieces)

    def _data(self) -> bytes:
        piece = bytes(self.rest[: self._left])
        del self.rest[: self._left]
        self._left -= len(piece)
        if not self._left:
            self._state = _State.DATA_END
        return piece

    def _line(self) -> bool:
        """Take a line; False when it is not whole."""
        end = self.rest.find(b"\n")
        if end < 0 or end > self._longest_line:
            self._check_unfinished()
            return False
        line = bytes(self.rest[: end + 1])
        del self.rest[: end + 1]
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise _bad("a line does not end in CRLF")
        self._state = self._after(line[:-2])
        return True

    @property
    def _longest_line(self) -> int:
        return TRAILERS if self._state is _State.TRAILERS else CHUNK_LINE

    def _check_unfinished(self) -> None:
        if len(self.rest) > self._longest_line:
            raise _bad("a line is too long")
        if self._state is _State.DATA_END and not b"\r".startswith(self.rest):
            raise _bad("a chunk is longer than its size")

    def _after(self, line: bytes) -> _State:
        if self._state is _State.SIZE:
            self._left = chunk_size(line)
            return _State.DATA if self._left else _State.TRAILERS
        if self._state is _State.DATA_END:
            if line:
                raise _bad("a chunk is longer than its size")
            return _State.SIZE
        self._trailers += len(line)
        if self._trailers > TRAILERS:
            raise HTTPError(431, "Trailers too long")
        return _State.TRAILERS if line else _State.END


_HEX = frozenset(b"0123456789abcdefABCDEF")
_DIGITS = 16  # 64 bits


def chunk_size(line: bytes) -> int:
    """The number in a chunk-size line without its CRLF; extensions are ignored (RFC 9112, 7.1.1).

    Raises:
        HTTPError: 400, it is no number of 1 to 16 hexadecimal digits.
    """
    digits, semicolon, extension = line.partition(b";")
    if semicolon:
        digits = digits.rstrip(b" \t")  # RFC 9112, 7.1.1 has bad whitespace there
    if not digits or len(digits) > _DIGITS or not _HEX.issuperset(digits):
        raise _bad("a chunk's size is no hexadecimal number")
    if b"\0" in extension:
        raise _bad("a chunk's extension holds NUL")
    return int(digits, 16)


def _bad(what: str) -> HTTPError:
    return HTTPError(400, "Bad chunked body", what)


class ChunkedBody(RequestBody):
    """A body in chunks.

    Args:
        source: where the chunks come from.
        give_back: called with what was read beyond the body.

    Raises:
        HTTPError: 400, out of every method that reads, when the chunks are broken.
        IncompleteRequest: likewise, when the client ended before the last chunk.
    """

    def __init__(self, source: Callable[[int], bytes], give_back: Callable[[bytes], object]) -> None:
        super().__init__(self._next)
        self._source = source
        self._give_back = give_back
        self._decoder = ChunkDecoder()

    def _next(self, _: int) -> bytes:
        piece = b""
        while not (piece or self._decoder.ended):
            piece = self._decode()
        return piece

    def _decode(self) -> bytes:
        data = self._source(READ_SIZE)
        if not data:
            raise IncompleteRequest("the body ended before its last chunk")
        piece = self._decoder.feed(data)
        if self._decoder.ended:
            self._give_back(bytes(self._decoder.rest))
            self._decoder.rest.clear()
        return piece


def open_body(
    fields: HeaderFields, source: Callable[[int], bytes], give_back: Callable[[bytes], object]
) -> RequestBody:
    """The body that header fields announce; see `LengthBody` and `ChunkedBody`."""
    if fields.chunked:
        return ChunkedBody(source, give_back)
    return LengthBody(source, fields.length) if fields.length else NO_BODY
