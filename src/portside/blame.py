"""Whose fault was it? Exception and connection in, reason out.

A client that leaves, falls silent or breaks its protocol is an everyday event: it is counted, without a traceback. The
same exception types also come from a handler's own connections (a database, another server), where they are bugs to
be told; what the kernel says of the client's connection tells the two apart.
"""

from portside.connections import Connection
from portside.framing import FrameError
from portside.telemetry import CloseReason


def close_reason(error: BaseException, connection: Connection | None) -> CloseReason:
    """Why a handler that raised `error` ended its connection.

    Args:
        error: what the handler raised.
        connection: the record of the client's connection; None for a datagram, whose only connection errors come
            from answering.
    """
    match error:
        case FrameError():
            return CloseReason.BAD_INPUT
        case TimeoutError() if connection is not None and connection.has_deadline():
            return CloseReason.TIMED_OUT
        case BlockingIOError() if connection is not None and connection.has_kernel_deadline():
            return CloseReason.TIMED_OUT  # what a deadline of the kernel's looks like to a program
        case ConnectionError() if connection is None:
            return CloseReason.CLIENT_LEFT
        case OSError() if connection is not None and connection.hung_up():
            return CloseReason.CLIENT_LEFT
        case _:
            return CloseReason.FAILED
