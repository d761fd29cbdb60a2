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
        case FrameError():
            return CloseReason.BAD_INPUT
        case ConnectionError() if connection is None:
            return CloseReason.CLIENT_LEFT
        case OSError() if connection is not None:
            return _network_reason(error, connection)
        case _:
            return CloseReason.FAILED


def _network_reason(error: OSError, connection: Connection) -> CloseReason:
    """The same, for what may have come of the client's connection, or of another one of the handler's."""
    late = isinstance(error, TimeoutError) and connection.has_deadline()
    # What a deadline of the kernel's looks like to a program.
    late = late or (isinstance(error, BlockingIOError) and connection.has_kernel_deadline())
    if late:
        return CloseReason.TIMED_OUT
    if connection.hung_up():
        return CloseReason.CLIENT_LEFT
    if isinstance(error, ssl.SSLError) and connection.raised(error):
        left = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
        return CloseReason.CLIENT_LEFT if left else CloseReason.BAD_INPUT
    return CloseReason.FAILED
