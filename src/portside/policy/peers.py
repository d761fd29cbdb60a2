"""Who is at the other end of a connection, as far as the system vouches for it."""

import socket
import struct
from dataclasses import dataclass
from typing import Any

_UCRED = struct.Struct("=iII")  # struct ucred (unix(7)): process, user, group
_PEER_GROUPS = 59  # SO_PEERGROUPS of Linux's asm-generic/socket.h, which the socket module does not name
_MOST_GROUPS = 65_536 * 4  # bytes: what setgroups(2) allows at most


@dataclass(frozen=True, kw_only=True)
class Peer:
    """The process at the other end of a Unix socket, as it was when it connected (SO_PEERCRED, unix(7)).

    Attributes:
        uid: its user.
        gid: its group.
        pid: its process, 0 where it is in a container that this one does not see.
    """

    uid: int
    gid: int
    pid: int


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
