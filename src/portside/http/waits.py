"""How long a wait for the client may last, at the least cost: the kernel's own timeouts where it has them.

A Python socket with a timeout asks the kernel before each call whether it would wait: two system calls instead of one,
and two moments at which other threads take the interpreter over. SO_RCVTIMEO and SO_SNDTIMEO (socket(7)) leave the
socket blocking, and a call that waited too long ends with EAGAIN, which is `BlockingIOError`.
"""

import contextlib
import functools
import math
import socket
import struct
import sys
from collections.abc import Iterator

_TIMEVAL = struct.Struct("@ll")  # seconds and microseconds
_NEVER = _TIMEVAL.pack(0, 0)


class Waits:
    """The deadline of each wait on one socket.

    Args:
        sock: a connected socket. One of another class than `socket.socket` (TLS, green), or with a timeout, has that
            timeout set; a plain one the kernel's.

    Attributes:
        by_kernel: whether the kernel's timeouts are used.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._seconds: float | None = None
        self.by_kernel = waits_in_kernel(sock)
        if not self.by_kernel:
            self._seconds = sock.gettimeout()

    def set(self, seconds: float | None) -> None:
        """Let every wait to receive last so long from now on; None is for ever."""
        if seconds == self._seconds:
            return
        self._seconds = seconds
        if self.by_kernel:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(seconds))
        else:
            self._sock.settimeout(seconds)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Go back to the present deadline at the end."""
        seconds = self._seconds
        try:
            yield
        finally:
            self.set(seconds)


def bound_sending(sock: socket.socket, seconds: float | None) -> bool:
    """Let every wait to send last so long, where the kernel can tell it from receiving; returns whether it can."""
    can = waits_in_kernel(sock)
    if can:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(seconds))
    return can


def waits_in_kernel(sock: socket.socket) -> bool:
    """Whether the kernel bounds the waits of a socket: it is plain, and Python has set no timeout."""
    return _KERNEL_KNOWS and type(sock) is socket.socket and sock.gettimeout() is None


@functools.lru_cache(maxsize=16)
def _timeval(seconds: float | None) -> bytes:
    if seconds is None:
        return _NEVER
    fraction, whole = math.modf(seconds)
    return _TIMEVAL.pack(int(whole), max(int(fraction * 1_000_000), 1 if whole < 1 else 0))


_KERNEL_KNOWS = sys.platform == "linux"
