"""The four services that networks have always been tested with: echo, discard, daytime and chargen.

Each is a handler for connections and one for datagrams:

    portside.serve(diagnostics.ECHO, "tcp://127.0.0.1:7007", "udp://127.0.0.1:7007")

Datagrams carry whatever sender's address somebody wrote on them, and these services were the first to be abused for
that (CERT CA-1996-01): two of them made to answer each other for ever, or their answers, larger than the question, sent
to a victim. So an answer never goes to a server's port, and echo and chargen never answer more than they got.
"""

import contextlib
import random
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from portside.frames import READ_SIZE
from portside.handlers import DatagramRequestHandler, StreamRequestHandler

# Seconds that a connection may be idle: what RFC 1123 (section 4.1.3.2) asks of FTP servers at least.
IDLE = 300.0

# Seconds for a client to close its side after an answer that ends the conversation. A connection that is closed while
# the client still sends is reset, and the answer may be lost with it; nginx's lingering_timeout is the same 5 s.
LINGER = 5.0

# Ports up to here are servers'. OpenBSD's inetd answers none of them either.
LAST_SERVER_PORT = 1023

# An answer that the client has no room for is dropped, as datagrams may be: nobody's full queue holds up a thread.
_DO_NOT_WAIT: int = getattr(socket, "MSG_DONTWAIT", 0)

# RFC 864: lines of 72 of the 95 printable characters, each line starting one character further on.
_LINE = 72
_PRINTABLE = bytes(range(0x20, 0x7F))
PATTERN = b"".join((_PRINTABLE * 2)[start : start + _LINE] + b"\r\n" for start in range(len(_PRINTABLE)))

# Bytes of chargen's largest datagram (RFC 864).
LARGEST_CHARGEN = 512


@dataclass(frozen=True, kw_only=True)
class Diagnostic:
    """A handler that chooses by what arrives: a connection or a datagram.

    Attributes:
        stream: handles connections.
        datagram: handles datagrams.
    """

    stream: Callable[..., Any]
    datagram: Callable[..., Any]

    def __call__(self, request: Any, client_address: Any, server: Any, **handler_args: Any) -> Any:
        """Handle one request, as a handler class does."""
        handler = self.stream if server.socket_type == socket.SOCK_STREAM else self.datagram
        return handler(request, client_address, server, **handler_args)


class DiagnosticStream(StreamRequestHandler):
    """What the handlers of connections share: no client is waited for without end."""

    timeout = IDLE

    def linger(self) -> None:
        """End our side, and throw away what the client sends until it ends its own."""
        self.connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + LINGER
        with contextlib.suppress(TimeoutError):
            while (remaining := deadline - time.monotonic()) > 0:
                self.connection.settimeout(remaining)
                if not self.rfile.read1(READ_SIZE):
                    return


class DiagnosticDatagram(DatagramRequestHandler):
    """What the handlers of datagrams share: whom to answer, and that an answer may be lost."""

    def answer(self) -> bytes | None:
        """The datagram to send back, or None. To be overridden."""

    def finish(self) -> None:
        """Send the answer, unless it would go to a server or cannot leave at once."""
        data = self.answer() if is_client(self.client_address, self.server.server_address) else None
        if data is not None:
            with contextlib.suppress(OSError):
                self.socket.sendto(data, _DO_NOT_WAIT, self.client_address)


def is_client(sender: Any, server_address: Any) -> bool:
    """Whether a datagram's sender may be answered: neither a server by its port, nor, by the same port, one of ours.

    A sender on a Unix socket is nobody's forgery, and can be answered when it has an address.
    """
    match sender, server_address:
        case (_, int(port), *_), (_, int(own), *_):
            return port > LAST_SERVER_PORT and port != own
        case _:
            return bool(sender)


class Echo(DiagnosticStream):
    """RFC 862 on a connection: what arrives is sent back, until the client ends its side.

    A client has to read while it sends: what it does not read stays in the network, never in memory here.
    """

    def handle(self) -> None:
        """Send back what arrives."""
        while data := self.rfile.read1(READ_SIZE):
            self.wfile.write(data)


class EchoDatagram(DiagnosticDatagram):
    """RFC 862: the same datagram."""

    def answer(self) -> bytes | None:
        """What came."""
        return bytes(self.packet)


class Discard(DiagnosticStream):
    """RFC 863 on a connection: what arrives is thrown away, until the client ends its side."""

    def handle(self) -> None:
        """Read."""
        while self.rfile.read1(READ_SIZE):
            pass


class DiscardDatagram(DiagnosticDatagram):
    """RFC 863: no answer."""


class Daytime(DiagnosticStream):
    """RFC 867 on a connection: the time as people write it, and the end."""

    def handle(self) -> None:
        """Answer, and close."""
        self.wfile.write(daytime())
        self.linger()


class DaytimeDatagram(DiagnosticDatagram):
    """RFC 867: the time, whatever was asked."""

    def answer(self) -> bytes:
        """The time."""
        return daytime()


def daytime(now: time.struct_time | None = None) -> bytes:
    """The line of RFC 867: `Tuesday, February 22, 1982 17:37:43-PST`, in ASCII, with CRLF.

    Args:
        now: a local time; the present one where none is given.
    """
    return time.strftime("%A, %B %d, %Y %H:%M:%S-%Z\r\n", now or time.localtime()).encode("ascii", "replace")


class Chargen(DiagnosticStream):
    """RFC 864 on a connection: the pattern, until the client leaves; what it sends is thrown away.

    A client that only ends its own side goes on reading.
    """

    def handle(self) -> None:
        """Send, as fast as the client reads, until the service ends."""
        block = PATTERN * (READ_SIZE // len(PATTERN))
        while not is_ending(self.server):
            self.discard_input()
            self.wfile.write(block)

    def discard_input(self) -> None:
        """Throw away what has arrived, so that closing does not reset the connection."""
        self.connection.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            self.connection.recv(READ_SIZE)
        self.connection.settimeout(self.timeout)


def is_ending(server: Any) -> bool:
    """Whether a server's loops are asked to end."""
    return any(run.stopping for run in server._portside.lifecycle.running())


class ChargenDatagram(DiagnosticDatagram):
    """RFC 864: 0 to 512 characters of the pattern, no more than the datagram had.

    An empty datagram is not answered, so that even two chargen services that were made to talk come to an end.
    """

    def answer(self) -> bytes | None:
        """A random part of the pattern."""
        most = min(len(self.packet), LARGEST_CHARGEN)
        return PATTERN[: random.randint(0, most)] if most else None


ECHO = Diagnostic(stream=Echo, datagram=EchoDatagram)
DISCARD = Diagnostic(stream=Discard, datagram=DiscardDatagram)
DAYTIME = Diagnostic(stream=Daytime, datagram=DaytimeDatagram)
CHARGEN = Diagnostic(stream=Chargen, datagram=ChargenDatagram)

# By the names of the `portside` command.
DIAGNOSTICS: Mapping[str, Diagnostic] = MappingProxyType(
    {"echo": ECHO, "time": DAYTIME, "discard": DISCARD, "chargen": CHARGEN}
)
