"""The drop-in face: `from portside import socketserver` in the place of `import socketserver`.

Every public name of the standard library's module, on every supported Python the ones of the newest, with what
Portside adds: `Green...` servers, `Async...` servers and handlers, `FramedRequestHandler`. Deliberate deviations are in
`docs/differences.md`.
"""

import os as _os
import socket as _socket

from portside import handlers as _handlers
from portside.async_handlers import (
    AsyncDatagramRequestHandler,
    AsyncFramedRequestHandler,
    AsyncRequestHandler,
    AsyncStreamRequestHandler,
)
from portside.engines import AsyncMixIn, GreenMixIn, ThreadingMixIn
from portside.handlers import (
    BaseRequestHandler,
    DatagramRequestHandler,
    FramedRequestHandler,
    StreamRequestHandler,
)
from portside.servers import (
    AsyncTCPServer,
    AsyncUDPServer,
    BaseServer,
    GreenTCPServer,
    GreenUDPServer,
    TCPServer,
    ThreadingTCPServer,
    ThreadingUDPServer,
    UDPServer,
)

_SocketWriter = _handlers.SocketWriter  # the standard library's private name for it, which programs import

__version__ = "0.4"  # the standard library's

__all__ = [
    "AsyncDatagramRequestHandler",
    "AsyncFramedRequestHandler",
    "AsyncMixIn",
    "AsyncRequestHandler",
    "AsyncStreamRequestHandler",
    "AsyncTCPServer",
    "AsyncUDPServer",
    "BaseRequestHandler",
    "BaseServer",
    "DatagramRequestHandler",
    "FramedRequestHandler",
    "GreenMixIn",
    "GreenTCPServer",
    "GreenUDPServer",
    "StreamRequestHandler",
    "TCPServer",
    "ThreadingMixIn",
    "ThreadingTCPServer",
    "ThreadingUDPServer",
    "UDPServer",
]

if hasattr(_os, "fork"):
    from portside.engines import ForkingMixIn
    from portside.servers import ForkingTCPServer, ForkingUDPServer

    __all__ += ["ForkingMixIn", "ForkingTCPServer", "ForkingUDPServer"]

if hasattr(_socket, "AF_UNIX"):
    from portside.servers import (
        AsyncUnixDatagramServer,
        AsyncUnixStreamServer,
        GreenUnixDatagramServer,
        GreenUnixStreamServer,
        ThreadingUnixDatagramServer,
        ThreadingUnixStreamServer,
        UnixDatagramServer,
        UnixStreamServer,
    )

    __all__ += [
        "AsyncUnixDatagramServer",
        "AsyncUnixStreamServer",
        "GreenUnixDatagramServer",
        "GreenUnixStreamServer",
        "ThreadingUnixDatagramServer",
        "ThreadingUnixStreamServer",
        "UnixDatagramServer",
        "UnixStreamServer",
    ]

if hasattr(_os, "fork") and hasattr(_socket, "AF_UNIX"):
    from portside.servers import ForkingUnixDatagramServer, ForkingUnixStreamServer

    __all__ += ["ForkingUnixDatagramServer", "ForkingUnixStreamServer"]
