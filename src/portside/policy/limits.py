"""How many may come, how often, and how long they may stay: one frozen dataclass.

What decides about a stranger is looked at once, when the stranger is accepted; what decides about a guest is left to
the kernel, to the hub, or to a look now and then (`portside.keeper`). No read or write of a handler's pays for it.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one server, which is one endpoint of a service in one process. None switches a bound off.

    A host is an IPv4 address, or the /64 network of an IPv6 address: that is what one customer gets (RFC 6177), and who
    counts its addresses counts nothing. Unix clients have no host. Times are in seconds, sizes in bytes.

    Attributes:
        connections: open at once; who comes then is refused. None: `max_handlers` bounds them already, and a client
            that waits in the system's queue is better off than one that is refused (nginx's `worker_connections` and
            haproxy's `maxconn` let them wait, too).
        per_host: open at once from one host. None, as nginx's `limit_conn` and sshd's PerSourceMaxStartups: behind a
            proxy all clients come from one host.
        rate_per_host: new connections a second from one host, in the long run. None, as nginx's `limit_req`, likewise.
        burst_per_host: new connections from one host at once, before the rate counts. Browsers open six at a time; ten
            leaves room for two of them.
        datagrams_per_host: datagrams a second from one host, in the long run; what is beyond is dropped unseen. None:
            a resolver or a game decides that for itself.
        datagram_burst: datagrams from one host at once, before the rate counts; a batch of the kernel's.
        handshakes: TLS handshakes and PROXY headers under way at once; beyond, the one that has taken longest makes
            room, so that half-open ones never shut the door. sshd's MaxStartups ends at 100 for one machine's users; a
            thousand is what a second of a busy service brings.
        handshake_seconds: how long one may take. ranch and nginx's proxy modules have 5 to 60 s, Go's documentation
            suggests 10.
        idle_seconds: how long nothing may move on a connection, in either direction, whatever its handler does. An
            hour: haproxy's documentation has that for tunnels, and IMAP asks for half of it at least (RFC 9051, 5.4).
            On Unix sockets, where the kernel does not tell, it bounds a wait for the client.
        read_seconds: how long a handler may wait for its client's next byte; time in which it does not wait does not
            count. None: only the handler knows whether its client is expected to speak.
        write_seconds: how long a client may take nothing of what is sent to it. nginx's `send_timeout` is 60.
        total_seconds: how long a connection may last in all. None, as everywhere.
        min_rate: bytes a second, both directions together, that a connection must move in each `min_rate_seconds`; idle
            ones do not. None: between people, silence is no attack. Kestrel's rate for requests is 240.
        min_rate_seconds: over how long that is measured; Kestrel's grace is 5, Apache's mod_reqtimeout begins at 20.
        line_bytes: the longest line that `rfile` gives out whole, its end included. A megabyte holds any line that
            programs exchange (NATS' and websockets' largest message); people's lines are bound by `framing.Lines`.
        frame_bytes: the longest frame of a framed handler, where its codec would allow more. None: each codec has a
            `max_size` of its own, 64 KiB or 1 MiB.
        send_rate: bytes a second that one connection is sent; the kernel paces them (TCP on Linux). None, as nginx's
            `limit_rate`.
        refusal: what a refused client reads, sent at once and without waiting. None says what the protocol has for it:
            503 in HTTP, nothing elsewhere.

    Raises:
        ValueError: a field has a value that it cannot have; the message names it and what is accepted.
    """

    connections: int | None = None
    per_host: int | None = None
    rate_per_host: float | None = None
    burst_per_host: int = 10
    datagrams_per_host: float | None = None
    datagram_burst: int = 64
    handshakes: int | None = 1_000
    handshake_seconds: float | None = 10.0
    idle_seconds: float | None = 3_600.0
    read_seconds: float | None = None
    write_seconds: float | None = 60.0
    total_seconds: float | None = None
    min_rate: float | None = None
    min_rate_seconds: float = 10.0
    line_bytes: int | None = 1024 * 1024
    frame_bytes: int | None = None
    send_rate: int | None = None
    refusal: bytes | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            accepts, accepted = _ACCEPTED[field.type]
            if not accepts(value):
                raise ValueError(f"Limits({field.name}={value!r}) is not accepted; accepted is {accepted}")


# Bytes of a refusal: it has to fit into the buffer of a connection that was just made, in one packet.
_LONGEST_REFUSAL = 1_024

# Seconds, and things a second: between a millisecond and thirty years, or once in a quarter of an hour.
_LEAST, _MOST = 0.001, 1e9


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and _LEAST <= value <= _MOST


def _is_refusal(value: object) -> bool:
    return value is None or (isinstance(value, bytes) and len(value) <= _LONGEST_REFUSAL)


def _or_none(accepts: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or accepts(value)


_COUNT = "a whole number from 1 on, below 2**31"
_AMOUNT = f"a number from {_LEAST:g} to {_MOST:g}"

# By the field's type: who says whether a value will do, and in which words.
_ACCEPTED: dict[Any, tuple[Callable[[object], bool], str]] = {
    int: (_is_count, _COUNT),
    int | None: (_or_none(_is_count), f"{_COUNT}, or None for no bound"),
    float: (_is_amount, _AMOUNT),
    float | None: (_or_none(_is_amount), f"{_AMOUNT}, or None for no bound"),
    bytes | None: (_is_refusal, f"at most {_LONGEST_REFUSAL:,} bytes, such as b'busy\\n', or None"),
}

# Every bound switched off.
NO_LIMITS = Limits(handshakes=None, handshake_seconds=None, idle_seconds=None, write_seconds=None, line_bytes=None)
