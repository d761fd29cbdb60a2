"""How much a client may send, and how long it may take: one frozen dataclass."""

import functools
from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class HTTPLimits:
    """Bounds of one connection's requests, each answered with its status when it is passed.

    Every field is above 0; sizes are in bytes with the line ends counted, times in seconds.

    Attributes:
        request_line: 414. nginx and Apache take 8 KiB; RFC 9112, 3 asks for 8,000 bytes at least.
        header_line: one header field, 431. Node.js and Apache bound a head at 8 to 16 KiB; a cookie has 4 KiB.
        header_bytes: all header fields, 431. http.client and Apache's default product are of this order.
        header_count: header fields, 431. The standard library's and Apache's number.
        header_seconds: from the first byte of a head (of a connection's first head: from its accept) to the last, 408.
            Go's documentation and Apache's mod_reqtimeout suggest 5 to 20 s.
        keep_alive: how long an idle connection stays open for another request. Apache 5 s, nginx 75 s.
        body_bytes: the longest body of a request, 413; None (the default) leaves it to the handler, since only the
            handler knows what it stores.
        body_grace: how long a body may arrive slower than `body_rate`, 408. Kestrel's 5 s.
        body_rate: bytes a second that a body must reach in the long run, 408. Kestrel's 240. Only the time that is
            spent waiting for the network counts.
        send_seconds: how long a client may take nothing of a response before it is cut off. nginx's 60 s.
        unread_bytes: of a body that its handler has not read: up to so many are read and dropped, so that the
            connection can be used again; beyond, it closes. Go's 256 KiB.
        linger_seconds: how long a connection that closes early goes on reading, so that the client sees the answer and
            not a reset. nginx's lingering_timeout is 5 s, Apache's 2 s.
    """

    request_line: int = 8 * 1024
    header_line: int = 16 * 1024
    header_bytes: int = 64 * 1024
    header_count: int = 100
    header_seconds: float = 10.0
    keep_alive: float = 15.0
    body_bytes: int | None = None
    body_grace: float = 5.0
    body_rate: float = 240.0
    send_seconds: float = 60.0
    unread_bytes: int = 256 * 1024
    linger_seconds: float = 2.0

    @functools.cached_property
    def small_head(self) -> int:
        """Bytes of a head that passes no limit, whatever is in it."""
        return min(self.request_line, self.header_line, self.header_bytes)

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            optional = field.name == "body_bytes" and value is None
            if not optional and not (isinstance(value, int | float) and value > 0):
                raise ValueError(f"HTTPLimits({field.name}={value!r}) is not accepted; accepted is a number above 0")
