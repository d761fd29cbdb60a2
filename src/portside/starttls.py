"""What handlers need to begin TLS in the middle of a connection (STARTTLS), whatever they are made of."""

from typing import Any

from portside.gates import TurnedAway
from portside.peer import Peer
from portside.telemetry import CloseReason


def startable(peer: Peer, server: Any, tls: Any) -> Any:
    """The policy by which TLS begins.

    Args:
        peer: who the client is so far.
        server: the server object.
        tls: what the handler asks for; None is the server's.

    Raises:
        ValueError: there is none, or the connection is encrypted already.
    """
    if peer.tls_version is not None:
        raise ValueError(
            "start_tls() on a connection that is encrypted already: where the server's tls is made with "
            "starttls=True, handlers begin without"
        )
    policy = getattr(server, "tls", None) if tls is None else tls
    if not hasattr(policy, "fresh_context"):
        raise ValueError(f"start_tls() by {policy!r}: give the server tls=TLS(cert, key, starttls=True)")
    return policy


def buffered(file: Any) -> int:
    """How many bytes a file has read from its connection and not given out yet; nothing more is read."""
    unread = getattr(file, "unread", None)
    if unread is not None:
        return int(unread)
    raw = getattr(file, "raw", None)
    if raw is None:
        return 0  # without a buffer
    raw.readinto = _nothing  # what has arrived since may be the client's handshake, which must stay in the kernel
    try:
        return len(file.peek(1))
    finally:
        del raw.readinto


def _nothing(_: Any) -> None:
    """What a raw file's `readinto` says when nothing is there."""


def injected() -> TurnedAway:
    """Raised for a client that has sent more before its handshake than the handler has asked for.

    What it sent in the clear would be taken for encrypted, and need not be its own (CVE-2011-0411).
    """
    return TurnedAway(CloseReason.BAD_INPUT, "the client has sent data between STARTTLS and its handshake")


def settle(server: Any, request: Any, *, lost: bool = False) -> None:
    """Before a handler closes a connection itself: the server's record asks the kernel for its figures.

    Args:
        server: the server object.
        request: what it has given to the handler.
        lost: it is known already that the client has left.
    """
    machine = getattr(server, "_portside", None)
    record = machine and machine.connections.get(request)
    if record:
        record.settle(lost=lost)
