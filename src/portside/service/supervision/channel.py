"""Messages between a supervisor and a worker: JSON objects, each behind its length, over a socket pair."""

import contextlib
import json
import socket
import threading
from collections.abc import Mapping
from typing import Any

from portside.framing import FrameError, LengthPrefixed

Message = dict[str, Any]

# Bytes of the longest message: every open connection of a worker with 10,000 of them, at a kilobyte each, and a margin.
LARGEST_MESSAGE = 64 * 1024 * 1024

_CODEC = LengthPrefixed(max_size=LARGEST_MESSAGE)
_READ_SIZE = 65_536  # bytes asked of the socket at a time
_PATIENCE = 1024 * 1024  # bytes that are kept for an end which does not read; later messages are dropped


class Channel:
    """One end.

    Args:
        sock: a connected stream socket, which is the channel's from now on.

    Resource handling: the socket, until `close()`.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._decoder = _CODEC.decoder()
        self._unsent = b""
        self._sending = threading.Lock()  # a worker's threads may all have something to tell

    @classmethod
    def pair(cls) -> "tuple[Channel, Channel]":
        """Two ends of one channel."""
        one, other = socket.socketpair()
        return cls(one), cls(other)

    def fileno(self) -> int:
        """The descriptor to watch for messages."""
        return self._sock.fileno()

    @classmethod
    def inherited(cls, descriptor: int) -> "Channel":
        """An end that this program was started with."""
        sock = socket.socket(fileno=descriptor)
        sock.set_inheritable(False)
        return cls(sock)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message, however long that takes.

        Raises:
            OSError: the other end is closed.
        """
        with self._sending:
            unsent, self._unsent = self._unsent, b""
            self._sock.sendall(unsent + _encoded(message))

    def offer(self, message: Mapping[str, Any]) -> None:
        """Send a message without waiting; what does not fit follows with the next one.

        To an end that is closed, or does not read, nothing more happens: whoever asked has a deadline.

        Raises:
            FrameError: the message is longer than any may be.
        """
        if len(self._unsent) < _PATIENCE:
            self._unsent += _encoded(message)
        self.offer_rest()

    @property
    def is_full(self) -> bool:
        """True while something that was offered waits for room."""
        return bool(self._unsent)

    def offer_rest(self) -> None:
        """Send what waits, as far as there is room for it."""
        with contextlib.suppress(OSError):  # BlockingIOError too: the pair is full
            sent = self._sock.send(self._unsent, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            self._unsent = self._unsent[sent:]

    def arrived(self) -> tuple[list[Message], bool]:
        """The whole messages that are there, without waiting; and whether more can come."""
        try:
            data = self._sock.recv(_READ_SIZE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return [], True
        except OSError:
            return [], False
        self._decoder.feed(data)
        try:
            return [_decoded(frame) for frame in self._decoder], bool(data)
        except FrameError:
            return [], False

    def close(self) -> None:
        """Give the descriptor back; the other end reads the end."""
        self._sock.close()


def _encoded(message: Mapping[str, Any]) -> bytes:
    return _CODEC.encode(json.dumps(message, default=str).encode())


def _decoded(frame: bytes) -> Message:
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError) as error:
        raise FrameError("a message is JSON, not nested without end") from error
    return message if isinstance(message, dict) else {}
