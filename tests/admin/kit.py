"""A service with an admin endpoint, what asks it over HTTP, and handlers that stand where a test wants them."""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import portside
from portside.endpoints import Endpoint
from portside.service.running import Running
from tests.conftest import DEADLINE, wait_until

HERE = "tcp://127.0.0.1:0"


class Shout(portside.StreamRequestHandler):
    """Answers every line."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


class AsyncShout(portside.AsyncStreamRequestHandler):
    """The same in a coroutine."""

    async def handle(self) -> None:
        async for line in self.reader:
            self.writer.write(line.upper())


HANDLERS: Mapping[str, Any] = {
    "serial": Shout,
    "threads": Shout,
    "forks": Shout,
    "green": Shout,
    "async": AsyncShout,
}


def started(engine: Any = "threads", handler: Any = None, **options: Any) -> Running:
    """A service of one endpoint with an admin endpoint, both at free ports."""
    handler = HANDLERS[engine] if handler is None else handler
    running = portside.start(handler, HERE, engine=engine, **{"admin": HERE, "drain": 5.0, **options})
    assert wait_until(lambda: ask(running, "/readyz").status == 200)
    return running


@contextlib.contextmanager
def talk(endpoint: Endpoint) -> Iterator[portside.StreamClient]:
    """A client that has had its first answer: its handler stands at the next line."""
    client = portside.connect(endpoint, timeout=DEADLINE)
    assert isinstance(client, portside.StreamClient)
    with client:
        client.send(b"hello")
        assert client.receive() == b"HELLO"
        yield client
        with contextlib.suppress(OSError):
            client.socket.shutdown(socket.SHUT_RDWR)  # a forked child has this end of the connection, too


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the admin endpoint has answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class _Connection(http.client.HTTPConnection):
    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__("localhost", timeout=3 * DEADLINE)
        self._endpoint = endpoint

    def connect(self) -> None:
        self.sock: socket.socket = self._endpoint.connect(DEADLINE)


def ask(running: Running, path: str, *, method: str = "GET", body: bytes | None = None, **fields: str) -> Answer:
    """One request of the admin endpoint of a service; fields with `_` for `-`."""
    assert running.admin is not None
    connection = _Connection(running.admin.endpoint)
    try:
        connection.putrequest(method, path, skip_host="host" in fields)
        for name, value in fields.items():
            connection.putheader(name.replace("_", "-"), value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return Answer(status=response.status, headers=response.headers, body=response.read())
    finally:
        connection.close()


def command(running: Running, **words: Any) -> Answer:
    """Have the admin endpoint do something."""
    return ask(
        running,
        "/api/commands",
        method="POST",
        body=json.dumps(words).encode(),
        content_type="application/json",
    )


def metrics(running: Running) -> dict[str, float]:
    """Every sample of `/metrics` by its name and labels, without the endpoint's."""
    from prometheus_client.parser import text_string_to_metric_families

    text = ask(running, "/metrics").body.decode()
    return {
        _name(sample.name, sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _name(name: str, labels: Mapping[str, str]) -> str:
    told = ",".join(value for label, value in sorted(labels.items()) if label != "endpoint")
    return f"{name}[{told}]" if told else name


def connections(running: Running) -> list[dict[str, Any]]:
    """The open connections, as a snapshot tells of them."""
    [process] = ask(running, "/api/snapshot").json["processes"]
    return [each for server in process["servers"] for each in server["connections"]]
