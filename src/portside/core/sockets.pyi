"""What Python code sees of green sockets; sockets.pyx documents it. What `socket.socket` has is typed there."""

import socket
from typing import Any

class GreenSocket(socket.socket):
    writes_whole: bool
    accepts_at_once: bool
    @property
    def has_deadline(self) -> bool: ...
    @property
    def stalled(self) -> bool: ...
    def set_deadlines(
        self, *, idle: float | None = None, write: float | None = None, total: float | None = None
    ) -> None: ...
    def knock(self) -> bool: ...
    @property
    def is_datagram(self) -> bool: ...
    def await_knock(self, timeout: float | None = None) -> None: ...
    def _follow(self, other: GreenSocket) -> None: ...
    def _real_close(self, _ss: Any = ...) -> None: ...
    def makefile(
        self,
        mode: str = "r",
        buffering: int | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any: ...
