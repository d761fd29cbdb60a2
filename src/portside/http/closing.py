"""The end of a connection, so that the client has seen everything before it."""

import contextlib
import socket
import time
from typing import Any

from portside.frames import READ_SIZE
from portside.policy.handshakes import say_goodbye


def linger(sock: Any, seconds: float) -> None:
    """Read and drop what a client still sends after its answer; the connection is to be closed next.

    Closing over unread bytes would reset the connection, and the client might never see the answer (RFC 9112, 9.6).
    """
    deadline = time.monotonic() + seconds
    say_goodbye(sock)
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        while (remaining := deadline - time.monotonic()) > 0:
            sock.settimeout(remaining)
            if not sock.recv(READ_SIZE):
                return
