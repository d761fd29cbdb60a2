"""Clients at the door when a drain begins: all of them are let in, and closing the listener loses nobody.

Whoever is in a listener's queue is connected already, and may have asked for something; closing the listener resets
their connections. So a drain accepts them first, all in a row and without waiting. Then the listener is closed, and
they get their handlers within the drain, as there is room.
"""

import contextlib
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from portside.acceptor import Acceptor
from portside.policy.accepting import AcceptAction, accept_action


class Latecomers:
    """Those who were let in by one run's end, and have no handler yet.

    Args:
        server: whose clients they are.
        has_room: says whether a handler could begin.
        receive: has a request handled, given that and its address.
        turn_away: ends a request that has not been received.
    """

    def __init__(
        self,
        server: Any,
        has_room: Callable[[], bool],
        receive: Callable[[Any, Any], None],
        turn_away: Callable[[Any, Any], None],
    ) -> None:
        self._server = server
        self._has_room = has_room
        self._receive = receive
        self._turn_away = turn_away
        self._waiting: deque[tuple[Any, Any]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def take_in(self, acceptor: Acceptor, seconds: float) -> None:
        """Accept everybody who is at the door, without waiting for anybody.

        Args:
            acceptor: knows whether somebody is there.
            seconds: after which nobody further is accepted; a program's `get_request` may wait.
        """
        until = time.monotonic() + seconds
        for _ in range(longest_queue(self._server)):
            if time.monotonic() >= until or not self._take_one(acceptor):
                return

    def _take_one(self, acceptor: Acceptor) -> bool:
        """False when nobody further can be accepted."""
        try:
            if self._server.fileno() < 0 or not acceptor.wait(0, accepting=True):
                return False
            self._waiting.append(self._server.get_request())
        except OSError as error:  # where another process was faster, too
            return accept_action(error) is AcceptAction.RETRY
        return True

    def seat(self) -> None:
        """Have them handled, as far as there is room."""
        while self._waiting and self._has_room():
            self.seat_one()

    def seat_one(self) -> None:
        """Have the first of them handled."""
        self._receive(*self._waiting.popleft())

    def turn_away(self) -> int:
        """Close who is left; returns how many."""
        count = len(self._waiting)
        while self._waiting:
            self._turn_away(*self._waiting.popleft())
        return count

    def let_go(self) -> None:
        """In a forked child: they are the parent's."""
        while self._waiting:
            request, _ = self._waiting.popleft()
            with contextlib.suppress(AttributeError, OSError):
                request.close()


def longest_queue(server: Any) -> int:
    """How many clients can be waiting at once: listen(2)'s backlog, as the system bounds it, and one (Linux)."""
    return min(int(server.request_queue_size), socket.SOMAXCONN) + 1
