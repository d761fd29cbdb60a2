"""Records of connections whose handlers run in child processes: both processes see what the other one notes."""

import mmap
from typing import Any

from portside.connections import Connection


class _Noted:
    """A byte of a record's shared memory, as an attribute."""

    def __init__(self, place: int) -> None:
        self._place = place

    def __get__(self, record: "SharedConnection", _: object = None) -> bool:
        return bool(record._shared[self._place])

    def __set__(self, record: "SharedConnection", value: bool) -> None:
        record._shared[self._place] = value


class SharedConnection(Connection):
    """A connection whose `idle` its handler's process sets and the server's reads; with `ending` it is the reverse.

    Resource handling: a page of memory, which both processes have until they forget the record.
    """

    __slots__ = ("_shared",)

    idle: Any = _Noted(0)
    ending: Any = _Noted(1)

    def __init__(self, *arguments: Any) -> None:
        self._shared = mmap.mmap(-1, 2)
        super().__init__(*arguments)
