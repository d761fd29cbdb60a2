"""Traces through OpenTelemetry: a span for each connection, and one for each HTTP request in it.

    with Tracing():            # the program's own TracerProvider, set up as OpenTelemetry says
        portside.serve(...)

Spans are made when what they tell of has ended, from an event that knows how long it took: a server that is not traced
pays nothing, and one that is pays for no bookkeeping in between. A request joins the trace that its client is in, where
the client says so (`traceparent`, W3C Trace Context). Names of spans and attributes are OpenTelemetry's semantic
conventions (HTTP spans; general network attributes), version 1.28 and later.
"""

import time
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import urlsplit

from portside.telemetry.bus import subscribe
from portside.telemetry.events import CloseReason, ConnectionClosed, HeaderLookup, RequestServed

try:
    from opentelemetry import propagate, trace
    from opentelemetry.propagators.textmap import Getter
except ModuleNotFoundError as error:
    raise ImportError("traces are OpenTelemetry's: pip install 'portside[otel]'", name=error.name) from error

# Methods that may name a span (OpenTelemetry, `http.request.method`); any other word of a client's is `_OTHER`.
_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})

# Ends of a connection that are no error of the server's.
_WELL = (CloseReason.DONE, CloseReason.CLIENT_LEFT, CloseReason.TIMED_OUT)

Attributes = dict[str, Any]


class Tracing:
    """Traces the servers of this process, from its construction to `close()`.

    Args:
        provider: where spans go; None is the provider that the program has set (`trace.set_tracer_provider`).
        server: the server whose connections and requests are meant; None for all.
        connections: whether connections get spans, too.

    Resource handling: subscriptions, until `close()` or the `with` block's end.
    """

    def __init__(
        self, provider: "trace.TracerProvider | None" = None, *, server: object = None, connections: bool = True
    ) -> None:
        self._tracer = trace.get_tracer("portside", tracer_provider=provider)
        self._server = server
        wanted = (RequestServed, ConnectionClosed) if connections else (RequestServed,)
        self._subscription = subscribe(self._tell, *wanted)

    def close(self) -> None:
        """Trace no more; a second call does nothing."""
        self._subscription.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _tell(self, event: RequestServed | ConnectionClosed) -> None:
        if self._server is not None and event.server is not self._server:
            return
        end = time.time_ns()
        start = end - int(event.seconds * 1e9)
        if isinstance(event, RequestServed):
            self._tell_request(event, start, end)
        else:
            self._tell_connection(event, start, end)

    def _tell_request(self, event: RequestServed, start: int, end: int) -> None:
        attributes = request_attributes(event)
        method = attributes["http.request.method"]
        span = self._tracer.start_span(
            "HTTP" if method == "_OTHER" else method,
            context=propagate.extract(event.headers, getter=_HEADERS),
            kind=trace.SpanKind.SERVER,
            attributes=attributes,
            start_time=start,
        )
        if event.status >= 500:
            span.set_status(trace.StatusCode.ERROR)
        span.end(end)

    def _tell_connection(self, event: ConnectionClosed, start: int, end: int) -> None:
        span = self._tracer.start_span(
            "connection", kind=trace.SpanKind.SERVER, attributes=connection_attributes(event), start_time=start
        )
        if event.reason not in _WELL:
            span.set_status(trace.StatusCode.ERROR, str(event.reason))
        span.end(end)


class _HeaderGetter(Getter[HeaderLookup]):
    """How a propagator reads the header fields of a request."""

    def get(self, carrier: HeaderLookup, key: str) -> list[str] | None:
        value = carrier.get(key)
        return None if value is None else [value]

    def keys(self, carrier: HeaderLookup) -> list[str]:
        return []  # for propagators that look for prefixes: a lookup does not know all names


_HEADERS = _HeaderGetter()


def connection_attributes(event: ConnectionClosed) -> Attributes:
    """What a connection's span says."""
    found = dict(_network(event.server, event.client_address))
    found["portside.close_reason"] = event.reason.value
    if event.bytes_in is not None:
        found["portside.received_bytes"] = event.bytes_in
    if event.bytes_out is not None:
        found["portside.sent_bytes"] = event.bytes_out
    if event.error is not None and event.reason not in _WELL:
        found["error.type"] = _type_of(event.error)
    return found


def _type_of(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def request_attributes(event: RequestServed) -> Attributes:
    """What a request's span says."""
    method, _, rest = event.request_line.partition(" ")
    target, _, version = rest.rpartition(" ")
    found = dict(_network(event.server, event.client_address))
    found |= {
        "http.request.method": method if method in _METHODS else "_OTHER",
        "http.response.status_code": event.status,
        "url.scheme": "https" if hasattr(event.server, "ssl_context") else "http",
        "network.protocol.name": "http",
        **_url(target or rest),
    }
    if method not in _METHODS:
        found["http.request.method_original"] = method
    if version.startswith("HTTP/"):
        found["network.protocol.version"] = version.removeprefix("HTTP/")
    if (agent := event.headers.get("user-agent")) is not None:
        found["user_agent.original"] = agent
    if event.bytes_out is not None:
        found["http.response.body.size"] = event.bytes_out
    if "network.peer.address" in found:
        found["client.address"] = found["network.peer.address"]
    if event.status >= 500:
        found["error.type"] = str(event.status)
    return found


def _url(target: str) -> Attributes:
    try:
        parts = urlsplit(target)
    except ValueError:
        return {"url.path": target}
    return {name: value for name, value in (("url.path", parts.path), ("url.query", parts.query)) if value}


def _network(server: Any, client_address: object) -> Iterator[tuple[str, str | int]]:
    """Both ends of a connection."""
    here = getattr(server, "server_address", None)
    match client_address:
        case (str(host), int(port), *_):
            yield from (("network.transport", "tcp"), ("network.type", "ipv6" if ":" in host else "ipv4"))
            yield from (("network.peer.address", host), ("network.peer.port", port))
        case _:
            yield "network.transport", "unix"
    match here:
        case (str(host), int(port), *_):
            yield from (("server.address", host), ("server.port", port))
        case str(path):
            yield "server.address", path
