"""Codecs without sockets: what arrives goes in as bytes, whole frames come out.

1. A `Codec` is configuration, frozen and shared; its `Decoder` is the state of one connection in one direction.
2. However the bytes were split on their way, the same frames come out, and the same error after them.
3. Any bytes give frames, or `FrameTooLong`, or `FrameCorrupt`; nothing else is ever raised about them.
4. A frame is refused on the first byte that shows it to be too long: its header, or the byte after `max_size`.
5. No byte is searched or copied more than a fixed number of times, so decoding is linear in what was fed.
6. Held between two calls: at most one unfinished frame (`max_size` and its header) and what one `feed` brought.
"""

import copy
import functools
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

BytesLike: TypeAlias = bytes | bytearray | memoryview
# From a chunk and where in it a frame starts: where its payload begins and its length in bytes; None: not all here.
_ReadHeader: TypeAlias = Callable[[bytes, int], tuple[int, int] | None]

# Bytes in a frame. What ends at a delimiter is typed by people (asyncio's `readline` and http.server take 64 KiB), what
# announces its length is made by programs (websockets and NATS take 1 MiB, gRPC 4 MiB).
TEXT_MAX = 64 * 1024
BINARY_MAX = 1024 * 1024

# Bytes split ahead of the caller: a page, so that tiny frames, objects of some 40 bytes each, stay below 100 KiB.
_WINDOW = 4 * 1024
_WIDTHS = {1: "B", 2: "H", 4: "I", 8: "Q"}  # bytes in a length, and what `struct` calls them
_BYTE_ORDERS = {"big": ">", "little": "<"}
_VARINT_BYTES = 10  # in the longest varint: 64 bits in groups of seven (protobuf.dev, "Encoding", "Base 128 Varints")


class FrameError(ValueError):
    """A frame that cannot be decoded or encoded; always one of the two kinds below."""


class FrameTooLong(FrameError):
    """A frame is longer than its codec allows, which is `.limit` bytes of payload."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"the frame is longer than the {self.limit} bytes that are allowed"


class FrameCorrupt(FrameError):
    """The bytes are no frame of this codec: a broken header, a missing end, a payload that cannot be framed."""


class Decoder(ABC):
    """The receiving half of one connection: feed it what arrives, take whole frames out.

    Take every frame before feeding again: only then is what it holds bounded. Not locked, it belongs to one handler.
    """

    # The chunk is immutable, so frames are plain slices of it, and a feed of bytes becomes the chunk without a copy.
    # What arrives while the chunk is not used up gathers in the tail, which grows in place.
    __slots__ = ("_chunk", "_ended", "_failure", "_start", "_tail")

    def __init__(self) -> None:
        self._chunk, self._start, self._tail = b"", 0, bytearray()
        self._ended = False
        # How to make the error, not the error: its traceback would hold this decoder and every caller's locals.
        self._failure: functools.partial[FrameError] | None = None

    def feed(self, data: BytesLike) -> None:
        """Hand over what arrived, in pieces of any size.

        Args:
            data: the bytes; of mutable ones a copy is taken. After an error they are thrown away, to hold no memory.
        """
        if self._failure is not None:
            return
        if self._tail or self._start < len(self._chunk):
            self._tail += data
        else:
            self._chunk, self._start = bytes(data), 0

    def next_frame(self) -> bytes | None:
        """Take the next whole frame. Those before a bad one come first; its error is final, every later call raises it.

        Returns:
            The payload without its header or delimiter, or None when more bytes are needed.

        Raises:
            FrameTooLong: the next frame is longer than `max_size`.
            FrameCorrupt: what follows is no frame, or the peer ended inside it.
        """
        if self._failure is not None:
            raise self._failure()
        try:
            frame = self._cut()
            if frame is None and self._ended and self.pending:
                raise FrameCorrupt(f"the peer ended inside a frame, {self.pending} bytes into it")
        except FrameError as error:
            self._failure = functools.partial(type(error), *error.args)
            self._chunk, self._start, self._tail = b"", 0, bytearray()
            raise
        return frame

    def finish(self) -> None:
        """Say that the peer ended; nothing may be fed afterwards. Whole frames not yet taken can still be taken.

        Raises:
            FrameCorrupt: the peer ended inside a frame.
            FrameTooLong: the bytes not yet taken hold a frame longer than `max_size`.
        """
        self._ended = True
        ahead = copy.deepcopy(self) if self.pending else self
        for _ in ahead:
            pass

    @property
    def pending(self) -> int:
        """Bytes fed and not yet given out in frames, headers and delimiters included; 0 after an error."""
        return len(self._chunk) - self._start + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the whole frames that are there; raises as `next_frame` does."""
        while (frame := self.next_frame()) is not None:
            yield frame

    @abstractmethod
    def _cut(self) -> bytes | None:
        """Take the next frame out of the chunk and move `_start` behind it; None when it is not whole."""


class Codec(ABC):
    """How frames are told apart in a stream of bytes. Making one with an option it cannot use raises ValueError."""

    @property
    @abstractmethod
    def max_size(self) -> int:
        """The longest frame that is taken or sent, in bytes of payload."""

    @abstractmethod
    def decoder(self) -> Decoder:
        """Return a new decoder, for one connection and one direction."""

    def encode(self, frame: BytesLike) -> bytes:
        """Return a frame as it goes over the wire.

        Args:
            frame: the payload.

        Raises:
            FrameTooLong: the frame is longer than `max_size`.
            FrameCorrupt: the peer would not see this frame end where it does, so it must not be sent.
        """
        payload = bytes(frame)
        if len(payload) > self.max_size:
            raise FrameTooLong(self.max_size)
        return self._wrap(payload)

    @abstractmethod
    def _wrap(self, payload: bytes) -> bytes:
        """Put the header before the payload, or the delimiter behind it."""

    def __post_init__(self) -> None:
        _check_size("max_size", self.max_size)


@dataclass(frozen=True, kw_only=True)
class Lines(Codec):
    r"""Lines, as most protocols that people can type have them. LF and CRLF are understood alike.

    Args:
        ending: what `encode` puts behind a line: b"\n" (the default, as files have it) or b"\r\n" (RFC 5321, RFC 9112).
        max_size: the longest line in bytes, its ending not counted.

    One CR before the LF belongs to the ending; any other CR is part of the line. `encode` therefore refuses, with
    `FrameCorrupt`, a line with an LF in it or a CR at its end.
    """

    ending: bytes = b"\n"
    max_size: int = TEXT_MAX

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.ending in (b"\n", b"\r\n"), "ending", self.ending, r"b'\n' or b'\r\n'")

    def decoder(self) -> Decoder:
        """Return a new decoder."""
        return _DelimitedDecoder(delimiter=b"\n", optional=b"\r", max_size=self.max_size)

    def _wrap(self, payload: bytes) -> bytes:
        if b"\n" in payload or payload.endswith(b"\r"):
            raise FrameCorrupt("a line holds no LF and does not end in CR")
        return payload + self.ending


@dataclass(frozen=True, kw_only=True)
class Delimited(Codec):
    r"""Frames with a delimiter behind each of them.

    Args:
        delimiter: one byte or more. NUL is the default, as for `find -print0`: text does not contain it.
        max_size: the longest frame in bytes, its delimiter not counted.

    The first delimiter ends the frame. `encode` refuses, with `FrameCorrupt`, a frame that would end early: one that
    contains the delimiter, or makes one together with it (b"xa" before b"aa").
    """

    delimiter: bytes = b"\0"
    max_size: int = TEXT_MAX

    def __post_init__(self) -> None:
        super().__post_init__()
        accepted = isinstance(self.delimiter, bytes) and self.delimiter != b""
        _check(accepted, "delimiter", self.delimiter, "bytes that are not empty")

    def decoder(self) -> Decoder:
        """Return a new decoder."""
        return _DelimitedDecoder(delimiter=self.delimiter, optional=b"", max_size=self.max_size)

    def _wrap(self, payload: bytes) -> bytes:
        wire = payload + self.delimiter
        if wire.find(self.delimiter) < len(payload):
            raise FrameCorrupt(f"the frame would end early, at a delimiter {self.delimiter!r} in it")
        return wire


@dataclass(frozen=True, kw_only=True)
class Fixed(Codec):
    """Frames that all have the same size. `encode` refuses a shorter one with `FrameCorrupt`.

    Args:
        size: of every frame, in bytes; at least 1.
    """

    size: int

    def __post_init__(self) -> None:
        _check_size("size", self.size)

    @property
    def max_size(self) -> int:
        """The size of every frame, in bytes."""
        return self.size

    def decoder(self) -> Decoder:
        """Return a new decoder."""
        return _CountedDecoder(lambda _, start: (start, self.size), max_size=self.size)

    def _wrap(self, payload: bytes) -> bytes:
        if len(payload) < self.size:
            raise FrameCorrupt(f"the frame has {len(payload)} bytes, and every frame must have {self.size}")
        return payload


@dataclass(frozen=True, kw_only=True)
class LengthPrefixed(Codec):
    """Frames behind their length, an unsigned integer that does not count itself.

    Args:
        width: of the length, in bytes: 1, 2, 4 (the default, as in Kafka and gRPC) or 8.
        byteorder: of the length: "big" (the default, the network byte order of RFC 1700) or "little".
        max_size: the longest frame in bytes, its length not counted; `encode` is also bound by what `width` can hold.
    """

    width: int = 4
    byteorder: Literal["big", "little"] = "big"
    max_size: int = BINARY_MAX

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.width in _WIDTHS, "width", self.width, "1, 2, 4 or 8")
        _check(self.byteorder in _BYTE_ORDERS, "byteorder", self.byteorder, "'big' or 'little'")

    def decoder(self) -> Decoder:
        """Return a new decoder."""
        head = struct.Struct(_BYTE_ORDERS[self.byteorder] + _WIDTHS[self.width])
        return _CountedDecoder(_length_reader(head), max_size=self.max_size)

    def _wrap(self, payload: bytes) -> bytes:
        if len(payload) > (most := 256**self.width - 1):
            raise FrameTooLong(most)
        return len(payload).to_bytes(self.width, self.byteorder) + payload


@dataclass(frozen=True, kw_only=True)
class Varint(Codec):
    """Frames behind their length as a varint: unsigned LEB128, as Protocol Buffers writes delimited messages.

    Args:
        max_size: the longest frame in bytes, its length not counted.

    A length of more than 10 bytes or 64 bits is `FrameCorrupt`; one that is longer than it need be is accepted.
    """

    max_size: int = BINARY_MAX

    def decoder(self) -> Decoder:
        """Return a new decoder."""
        return _CountedDecoder(_read_varint, max_size=self.max_size)

    def _wrap(self, payload: bytes) -> bytes:
        head, rest = bytearray(), len(payload)
        while rest >= 0x80:
            head.append(rest & 0x7F | 0x80)
            rest >>= 7
        return bytes((*head, rest)) + payload


@dataclass(frozen=True, kw_only=True)
class Netstring(Codec):
    """Netstrings: b"5:hello,", the length in decimal digits (D. J. Bernstein, cr.yp.to/proto/netstrings.txt).

    Args:
        max_size: the longest frame in bytes, its length and punctuation not counted.

    Strict, as the specification is: no leading zeros, no spaces. A length with more digits than `max_size` has is
    `FrameTooLong` before its colon arrives.
    """

    max_size: int = BINARY_MAX

    def decoder(self) -> Decoder:
        """Return a new decoder."""
        read_header = functools.partial(_read_netstring, self.max_size, len(str(self.max_size)))
        return _CountedDecoder(read_header, trailer=b",", max_size=self.max_size)

    def _wrap(self, payload: bytes) -> bytes:
        return b"%d:%b," % (len(payload), payload)


class _DelimitedDecoder(Decoder):
    """Frames that end at a delimiter, which `optional` bytes may precede as part of the ending."""

    # Pieces are frames split ahead of the caller, the next one last; `_start` moves only as they are given out.
    __slots__ = ("_delimiter", "_max_size", "_optional", "_pieces", "_scanned")

    def __init__(self, *, delimiter: bytes, optional: bytes, max_size: int) -> None:
        super().__init__()
        self._delimiter, self._optional, self._max_size = delimiter, optional, max_size
        self._pieces: list[bytes] = []
        self._scanned = 0

    def _cut(self) -> bytes | None:
        if not self._pieces:
            self._pieces = self._split_window() or self._split_rest()
        if not self._pieces:
            return None
        piece = self._pieces.pop()
        self._start += len(piece) + len(self._delimiter)
        frame = piece.removesuffix(self._optional)
        if len(frame) > self._max_size:
            raise FrameTooLong(self._max_size)
        return frame

    def _split_window(self) -> list[bytes]:
        *pieces, _unfinished = self._chunk[self._start : self._start + _WINDOW].split(self._delimiter)
        return pieces[::-1]

    def _split_rest(self) -> list[bytes]:
        """Find the one frame that is longer than the window, or that arrived in several feeds."""
        end = self._chunk.find(self._delimiter, self._start)
        if end >= 0:
            return [self._chunk[self._start : end]]
        self._tail[:0] = self._chunk[self._start :]
        self._chunk, self._start = b"", 0
        end = self._tail.find(self._delimiter, max(0, self._scanned - len(self._delimiter) + 1))
        if end < 0:
            self._scanned = len(self._tail)
            self._check_still_in_time()
            return []
        self._chunk, self._tail, self._scanned = bytes(self._tail), bytearray(), 0
        return [self._chunk[:end]]

    def _check_still_in_time(self) -> None:
        """Refuse an unfinished frame that is too long even if its last bytes turn out to be of the ending."""
        ending = self._optional + self._delimiter
        excess = max(0, len(self._tail) - self._max_size)
        if not any(self._tail.endswith(ending[:begun]) for begun in range(excess, len(ending))):
            raise FrameTooLong(self._max_size)


class _CountedDecoder(Decoder):
    """Frames whose length is known before their payload arrives, with `trailer` behind each."""

    __slots__ = ("_max_size", "_read_header", "_trailer")

    def __init__(self, read_header: _ReadHeader, *, trailer: bytes = b"", max_size: int) -> None:
        super().__init__()
        self._read_header, self._trailer, self._max_size = read_header, trailer, max_size

    def _cut(self) -> bytes | None:
        chunk = self._chunk
        if (header := self._read_header(chunk, self._start)) is None:
            return self._cut_with(len(chunk) - self._start + 1)
        begin, length = header
        if length > self._max_size:
            raise FrameTooLong(self._max_size)
        end = begin + length
        behind = end + len(self._trailer)
        if behind > len(chunk):
            return self._cut_with(behind - self._start)
        if self._trailer and chunk[end:behind] != self._trailer:
            raise FrameCorrupt(f"the frame is not followed by {self._trailer!r}")
        self._start = behind
        return chunk[begin:end]

    def _cut_with(self, needed: int) -> bytes | None:
        """Cut again with `needed` bytes in the chunk, or wait: joining any earlier would copy a long frame often."""
        if self.pending < needed:
            return None
        self._chunk = b"".join((memoryview(self._chunk)[self._start :], self._tail))
        self._start, self._tail = 0, bytearray()
        return self._cut()


def _length_reader(head: struct.Struct) -> _ReadHeader:
    size, unpack = head.size, head.unpack_from
    return lambda chunk, start: (start + size, unpack(chunk, start)[0]) if start + size <= len(chunk) else None


def _read_varint(chunk: bytes, start: int) -> tuple[int, int] | None:
    head = chunk[start : start + _VARINT_BYTES]
    length = 0
    for index, byte in enumerate(head):
        length |= (byte & 0x7F) << (7 * index)
        if byte < 0x80 and length < 2**64:
            return start + index + 1, length
    if len(head) == _VARINT_BYTES:
        raise FrameCorrupt(f"the length has more than {_VARINT_BYTES} bytes or 64 bits")
    return None


def _read_netstring(max_size: int, most_digits: int, chunk: bytes, start: int) -> tuple[int, int] | None:
    digits, colon, _ = chunk[start : start + most_digits + 1].partition(b":")
    if not digits and not colon:
        return None
    if not digits.isdigit() or (digits.startswith(b"0") and digits != b"0"):
        raise FrameCorrupt(f"the length {digits!r} is not a decimal number without leading zeros")
    if len(digits) > most_digits:
        raise FrameTooLong(max_size)
    return (start + len(digits) + 1, int(digits)) if colon else None


def _check_size(option: str, value: object) -> None:
    _check(isinstance(value, int) and value >= 1, option, value, "a number of bytes, 1 or more")


def _check(accepted: bool, option: str, value: object, instead: str) -> None:
    if not accepted:
        raise ValueError(f"{option}={value!r} cannot be used: give {instead}")
