"""The engines under test, one row each, and a server of any of them that runs for the length of a `with` block.

A new engine is a new row of `KITS`; what its handlers look like is in `blocking.py` or `coroutines.py`.
"""

import contextlib
import os
import socket
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from portside import socketserver
from portside.engines import SerialMixIn
from portside.servers import BaseServer, TCPServer
from tests.conftest import DEADLINE, wait_until
from tests.engines import blocking, coroutines
from tests.engines.instruments import Journal

SCHEMES = ("tcp", "udp", "unix", "unixgram")
STREAMS = ("tcp", "unix")
DATAGRAMS = ("udp", "unixgram")

_TRANSPORTS = {"tcp": "TCPServer", "udp": "UDPServer", "unix": "UnixStreamServer", "unixgram": "UnixDatagramServer"}


@dataclass(frozen=True, kw_only=True)
class Kit:
    """One engine.

    Attributes:
        name: as `portside.serve` calls it, or close to that.
        servers: the class of each scheme.
        handlers: the module of its handlers.
        bound: the attribute that says how many handlers run at once; None where there is one at a time.
        forks: whether a handler runs in another process.
        like_standard: whether the standard library has classes of the same names.
        hides: a library to pretend the absence of.
    """

    name: str
    servers: Mapping[str, type[TCPServer]]
    handlers: Any
    bound: str | None = None
    forks: bool = False
    like_standard: bool = False
    hides: str | None = None

    @property
    def is_serial(self) -> bool:
        """One client at a time."""
        return self.bound is None

    @property
    def is_async(self) -> bool:
        """Handlers are coroutines."""
        return self.handlers is coroutines

    def __str__(self) -> str:
        return self.name


def _named(prefix: str) -> dict[str, type[TCPServer]]:
    return {scheme: getattr(socketserver, prefix + name) for scheme, name in _TRANSPORTS.items()}


def _mixed(mix_in: type) -> dict[str, type[TCPServer]]:
    plain = _named("")
    return {scheme: type(name, (mix_in, plain[scheme]), {}) for scheme, name in _TRANSPORTS.items()}


KITS = (
    Kit(name="drop-in", servers=_named(""), handlers=blocking, like_standard=True),
    Kit(name="serial", servers=_mixed(SerialMixIn), handlers=blocking),
    Kit(name="threads", servers=_named("Threading"), handlers=blocking, bound="max_threads", like_standard=True),
    Kit(
        name="forks",
        servers=_named("Forking"),
        handlers=blocking,
        bound="max_children",
        forks=True,
        like_standard=True,
    ),
    Kit(name="green", servers=_named("Green"), handlers=blocking, bound="max_greenlets"),
    Kit(name="async", servers=_named("Async"), handlers=coroutines, bound="max_tasks"),
    Kit(name="async-without-uvloop", servers=_named("Async"), handlers=coroutines, bound="max_tasks", hides="uvloop"),
)


class Busy(BaseServer):
    """Stands before a server class, and notes each turn of the loop."""

    journal: Journal

    def service_actions(self) -> None:
        super().service_actions()
        self.journal.note("turn")


class Stand:
    """A server that runs in a thread.

    Attributes:
        server: the server.
        ended_with: what `serve_forever` raised.
    """

    def __init__(self, server: Any, *, poll_interval: float = 0.02) -> None:
        self.server = server
        self._poll_interval = poll_interval
        self.ended_with: BaseException | None = None
        self._clients = contextlib.ExitStack()

    def start(self) -> None:
        """Serve in a thread."""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            self.server.serve_forever(self._poll_interval)
        except BaseException as error:
            self.ended_with = error

    def has_ended(self) -> bool:
        """Wait for the end of `serve_forever`; False when it goes on."""
        self._thread.join(DEADLINE)
        return not self._thread.is_alive()

    def dial(self) -> socket.socket:
        """A client, with a deadline; closed with the stand at the latest."""
        return self._clients.enter_context(dialled(self.server))

    def unconnected(self) -> socket.socket:
        """A client that knows nobody yet."""
        return self._clients.enter_context(unconnected(self.server))

    def ask(self, question: bytes) -> bytes:
        """What a new client is answered."""
        with self.dial() as client:
            return asked(client, question)

    def close(self) -> None:
        """End the clients and the server."""
        self._clients.close()
        self.server.shutdown()
        self.server.server_close()
        assert self.has_ended(), "serve_forever goes on after shutdown"


_clients: "weakref.WeakSet[socket.socket]" = weakref.WeakSet()


def _forget_clients() -> None:
    """In a child: a copy of a client's descriptor would keep the connection open when the client leaves."""
    for client in list(_clients):
        client.close()


os.register_at_fork(after_in_child=_forget_clients)


def remember(client: socket.socket) -> None:
    """Let no child of this process keep a client's connection open."""
    _clients.add(client)


def unconnected(server: Any) -> socket.socket:
    """A socket with a deadline; of Unix datagrams it has an address of its own, for answers."""
    client = socket.socket(server.address_family, server.socket_type)
    _clients.add(client)
    client.settimeout(DEADLINE)
    if (client.family, client.type) == (socket.AF_UNIX, socket.SOCK_DGRAM):
        client.bind("")
    return client


def dialled(server: Any) -> socket.socket:
    """A socket that is connected to the server."""
    with contextlib.ExitStack() as undo:
        client = undo.enter_context(unconnected(server))
        client.connect(server.server_address)
        undo.pop_all()
    return client


def asked(client: socket.socket, question: bytes) -> bytes:
    """Send a line (none, if it is empty) or a datagram, and receive one; b"" when the server ends the connection."""
    if question or client.type == socket.SOCK_DGRAM:
        client.sendall(question)
    return reply(client)


def reply(client: socket.socket) -> bytes:
    """Receive a line or a datagram."""
    answer = client.recv(65_536)
    while client.type == socket.SOCK_STREAM and answer and not answer.endswith(b"\n"):
        if not (more := client.recv(65_536)):
            break
        answer += more
    return answer


def rest(client: socket.socket) -> bytes:
    """Everything until the server ends the connection; a reset is an end too."""
    found = b""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while data := client.recv(65_536):
            found += data
    return found


def reset(client: socket.socket) -> None:
    """Leave without a word: RST instead of FIN (SO_LINGER of 0 seconds, socket(7)), on TCP."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, (1).to_bytes(4, "little") + bytes(4))
    client.close()


@contextlib.contextmanager
def bound(
    kit: Kit,
    handler: Callable[..., Any],
    *,
    scheme: str = "tcp",
    base: type | None = None,
    hooks: tuple[type, ...] = (),
    **attributes: Any,
) -> Iterator[Any]:
    """A server that listens and does not serve yet.

    Args:
        kit: the engine.
        handler: the handler.
        scheme: the transport.
        base: the class, instead of the kit's own.
        hooks: classes before it.
        attributes: class attributes, for the handler too: `handler_args`.
    """
    attributes.setdefault("drain_timeout", DEADLINE)
    server_class = type("Server", (*hooks, base or kit.servers[scheme]), attributes)
    with tempfile.TemporaryDirectory(prefix="ps-") as folder:
        address = os.path.join(folder, "s") if "unix" in scheme else ("127.0.0.1", 0)
        with server_class(address, handler) as server:
            yield server


@contextlib.contextmanager
def serving(kit: Kit, handler: Callable[..., Any], **options: Any) -> Iterator[Stand]:
    """A server that serves, with the options of `bound`."""
    with bound(kit, handler, **options) as server, contextlib.closing(Stand(server)) as stand:
        stand.start()
        yield stand


def count_becomes(expected: int, *, of: Callable[[], int]) -> bool:
    """Wait until a count is what is expected."""
    return wait_until(lambda: of() == expected)
