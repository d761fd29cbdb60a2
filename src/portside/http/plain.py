"""What stands for the compiled core where there is none: see `quick`.

Without it everything goes the long way, which is the same for more, so the classes are empty and nobody needs to know.
"""

from collections.abc import Iterable
from typing import Any


class QuickWriter:
    """Nothing that `AnyResponseWriter` has not."""


Sender: Any = None  # pieces are sent by the socket


def receive(sock: Any) -> None:
    """See `portside.core.prompt`: nothing has come that needs no waiting for."""


class QuickRequests:
    """Nothing that `Exchanges` has not."""


def know(**names: Any) -> None:
    """See `portside.core.replies`."""


def stand_before(handler: type, event: type) -> None:
    """See `portside.core.requests`."""


_wanted: set[str] = set()


def look_for(names: Iterable[str]) -> None:
    """See `portside.core.fields`."""
    _wanted.update(names)


class FieldCollector:
    """See `portside.core.fields`."""

    __slots__ = ("fields", "meant")

    def __init__(self) -> None:
        self.fields: list[tuple[str, str]] = []
        self.meant: dict[str, list[str]] = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field; llhttp leaves the spaces behind its value."""
        field = name.decode("latin-1"), value.decode("latin-1").rstrip(" \t")
        self.fields.append(field)
        if (key := field[0].lower()) in _wanted:
            self.meant.setdefault(key, []).append(field[1])
