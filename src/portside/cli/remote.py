"""The other end of an admin endpoint: asks over HTTP, on TCP or a Unix socket."""

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any

from portside.cli.failure import Failure, Unreachable
from portside.endpoints import Endpoint

# Seconds for connecting and for an answer: a service with blocked hubs and stuck workers still answers within these.
PATIENCE = 15.0


class _Connection(http.client.HTTPConnection):
    """HTTP to an endpoint of any kind."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._endpoint = endpoint

    def connect(self) -> None:
        """Connect to the endpoint, whatever the address in the request is."""
        self.sock: socket.socket = self._endpoint.connect(PATIENCE)


class Remote:
    """A service, as its admin endpoint lets it be seen.

    Args:
        endpoint: the admin endpoint.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def snapshot(self, limit: int) -> dict[str, Any]:
        """Processes, servers, connections and metrics.

        Raises:
            Unreachable: nobody answers, or somebody else does.
        """
        return self._json("GET", f"/api/snapshot?limit={limit}")[1]

    def tell(self, path: str) -> dict[str, Any]:
        """What is at a path of the API. Raises as `snapshot` does."""
        return self._json("GET", path)[1]

    def metrics(self) -> str:
        """The metrics as text. Raises as `snapshot` does."""
        return self._ask("GET", "/metrics")[1].decode()

    def health(self) -> dict[str, bool]:
        """Whether every process answers, and is ready. Raises as `snapshot` does."""
        return {
            word: self._ask("GET", path)[0] == http.HTTPStatus.OK
            for word, path in (("healthy", "/healthz"), ("ready", "/readyz"))
        }

    def command(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Have something done; returns the replies.

        Raises:
            Failure: it was refused; the message says why.
            Unreachable: nobody answers, or somebody else does.
        """
        status, reply = self._json("POST", "/api/commands", json.dumps(command).encode())
        if status != http.HTTPStatus.OK:
            raise Failure(str(reply.get("error", reply)))
        return reply

    def _json(self, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
        status, content = self._ask(method, path, body)
        try:
            told = json.loads(content)
        except ValueError as error:
            raise self._stranger() from error
        if not isinstance(told, dict):
            raise self._stranger()
        return status, told

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = _Connection(self._endpoint)
        try:
            connection.request(method, path, body, {} if body is None else {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        except OSError as error:
            raise Unreachable(f"nobody answers at {self._endpoint}: {error.strerror or error}") from error
        except http.client.HTTPException as error:
            raise self._stranger() from error
        finally:
            connection.close()

    def _stranger(self) -> Unreachable:
        return Unreachable(f"what answers at {self._endpoint} is no admin endpoint of Portside's")
