"""Frames from a blocking source: a codec's decoder, fed when it runs dry."""

import dataclasses
from collections.abc import Callable
from typing import Any, Self

from portside.framing import Codec

# Bytes asked for at a time: what one read of a socket rarely exceeds, and a page multiple.
READ_SIZE = 65_536


class FrameReader:
    """Iterates over the frames that `read` yields the bytes of.

    Args:
        codec: how the frames are written.
        read: called with a number of bytes; returns some of them, or b"" at the end of the stream.

    Raises:
        FrameTooLong, FrameCorrupt: out of the iteration, when the stream breaks the codec's rules or ends in a frame.
    """

    def __init__(self, codec: Codec, read: Callable[[int], bytes]) -> None:
        self._decoder = codec.decoder()
        self._read = read

    @property
    def pending(self) -> int:
        """Bytes that were read and not given out in frames yet."""
        return self._decoder.pending

    def go_on(self, read: Callable[[int], bytes]) -> None:
        """Take what comes from now on from another source."""
        self._read = read

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        while (frame := self._decoder.next_frame()) is None:
            data = self._read(READ_SIZE)
            if not data:
                self._decoder.finish()
                raise StopIteration
            self._decoder.feed(data)
        return frame


def bounded(codec: Codec, longest: int | None) -> Codec:
    """The codec, with frames of at most `longest` bytes; one whose frames all have one size is left as it is."""
    if longest is None or codec.max_size <= longest:
        return codec
    declared: Any = dataclasses.fields(codec) if dataclasses.is_dataclass(codec) else ()
    if "max_size" not in {field.name for field in declared}:
        return codec
    copied: Any = codec
    shorter: Codec = dataclasses.replace(copied, max_size=longest)
    return shorter
