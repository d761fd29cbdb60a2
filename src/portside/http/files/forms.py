"""Forms with files (`multipart/form-data`, RFC 7578) as a stream of events; the parser is python-multipart's."""

import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MOST_PARTS: Final = 1000  # of a form: more than a person picks; each may become a file (PHP takes 20 files)


class FileBegins(NamedTuple):
    """A part that holds a file; its bytes follow, then `FILE_ENDS`."""

    name: bytes


class FileEnds(NamedTuple):
    """The end of a file."""


FILE_ENDS: Final = FileEnds()

Event = FileBegins | bytes | FileEnds


# What is wrong with a form is told to who sent it; the parser would tell the server's log, once for every byte perhaps.
_UNHEARD: Final = logging.Logger(__name__, logging.CRITICAL)


class FormCorrupt(Exception):
    """The client's form is none, or was cut off."""


def boundary_of(content_type: str) -> bytes | None:
    """The boundary that a Content-Type names; None where the content is no form with files.

    Raises:
        FormCorrupt: it is one, and names no boundary.
        RuntimeError: python-multipart is not installed.
    """
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        return None
    try:
        from python_multipart.multipart import parse_options_header
    except ImportError as error:
        raise RuntimeError("upload forms need python-multipart: pip install 'portside[http]'") from error
    _, options = parse_options_header(content_type)
    if not (boundary := options.get(b"boundary")):
        raise FormCorrupt("the form names no boundary")
    return boundary


def read_form(pieces: Iterable[bytes], boundary: bytes) -> Iterator[Event]:
    """Read a form as it arrives; fields that are no files are passed over.

    Args:
        pieces: the body, in pieces of any size, each of which is read when it is needed.
        boundary: what `boundary_of` gave.

    Raises:
        FormCorrupt: this is no form, it has more than `MOST_PARTS` parts, or it ends too soon.
    """
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser

    parts = _Parts()
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        parser.logger = _UNHEARD
        for piece in _without_blank_lines(pieces):
            parser.write(piece)
            yield from parts.taken()
    except FormParserError as error:
        raise FormCorrupt(f"this is no form: {error}") from error
    if not parts.ended:
        raise FormCorrupt("the form ended too soon")


def _without_blank_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces without blank lines at the start, behind which the parser would take anything for a first boundary."""
    rest = iter(pieces)
    for piece in rest:
        if begun := piece.lstrip(b"\r\n"):
            yield begun
            break
    yield from rest


class _Parts:
    """Turns the parser's callbacks into events."""

    def __init__(self) -> None:
        self.ended = False
        self._events: list[Event] = []
        self._count = 0
        self._is_file = False
        self._field, self._value = bytearray(), bytearray()
        self._disposition = b""

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._part_begins,
            "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header_ends,
            "on_headers_finished": self._head_ends,
            "on_part_data": self._data,
            "on_part_end": self._part_ends,
            "on_end": self._form_ends,
        }

    def taken(self) -> list[Event]:
        """The events since the last call."""
        events, self._events = self._events, []
        return events

    def _part_begins(self) -> None:
        self._count += 1
        if self._count > MOST_PARTS:
            raise FormCorrupt(f"a form has at most {MOST_PARTS} parts")
        self._disposition = b""
        self._is_file = False

    def _header_ends(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _head_ends(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._disposition)
        # A form whose file field was left empty has a part with the empty name.
        if name := options.get(b"filename"):
            self._is_file = True
            self._events.append(FileBegins(name))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._events.append(data[start:end])

    def _part_ends(self) -> None:
        if self._is_file:
            self._events.append(FILE_ENDS)

    def _form_ends(self) -> None:
        self.ended = True
