"""What a server does with each client's socket: system calls that do not wait, at the least cost.

They are `accept()`, `shutdown(SHUT_WR)` and `close()` of any socket. The compiled core makes them of plain ones without
letting go of the interpreter, for which threads would have to queue again.
"""

import socket
from typing import TYPE_CHECKING, Any

__all__ = ["accept", "close", "end"]

if TYPE_CHECKING:
    from portside.core.prompt import accept, close, end
else:
    try:
        from portside.core.prompt import accept, close, end
    except ImportError:

        def accept(listener: socket.socket) -> tuple[socket.socket, Any]:
            """Accept a client."""
            return listener.accept()

        def end(sock: socket.socket) -> None:
            """Tell the peer that nothing more comes."""
            sock.shutdown(socket.SHUT_WR)

        def close(sock: socket.socket) -> None:
            """Close a socket."""
            sock.close()
