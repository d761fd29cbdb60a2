"""Gates: what a connection has to pass between `accept` and its handler, and what may take its time.

A gate waits where the handler will run (in its thread, its greenlet, its child, its task), so that a client which is
slow at a gate holds up nobody else. The servers have two, in this order: the PROXY protocol, then TLS.
"""

import abc
import asyncio
import ssl
from typing import Any

from portside.telemetry import CloseReason, RefusalReason


class Gate(abc.ABC):
    """Lets a connection in, or turns it away."""

    @abc.abstractmethod
    def admit(self, server: Any, request: Any, client_address: Any) -> tuple[Any, Any]:
        """Wait for what the client has to show, within a deadline of the gate's own.

        Args:
            server: the server object.
            request: the connection, as `get_request` or the gate before has left it.
            client_address: who asks, likewise.

        Returns:
            The request and the address for everything that follows; both may be others. Who replaces the request hands
            its descriptor over, and need not close it.

        Raises:
            TurnedAway: the client is not to be served.
            OSError: likewise; `close_reason` says what it is told as.
        """

    async def admit_async(self, server: Any, request: Any, client_address: Any) -> tuple[Any, Any]:
        """The same in a coroutine, for the async engine.

        This one has a thread of the loop's executor wait. Those are few, and slow clients can take them all: a gate
        that waits for its client does so by itself.
        """
        return await asyncio.get_running_loop().run_in_executor(None, self.admit, server, request, client_address)

    def before_fork(self, server: Any) -> None:
        """Called in the process that is about to fork a child for a request, which `admit` will be called in."""
        return


class TurnedAway(ConnectionError):
    """A gate does not let a client in.

    Args:
        reason: what it is told as: a `RefusalReason` as ConnectionRefused, a `CloseReason` with ConnectionClosed.
        message: what was wrong with the client, for people.
        request: what the gate has made of the request until then; it is shut down and closed in its place. None where
            the gate has not replaced it.
    """

    def __init__(self, reason: CloseReason | RefusalReason, message: str, *, request: Any = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.request = request


def gate_reason(error: OSError) -> CloseReason | RefusalReason:
    """Why a client was turned away by a gate that raised `error`.

    A client that just ends is told as one that left: those that only try whether a port is open do nothing else.
    """
    match error:
        case TurnedAway():
            return error.reason
        case TimeoutError():
            return CloseReason.TIMED_OUT
        case ConnectionError() | ssl.SSLEOFError():
            return CloseReason.CLIENT_LEFT
        case _:
            return CloseReason.BAD_INPUT


# The attributes of a server whose policies ask for a gate, in the order in which clients pass them.
_GATED = ("proxy_protocol", "tls")


def gates_of(server: Any) -> tuple[Gate, ...]:
    """The gates of a server, made anew by its policies' `gate()`; none for most.

    Raises:
        TypeError: `tls` is a context. Programs have attributes of that name for themselves, which are left alone, but
            whoever says this expects TLS.
    """
    policies: list[Any] = [getattr(server, name, None) for name in _GATED]
    for policy in policies:
        if isinstance(policy, ssl.SSLContext):
            raise TypeError("tls is an SSLContext: write portside.ContextTLS(context), or portside.TLS(cert, key)")
    gates = [policy.gate() for policy in policies if hasattr(policy, "gate")]
    return tuple(gate for gate in gates if gate is not None)
