"""Network servers for Python, written as ordinary blocking handlers.

    import portside

    class Shout(portside.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                self.wfile.write(line.upper())

    portside.serve(Shout, "tcp://127.0.0.1:9000")

`portside.socketserver` is the drop-in face: change `import socketserver` to `from portside import socketserver`.
"""

import importlib
from typing import TYPE_CHECKING

from portside.telemetry.logging import attach as _attach_logging

if TYPE_CHECKING:
    from portside import framing, socketserver, telemetry
    from portside.async_handlers import (
        AsyncDatagramRequestHandler,
        AsyncFramedRequestHandler,
        AsyncRequestHandler,
        AsyncStreamRequestHandler,
    )
    from portside.client import DatagramClient, StreamClient, connect
    from portside.core.awaiting import await_
    from portside.core.offloading import offload
    from portside.core.queues import Queue
    from portside.core.spawning import spawn
    from portside.core.sync import Event, Lock, Semaphore
    from portside.core.timing import sleep, timeout
    from portside.endpoints import Endpoint, EndpointError
    from portside.handlers import (
        BaseRequestHandler,
        DatagramRequestHandler,
        FramedRequestHandler,
        StreamRequestHandler,
    )
    from portside.peer import Peer
    from portside.policy.access import Access
    from portside.policy.certificates import Certificate, TLSError
    from portside.policy.limits import Limits
    from portside.policy.proxy_header import ProxyHeader
    from portside.policy.proxy_protocol import ProxyProtocol
    from portside.policy.proxy_tlvs import ProxyHeaderError, ProxyTLS
    from portside.policy.tls import TLS, ClientTLS, ContextTLS
    from portside.service.admin.options import Admin
    from portside.service.description import Service
    from portside.service.embedding import embed
    from portside.service.running import Running, start
    from portside.service.serving import serve
    from portside.service.supervision.supervisor import Supervisor
    from portside.service.workers import Workers

__all__ = [
    "TLS",
    "Access",
    "Admin",
    "AsyncDatagramRequestHandler",
    "AsyncFramedRequestHandler",
    "AsyncRequestHandler",
    "AsyncStreamRequestHandler",
    "BaseRequestHandler",
    "Certificate",
    "ClientTLS",
    "ContextTLS",
    "DatagramClient",
    "DatagramRequestHandler",
    "Endpoint",
    "EndpointError",
    "Event",
    "FramedRequestHandler",
    "Limits",
    "Lock",
    "Peer",
    "ProxyHeader",
    "ProxyHeaderError",
    "ProxyProtocol",
    "ProxyTLS",
    "Queue",
    "Running",
    "Semaphore",
    "Service",
    "StreamClient",
    "StreamRequestHandler",
    "Supervisor",
    "TLSError",
    "Workers",
    "await_",
    "connect",
    "embed",
    "framing",
    "offload",
    "serve",
    "sleep",
    "socketserver",
    "spawn",
    "start",
    "telemetry",
    "timeout",
]

# Where the public names live: the imports above, as the interpreter sees them. A name is fetched when it is first asked
# for (PEP 562), so that `portside --help` does not load asyncio.
_HOMES = {
    "Admin": "portside.service.admin.options",
    "Access": "portside.policy.access",
    "AsyncDatagramRequestHandler": "portside.async_handlers",
    "AsyncFramedRequestHandler": "portside.async_handlers",
    "AsyncRequestHandler": "portside.async_handlers",
    "AsyncStreamRequestHandler": "portside.async_handlers",
    "BaseRequestHandler": "portside.handlers",
    "Certificate": "portside.policy.certificates",
    "ClientTLS": "portside.policy.tls",
    "ContextTLS": "portside.policy.tls",
    "DatagramClient": "portside.client",
    "DatagramRequestHandler": "portside.handlers",
    "Endpoint": "portside.endpoints",
    "EndpointError": "portside.endpoints",
    "Event": "portside.core.sync",
    "FramedRequestHandler": "portside.handlers",
    "Limits": "portside.policy.limits",
    "Lock": "portside.core.sync",
    "ProxyHeader": "portside.policy.proxy_header",
    "ProxyHeaderError": "portside.policy.proxy_tlvs",
    "ProxyProtocol": "portside.policy.proxy_protocol",
    "ProxyTLS": "portside.policy.proxy_tlvs",
    "Peer": "portside.peer",
    "Queue": "portside.core.queues",
    "Running": "portside.service.running",
    "Semaphore": "portside.core.sync",
    "Service": "portside.service.description",
    "StreamClient": "portside.client",
    "StreamRequestHandler": "portside.handlers",
    "Supervisor": "portside.service.supervision.supervisor",
    "Workers": "portside.service.workers",
    "TLS": "portside.policy.tls",
    "TLSError": "portside.policy.certificates",
    "await_": "portside.core.awaiting",
    "connect": "portside.client",
    "embed": "portside.service.embedding",
    "framing": "portside",
    "offload": "portside.core.offloading",
    "serve": "portside.service.serving",
    "sleep": "portside.core.timing",
    "socketserver": "portside",
    "spawn": "portside.core.spawning",
    "start": "portside.service.running",
    "telemetry": "portside",
    "timeout": "portside.core.timing",
}


def _fetch(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    if home == __name__:
        value: object = importlib.import_module(f"{home}.{name}")
    else:
        value = getattr(importlib.import_module(home), name)
    return globals().setdefault(name, value)


if not TYPE_CHECKING:  # a type checker knows the names already, and would take this to mean that every name exists
    __getattr__ = _fetch


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_attach_logging()
