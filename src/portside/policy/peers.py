"""Which process is at the other end of a Unix socket, as far as the system vouches for it (SO_PEERCRED, unix(7))."""

import socket
import struct
from typing import Any

from portside.peer import Peer

_UCRED = struct.Struct("=iII")  # struct ucred (unix(7)): process, user, group
_PEER_GROUPS = 59  # SO_PEERGROUPS of Linux's asm-generic/socket.h, which the socket module does not name
_MOST_GROUPS = 65_536 * 4  # bytes: what setgroups(2) allows at most


def peer_of(sock: Any) -> Peer | None:
    """The process behind a connection; None for a network's, for a datagram, and where the system does not tell."""
    if getattr(sock, "family", None) != getattr(socket, "AF_UNIX", -1) or not hasattr(socket, "SO_PEERCRED"):
        return None
    try:
        pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    except (OSError, struct.error):
        return None  # closed meanwhile
    return None if uid == 2**32 - 1 else Peer(uid=uid, gid=gid, pid=pid)


def groups_of(sock: Any) -> frozenset[int]:
    """The further groups of the process behind a Unix connection."""
    try:
        found = sock.getsockopt(socket.SOL_SOCKET, _PEER_GROUPS, _MOST_GROUPS)
    except OSError:
        return frozenset()  # Linux before 4.13
    return frozenset(struct.unpack(f"={len(found) // 4}I", found))
