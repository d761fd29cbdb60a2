"""A word for clients that are turned away: said without waiting, and read before the connection is gone.

A connection that is closed while something of its client's is unread, or on its way, ends in a reset, and the client
may never see what was said to it. So some of those connections stay open for a moment, with nobody behind them; how
many is bounded, and whoever has been there longest makes room.
"""

import contextlib
import os
import socket
import time
from collections import deque
from typing import Any

# Seconds that a refused client gets to read; Apache's lingering close has 2, and this client has had nothing else.
LINGER_SECONDS = 1.0

# Refused connections that linger at once; each is a descriptor.
LINGERING = 64

_AT_ONCE: int = getattr(socket, "MSG_DONTWAIT", 0) | getattr(socket, "MSG_NOSIGNAL", 0)


class Farewells:
    """What is said to the clients of one server that are turned away.

    Args:
        word: what is said.

    Resource handling: at most `LINGERING` descriptors, until `close()`.
    """

    def __init__(self, word: bytes) -> None:
        self._word = word
        self._lingering: deque[tuple[float, socket.socket]] = deque()

    @property
    def any(self) -> bool:
        """Whether somebody lingers."""
        return bool(self._lingering)

    def say(self, request: Any) -> None:
        """Say it; the request itself is the caller's to close."""
        if not self._word:
            return
        with contextlib.suppress(AttributeError, OSError, TypeError, ValueError):  # it left already, or is no socket
            sock = socket.socket(fileno=os.dup(request.fileno()))
            self._lingering.append((time.monotonic() + LINGER_SECONDS, sock))
            sock.send(self._word, _AT_ONCE)
            sock.shutdown(socket.SHUT_WR)
        if len(self._lingering) > LINGERING:
            self._end_first()

    def remaining(self) -> float | None:
        """Seconds until a connection has lingered long enough; None while none does."""
        return max(0.0, self._lingering[0][0] - time.monotonic()) if self._lingering else None

    def look(self) -> None:
        """Close those that have lingered long enough."""
        now = time.monotonic()
        while self._lingering and self._lingering[0][0] <= now:
            self._end_first()

    def close(self) -> None:
        """Close all of them."""
        while self._lingering:
            self._end_first()

    def _end_first(self) -> None:
        with contextlib.suppress(IndexError, OSError):  # another loop was faster; the client left
            _, sock = self._lingering.popleft()
            with sock:
                sock.recv(65_536, _AT_ONCE)
