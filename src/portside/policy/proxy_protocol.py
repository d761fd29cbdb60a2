"""Behind a proxy: who may say for whom it connects, and the gate that lets it (haproxy's proxy-protocol.txt).

Whoever is believed can be anybody, so nobody is who is not named. Nor is guessed whether a header is there (section 5
of the document): by default one is required.
"""

import asyncio
import ipaddress
import math
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from portside.gates import Gate, TurnedAway
from portside.policy.proxy_header import (
    LONGEST_HEADER,
    HeaderReader,
    ProxyHeader,
    begins,
    may_begin,
)
from portside.policy.proxy_tlvs import ProxyHeaderError
from portside.telemetry import CloseReason, RefusalReason

# Seconds for a header, which leaves in the connection's first segment. The document asks for 3 at least (section 2), in
# which a lost segment is sent again.
HEADER_SECONDS = 5.0

_AF_UNIX = getattr(socket, "AF_UNIX", -1)

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# MSG_DONTWAIT: the async engine's sockets block until a transport has them.
_LOOK_ONLY = socket.MSG_PEEK | getattr(socket, "MSG_DONTWAIT", 0)


@dataclass(frozen=True, kw_only=True)
class ProxyProtocol:
    """Clients come through proxies that say who they are, in a header before anything else.

    Attributes:
        trusted: the networks of the proxies, as in `["10.0.0.0/8", "2001:db8::1"]`. Who comes from elsewhere is not
            believed. A proxy on a Unix socket is trusted: the socket file's mode decides who that can be.
        timeout: seconds that the header may take.
        required: every connection comes through a trusted proxy, with a header, or is refused. False lets others in as
            who they are, except strangers that send a header; their first bytes are looked at, so that is only for
            protocols in which the client speaks first.

    Raises:
        ValueError, TypeError: an option has a value that it cannot have.
    """

    trusted: Sequence[str] = ()
    timeout: float = HEADER_SECONDS
    required: bool = True
    _networks: tuple[_Network, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.trusted, str | bytes):
            raise TypeError(f"ProxyProtocol(trusted={self.trusted!r}) is not accepted; accepted is a list of networks")
        if not (isinstance(self.timeout, int | float) and 0 < self.timeout < math.inf):
            raise ValueError(f"ProxyProtocol(timeout={self.timeout!r}) is not accepted; accepted is a number above 0")
        object.__setattr__(self, "trusted", tuple(map(str, self.trusted)))
        object.__setattr__(self, "_networks", tuple(map(_network, self.trusted)))

    def trusts(self, address: Any) -> bool:
        """True for the address of a proxy in these networks, as the socket module writes it."""
        try:
            host = ipaddress.ip_address(address[0])
        except (ValueError, TypeError, IndexError):  # a Unix client's, or what a program's get_request made up
            return False
        host = getattr(host, "ipv4_mapped", None) or host
        return any(host in network for network in self._networks)

    def gate(self) -> Gate:
        """What connections pass on their way to a handler."""
        return ProxyGate(self)


def _network(text: str) -> _Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(
            f"ProxyProtocol(trusted={text!r}) is not accepted; accepted are networks such as '10.0.0.0/8', "
            f"'2001:db8::/32' and '192.0.2.7': {error}"
        ) from error
    return network


@dataclass(frozen=True, kw_only=True)
class Proxied:
    """What a handler can know of the proxy before it, as `self.proxy`.

    Attributes:
        address: the proxy's own address, as the socket module writes addresses.
        header: what it says.
    """

    address: Any
    header: ProxyHeader


class Examination:
    """One connection's first bytes: is there a header, may there be one, must there be one?

    Args:
        policy: what was asked for.
        trusted: whether the client is believed.

    Attributes:
        over: nothing more is to be looked at.
        header: what was found.
    """

    def __init__(self, policy: ProxyProtocol, *, trusted: bool) -> None:
        self._policy = policy
        self._trusted = trusted
        self._reader: HeaderReader | None = None
        self.over = False
        self.header: ProxyHeader | None = None
        if policy.required and not trusted:
            raise _untrusted("comes past the proxies")

    def look(self, seen: bytes) -> int:
        """See what comes next, and is not b"".

        Returns:
            How many bytes of it are to be taken; the others are the handler's.

        Raises:
            TurnedAway: the client is not to be served.
        """
        if self._reader is None:
            if not self._policy.required and self._comes_directly(seen):
                self.over = True
                return 0
            self._reader = HeaderReader()
        try:
            taken = self._reader.feed(seen)
        except ProxyHeaderError as error:
            raise TurnedAway(CloseReason.BAD_INPUT, str(error)) from error
        self.header = self._reader.header
        self.over = self.header is not None
        return taken

    def _comes_directly(self, seen: bytes) -> bool:
        if self._trusted:  # a few bytes of a signature are taken for one, since proxies send nothing else like it
            return not may_begin(seen)
        if begins(seen):
            raise _untrusted("says that it comes for another, and is no trusted proxy")
        return True


def _untrusted(what: str) -> TurnedAway:
    return TurnedAway(RefusalReason.UNTRUSTED, f"the client {what}")


class ProxyGate(Gate):
    """Reads the header, exactly, and learns from it who the client is."""

    def __init__(self, policy: ProxyProtocol) -> None:
        self._policy = policy

    def admit(self, server: Any, request: Any, client_address: Any) -> tuple[Any, Any]:
        """Wait for the header; returns the request as it came, and the client's address."""
        examination = self._examination(request, client_address)
        receive, usual = _receive_of(request), request.gettimeout()
        deadline = time.monotonic() + self._policy.timeout
        try:
            while not examination.over:
                request.settimeout(_remaining(deadline))
                _step(examination, receive, socket.MSG_PEEK)
        finally:
            request.settimeout(usual)
        return request, _learn(server, request, client_address, examination.header)

    async def admit_async(self, server: Any, request: Any, client_address: Any) -> tuple[Any, Any]:
        """The same in a coroutine: slow proxies hold up neither the loop nor a thread of its executor."""
        examination = self._examination(request, client_address)
        receive = _receive_of(request)
        async with asyncio.timeout(self._policy.timeout):
            while not examination.over:
                try:
                    _step(examination, receive, _LOOK_ONLY)
                except BlockingIOError:
                    await _readable(request)
        return request, _learn(server, request, client_address, examination.header)

    def _examination(self, request: Any, client_address: Any) -> Examination:
        local = getattr(request, "family", None) == _AF_UNIX
        return Examination(self._policy, trusted=local or self._policy.trusts(client_address))


def _receive_of(request: Any) -> Callable[..., bytes]:
    """What receives a connection's own bytes, which are not those inside TLS."""
    receive: Callable[..., bytes]
    receive = super(ssl.SSLSocket, request).recv if isinstance(request, ssl.SSLSocket) else request.recv
    return receive


def _step(examination: Examination, receive: Callable[..., bytes], look: int) -> None:
    """Look at what has come, and take the header's part of it, which is there: nobody has to wait for that."""
    seen = receive(LONGEST_HEADER, look)
    if not seen:
        raise ConnectionResetError("the client has left before it said for whom it comes")
    if taken := examination.look(seen):
        receive(taken)


def _remaining(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("the PROXY protocol header takes too long")
    return seconds


async def _readable(request: Any) -> None:
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    loop.add_reader(request.fileno(), arrived.set)
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(request.fileno())


def _learn(server: Any, request: Any, client_address: Any, header: ProxyHeader | None) -> Any:
    """Note what the header says, for handlers; returns who the client is."""
    if header is None:
        return client_address
    record = server._portside.connections.get(request)
    if record is not None:
        record.proxy = Proxied(address=client_address, header=header)
    return client_address if header.source is None else header.source
