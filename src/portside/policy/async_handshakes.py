"""TLS in an event loop: asyncio's own, whose transport a handler takes over, with what asyncio leaves open."""

import asyncio
import select
import ssl
from typing import Any

from portside.gates import TurnedAway
from portside.policy.handshakes import send_promptly, turned_away
from portside.telemetry import CloseReason


class _Keeper(asyncio.Protocol):
    """Holds a transport until its handler is there: reads nothing, and remembers an end."""

    def __init__(self) -> None:
        self.ended = False
        self.lost: tuple[Exception | None] | None = None

    def connection_made(self, transport: Any) -> None:  # uvloop's is of no class of asyncio's
        transport.pause_reading()

    def eof_received(self) -> None:
        self.ended = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = (exc,)


class TLSRequest:
    """A connection with TLS as the async engine has it: in the place of a socket, past which nothing can be written.

    Attributes:
        transport: asyncio's.
    """

    def __init__(self, sock: Any, transport: asyncio.Transport, keeper: _Keeper) -> None:
        self._sock = sock
        self._keeper = keeper
        self.transport = transport

    def hand_over(self, protocol: asyncio.Protocol) -> None:
        """Have a protocol receive what comes, from the beginning."""
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if self._keeper.ended:
            protocol.eof_received()
        if self._keeper.lost is not None:
            protocol.connection_lost(self._keeper.lost[0])
        else:
            self.transport.resume_reading()

    @property
    def family(self) -> int:
        """The socket's address family."""
        return int(self._sock.family)

    def getsockopt(self, *option: int) -> Any:
        """An option of the socket's."""
        return self._sock.getsockopt(*option)

    def fileno(self) -> int:
        """The descriptor; -1 when it is closed."""
        return int(self._sock.fileno())

    def getpeername(self) -> Any:
        """The client's address."""
        return self._sock.getpeername()

    def getsockname(self) -> Any:
        """The server's address."""
        return self._sock.getsockname()

    def shutdown(self, how: int) -> None:
        """Send what is left, and end the connection: TLS has no other end in asyncio."""
        self.transport.close()

    def close(self) -> None:
        """The same."""
        self.transport.close()


async def shake_hands_async(sock: Any, context: ssl.SSLContext, seconds: float) -> TLSRequest:
    """The same as `shake_hands`, in the running event loop."""
    keeper = _Keeper()
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        send_promptly(sock)
        async with asyncio.timeout(seconds):
            transport, _ = await loop.connect_accepted_socket(
                lambda: keeper, sock, ssl=context, ssl_handshake_timeout=2 * seconds
            )
    except OSError as error:
        raise turned_away(error, None) from error
    return TLSRequest(sock, transport, keeper)


async def start_tls_async(
    transport: Any, protocol: asyncio.Protocol, context: ssl.SSLContext, seconds: float
) -> asyncio.Transport:
    """A handshake on a transport that has been used without TLS; `protocol` receives what comes after it.

    Raises:
        TurnedAway: the client does not shake hands. The transport is closed.
    """
    loop = asyncio.get_running_loop()
    try:
        send_promptly(transport.get_extra_info("socket"))
        async with asyncio.timeout(seconds):
            secure = await loop.start_tls(
                transport, protocol, context, server_side=True, ssl_handshake_timeout=2 * seconds
            )
    except OSError as error:
        raise turned_away(error, None) from error
    if secure is None:
        raise TurnedAway(CloseReason.CLIENT_LEFT, "the client left in its TLS handshake")
    protocol.connection_made(secure)
    return secure


class TLSWriter(asyncio.StreamWriter):
    """asyncio's writer, for TLS.

    When the client has ended its side, asyncio's TLS drops what is written, without a word, and its `drain` neither
    waits nor fails: a handler that writes without end would keep the event loop for ever. In Python 3.11 it does the
    same for a connection that was reset.
    """

    _dropped = False

    def write(self, data: Any) -> None:
        """Send `data` (bytes-like), now or later."""
        # Asked before: a client that leaves when it has read this has lost nothing.
        self._dropped = self.transport.is_closing() or _half_closed(self.get_extra_info("socket").fileno())
        super().write(data)

    def writelines(self, data: Any) -> None:
        """Send each of `data`."""
        self.write(b"".join(data))

    async def drain(self) -> None:
        """Wait while the client is slow to read.

        Raises:
            TurnedAway: a ConnectionError. The client had ended its side of the connection before the last write.
        """
        if self._dropped:
            raise TurnedAway(CloseReason.CLIENT_LEFT, "the client has ended the connection")
        await super().drain()
        await asyncio.sleep(0)  # let the loop hear of an end


def _half_closed(descriptor: int) -> bool:
    """Whether the client's FIN has arrived, read or not."""
    if descriptor < 0 or not _RDHUP:
        return False
    poller = select.poll()
    poller.register(descriptor, _RDHUP)
    return bool(poller.poll(0))


_RDHUP: int = getattr(select, "POLLRDHUP", 0)  # Linux's
