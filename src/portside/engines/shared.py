"""Records of connections whose handlers run in child processes: both processes see what the other one notes."""

import mmap
from typing import Any

from portside.connections import Connection

_IDLE, _ENDING = 0, 1  # bytes of the shared memory


class SharedConnection(Connection):
    """A connection whose `idle` its handler's process sets and the server's reads; with `ending` it is the reverse.

    Resource handling: a page of memory, which both processes have until they forget the record.
    """

    __slots__ = ("_shared",)

    def __init__(self, *arguments: Any) -> None:
        self._shared = mmap.mmap(-1, 2)
        super().__init__(*arguments)

    @property
    def idle(self) -> bool:
        """Its handler has said that it only waits for another request."""
        return bool(self._shared[_IDLE])

    @idle.setter
    def idle(self, value: bool) -> None:
        self._shared[_IDLE] = value

    @property
    def ending(self) -> bool:
        """A drain is under way, and its handler should begin nothing new."""
        return bool(self._shared[_ENDING])

    @ending.setter
    def ending(self, value: bool) -> None:
        self._shared[_ENDING] = value
