"""Whose fault was it? Exception and connection in, reason out.

A client that leaves, falls silent or breaks its protocol is an everyday event: it is counted, without a traceback. The
same exception types also come from a handler's own connections (a database, another server), where they are bugs to
be told; what the kernel says of the client's connection tells the two apart.
"""

import ssl

from portside.connections import Connection
from portside.framing import FrameError
from portside.gates import TurnedAway
from portside.telemetry import CloseReason


def close_reason(error: BaseException, connection: Connection | None) -> CloseReason:
    """Why a handler that raised `error` ended its connection.

    Args:
        error: what the handler raised.
        connection: the record of the client's connection; None for a datagram, whose only connection errors come
            from answering.
    """
    match error:
        case TurnedAway(reason=CloseReason() as reason):  # at a gate that a handler has led its client to: STARTTLS
            return reason
        case FrameError() | ssl.SSLError() if _is_the_clients(error, connection):
            return CloseReason.BAD_INPUT
        case TimeoutError() if connection is not None and connection.has_deadline():
            return CloseReason.TIMED_OUT
        case ConnectionError() if connection is None:
            return CloseReason.CLIENT_LEFT
        case OSError() if connection is not None and connection.hung_up():
            return CloseReason.CLIENT_LEFT
        case _:
            return CloseReason.FAILED


def _is_the_clients(error: BaseException, connection: Connection | None) -> bool:
    """False for a failure of TLS on another connection of the handler's."""
    return isinstance(error, FrameError) or (connection is not None and connection.raised(error))
