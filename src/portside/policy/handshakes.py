"""TLS on a connection that exists: the handshake, within one deadline, and the goodbye.

What a client does wrong is `TurnedAway`, with what it is told as: it fell silent, it left, or what it said is no TLS.
"""

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any

from portside.gates import Gate, TurnedAway
from portside.telemetry import CloseReason

# Session tickets that a client of TLS 1.3 is given after a full handshake, each of which costs a server some 14 us:
# one for the next connection, which brings another (Go's number; OpenSSL's is 2).
TICKETS = 1


class TLSGate(Gate):
    """Behind it everything is encrypted.

    Args:
        context: called with the server; returns the context for a new connection.
        seconds: called with the server; returns how long a handshake may take in all.
    """

    def __init__(self, context: Callable[[Any], ssl.SSLContext], seconds: Callable[[Any], float]) -> None:
        self._context = context
        self._seconds = seconds

    def admit(self, server: Any, request: Any, client_address: Any) -> tuple[Any, Any]:
        """Shake hands; the request is an `ssl.SSLSocket` from then on."""
        with counted(server, request):
            return shake_hands(request, self._context(server), self.patience(server)), client_address

    async def admit_async(self, server: Any, request: Any, client_address: Any) -> tuple[Any, Any]:
        """The same in a coroutine; the request is a `TLSRequest` from then on."""
        from portside.policy.async_handshakes import shake_hands_async

        with counted(server, request):
            return await shake_hands_async(request, self._context(server), self.patience(server)), client_address

    def patience(self, server: Any) -> float:
        """Seconds for a handshake: the server's `limits`, where they say something of it, or the policy's own."""
        bound: float | None = getattr(getattr(server, "limits", None), "handshake_seconds", None)
        return self._seconds(server) if bound is None else bound

    def before_fork(self, server: Any) -> None:
        """Look at the files in the process that goes on, and not in each child anew."""
        self._context(server)


def counted(server: Any, request: Any) -> contextlib.AbstractContextManager[None]:
    """A handshake is under way within the block, as far as the server's limits are concerned."""
    door = server._portside.admission
    found: contextlib.AbstractContextManager[None] = (
        contextlib.nullcontext() if door is None else door.handshake(request)
    )
    return found


def shake_hands(sock: Any, context: ssl.SSLContext, seconds: float) -> ssl.SSLSocket:
    """The server's side of a handshake, on a blocking or a green socket.

    Args:
        sock: a connected socket; its descriptor goes over to what is returned, or is closed.
        context: of the server.
        seconds: the time in all.

    Raises:
        TurnedAway: the client does not shake hands.
    """
    usual = sock.gettimeout()
    try:
        send_promptly(sock)
        tls = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
    except OSError as error:  # reset before it was asked anything
        raise turned_away(error, None) from error
    try:
        tls.settimeout(seconds)
        tls.do_handshake()
        tls.settimeout(usual)
    except OSError as error:
        raise turned_away(error, tls) from error
    return tls


def send_promptly(sock: Any) -> None:
    """Have small records leave at once (TCP_NODELAY).

    After its handshake a server says something that no client answers (session tickets, RFC 8446, 4.6.1). What follows
    would wait until that is acknowledged: 40 ms with a client that has nothing to say itself. asyncio does the same,
    but not for every socket.
    """
    if sock.family in _INET:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)


_INET = (socket.AF_INET, socket.AF_INET6)


def turned_away(error: OSError, request: Any) -> TurnedAway:
    """What a handshake that ended with `error` is told as; `request` is what has become of the connection."""
    match error:
        case TimeoutError():
            return TurnedAway(CloseReason.TIMED_OUT, "the client did not finish its TLS handshake", request=request)
        case ssl.SSLError() if not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return TurnedAway(CloseReason.BAD_INPUT, f"no TLS handshake: {error}", request=request)
        case _:
            return TurnedAway(CloseReason.CLIENT_LEFT, "the client left in its TLS handshake", request=request)


def say_goodbye(sock: Any) -> None:
    """Tell a TLS client that nothing more comes (close_notify, RFC 8446, 6.1); its own is not waited for."""
    at_once = getattr(sock, "say_goodbye", None)  # a green socket can; in blocking ones it takes a detour
    if at_once is not None:
        at_once()
    elif isinstance(sock, ssl.SSLSocket):
        with contextlib.suppress(OSError, ValueError):  # it is gone, or has been told already
            sock.settimeout(0)
            sock.unwrap()
