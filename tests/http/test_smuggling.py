"""Request smuggling: every row of `ambiguous.py` on the wire, directly and through real proxies in front."""

import json
import re
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from portside.http.limits import HTTPLimits
from tests.conftest import DEADLINE
from tests.http.ambiguous import ROWS, Row
from tests.http.conftest import Dial, Serve
from tests.http.kit import Client, get, serving
from tests.http.test_handler import Quiet
from tests.proxies import proxy

# Rows after which the connection goes on: a handler of HTTP/1.0 requests ends it.
ENDS = ("no Host in HTTP/1.0",)


class Tells(Quiet):
    """Answers with what it was asked, and keeps it."""

    http_limits = HTTPLimits(linger_seconds=0.2)
    seen: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read()
        self.seen.append(self.path)
        told = {"path": self.path, "host": str(self.headers["Host"]), "body": body.decode("latin-1")}
        self.answer(json.dumps(told).encode())

    do_GET = do_POST


def teller() -> Any:
    return type("Teller", (Tells,), {"seen": []})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_directly(serve: Serve, dial: Dial, row: Row) -> None:
    handler = teller()
    client = dial(serve(handler))
    client.send(row.wire)
    if row.status != 200:
        assert client.response().status == row.status
        client.end()
        client.rest()  # whatever it is, no handler has seen a request
        assert handler.seen == []
        return
    told = json.loads(client.response().body)
    assert (told["path"].removeprefix("http://test"), told["body"].encode("latin-1")) == ("/row", row.body)
    assert told["host"] == row.host
    if row.name not in ENDS:
        client.send(get("/after"))
        assert json.loads(client.response().body)["path"] == "/after"
    assert "/smuggled" not in handler.seen


def test_names_of_rows_differ() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


# Proxies in front

NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  upstream portside {{ server 127.0.0.1:{backend}; keepalive 1; }}
  server {{
    listen 127.0.0.1:{port}; ignore_invalid_headers off; underscores_in_headers on;
    location / {{
      proxy_pass http://portside; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_request_buffering off; proxy_ignore_client_abort on;
    }}
  }}
}}
"""

HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
  http-reuse always
  option accept-invalid-http-request
frontend front
  bind 127.0.0.1:{port}
  default_backend back
backend back
  server portside 127.0.0.1:{backend} maxconn 1
"""

PROXIES = {"nginx": NGINX, "haproxy": HAPROXY}


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.usefixtures("no_leaks")
def test_behind_a_proxy(name: str, tmp_path: Path) -> None:
    handler = teller()
    with (
        serving(handler) as server,
        proxy(name, tmp_path, PROXIES[name], backend=server.server_port) as address,  # one connection for all clients
    ):
        for row in ROWS:
            handler.seen.clear()
            answered = PATH.findall(everything(address, row.wire))
            assert handler.seen == [path.decode() for path in answered], row.name  # as many as the proxy has seen
            assert_in_step(address, row)


PATH = re.compile(rb'"path": "([^"]*)"')


def everything(address: tuple[str, int], wire: bytes) -> bytes:
    """What comes back for some bytes, up to the connection's end."""
    answer = b""
    with socket.create_connection(address, timeout=DEADLINE) as sock:
        sock.sendall(wire)
        sock.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while data := sock.recv(65536):
                answer += data
    return answer


def assert_in_step(address: tuple[str, int], row: Row) -> None:
    """Another client, on the proxy's same connection to the server, gets the answer to its own question."""
    with socket.create_connection(address, timeout=DEADLINE) as sock:
        client = Client(sock)
        client.send(get(f"/after/{ROWS.index(row)}"))
        response = client.response()
        client.file.close()
        assert response.status == 200, f"{row.name}: {response}"
        assert json.loads(response.body)["path"] == f"/after/{ROWS.index(row)}", row.name
