"""Traces: what OpenTelemetry's own exporter gets of a server's connections and requests."""

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import portside
from portside import telemetry
from portside.http.handler import BaseHTTPRequestHandler
from portside.telemetry.tracing import Tracing, connection_attributes, request_attributes
from tests.conftest import DEADLINE, Connect
from tests.http.kit import Client, get, serving

pytestmark = pytest.mark.usefixtures("no_leaks")

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Web(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(500 if self.path == "/broken" else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Exported:
    """A provider, and the spans that it was given."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


@pytest.fixture
def exported() -> Iterator[Exported]:
    made = Exported()
    yield made
    made.provider.shutdown()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def asked(exported: Exported, connect: Connect, *requests: bytes, **options: Any) -> int:
    """Have a server answer requests on one connection; returns its port."""
    with Tracing(exported.provider, **options), serving(Web) as server:
        client = Client(connect(server.server_address))
        for request in requests:
            client.send(request)
            client.response()
        client.close()
        server.shutdown(drain=DEADLINE)
        port: int = server.server_port
    return port


def test_a_request_is_a_span(exported: Exported, connect: Connect) -> None:
    port = asked(exported, connect, get("/shop?item=5", fields="User-Agent: Ada/1\r\n"))
    [span] = exported.named("GET")
    found = attributes(span)
    assert isinstance(found.pop("network.peer.port"), int)
    assert found == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.response.body.size": 2,
        "url.scheme": "http",
        "url.path": "/shop",
        "url.query": "item=5",
        "network.protocol.name": "http",
        "network.protocol.version": "1.1",
        "network.transport": "tcp",
        "network.type": "ipv4",
        "network.peer.address": "127.0.0.1",
        "client.address": "127.0.0.1",
        "server.address": "127.0.0.1",
        "server.port": port,
        "user_agent.original": "Ada/1",
    }
    assert span.kind is SpanKind.SERVER
    assert span.status.status_code is StatusCode.UNSET
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.start_time <= span.end_time


def test_a_request_joins_its_clients_trace(exported: Exported, connect: Connect) -> None:
    asked(exported, connect, get("/", fields=f"Traceparent: 00-{TRACE}-{PARENT}-01\r\n"), get("/"))
    first, second = exported.named("GET")
    assert first.context is not None
    assert first.parent is not None
    assert (f"{first.context.trace_id:032x}", f"{first.parent.span_id:016x}") == (TRACE, PARENT)
    assert second.parent is None


def test_a_connection_is_a_span(exported: Exported, connect: Connect) -> None:
    asked(exported, connect, get("/"))
    [span] = exported.named("connection")
    found = attributes(span)
    assert found["portside.close_reason"] == "done"
    assert found["network.transport"] == "tcp"
    assert found["portside.received_bytes"] > 0
    assert found["portside.sent_bytes"] > 0
    assert span.status.status_code is StatusCode.UNSET


def test_connections_can_be_left_out(exported: Exported, connect: Connect) -> None:
    asked(exported, connect, get("/"), connections=False)
    assert exported.named("connection") == []
    assert len(exported.named("GET")) == 1


def test_an_answer_of_the_500s_is_an_error(exported: Exported, connect: Connect) -> None:
    asked(exported, connect, get("/broken"))
    [span] = exported.named("GET")
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)["error.type"] == "500"


def test_a_word_that_is_no_method_names_no_span(exported: Exported, connect: Connect) -> None:
    asked(exported, connect, get("/", method="BREW"))
    [span] = exported.named("HTTP")
    found = attributes(span)
    assert (found["http.request.method"], found["http.request.method_original"]) == ("_OTHER", "BREW")


def test_a_handler_that_fails_is_an_error(exported: Exported) -> None:
    def fail(*_: Any) -> None:
        raise LookupError("no cheese")

    with (
        Tracing(exported.provider),
        portside.start(fail, "tcp://127.0.0.1:0") as server,
        portside.connect(server.endpoint, timeout=DEADLINE) as client,
    ):
        assert client.socket.recv(1) == b""
    [span] = exported.named("connection")
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)["error.type"] == "LookupError"


def test_one_server_can_be_meant(exported: Exported) -> None:
    def greet(request: Any, *_: Any) -> None:
        request.sendall(b"hello")

    running = portside.start(greet, "tcp://127.0.0.1:0", "tcp://127.0.0.1:0")
    with running, Tracing(exported.provider, server=running.servers[1]):
        for endpoint in running.endpoints:
            with portside.connect(endpoint, timeout=DEADLINE) as client:
                assert client.socket.recv(5) == b"hello"
                assert client.socket.recv(1) == b""
        running.stop()
    [span] = exported.named("connection")
    assert attributes(span)["server.port"] == running.endpoints[1].port


def closed(client_address: object, server: object = None, **fields: Any) -> telemetry.ConnectionClosed:
    given = {"bytes_in": None, "bytes_out": None, "seconds": 0.1, "reason": telemetry.CloseReason.DONE} | fields
    return telemetry.ConnectionClosed(server=server, client_address=client_address, **given)


def test_a_unix_client() -> None:
    assert connection_attributes(closed("")) == {"network.transport": "unix", "portside.close_reason": "done"}


def test_an_ipv6_client() -> None:
    assert connection_attributes(closed(("::1", 5, 0, 0)))["network.type"] == "ipv6"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", {"http.request.method": "_OTHER"}),
        ("GET", {"http.request.method": "GET"}),
        ("GET http://[/ HTTP/1.1", {"url.path": "http://[/"}),
        ("GET / HTTP/1.0", {"network.protocol.version": "1.0", "url.path": "/"}),
    ],
)
def test_a_line_that_is_odd(line: str, expected: dict[str, str]) -> None:
    event = telemetry.RequestServed(
        server=None, client_address="", request_line=line, status=400, bytes_out=None, seconds=0.1, headers={}
    )
    assert expected.items() <= request_attributes(event).items()
