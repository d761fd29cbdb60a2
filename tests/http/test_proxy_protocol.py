"""HTTP behind proxies that speak the PROXY protocol: by hand, and through a real haproxy and a real nginx."""

import contextlib
import http.client
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portside import ProxyHeader, ProxyProtocol
from portside.http.servers import GreenHTTPServer, GreenHTTPSServer, ThreadingHTTPServer, ThreadingHTTPSServer
from portside.telemetry import Event, HandlerFailed, RequestServed, subscribe
from tests.conftest import DEADLINE, Connect
from tests.http.conftest import Dial, Serve
from tests.http.kit import Client, get, trusting
from tests.http.test_handler import Quiet
from tests.proxies import installed, proxy

CLIENT = ("203.0.113.9", 4711)
HEADER = ProxyHeader(source=CLIENT, destination=("203.0.113.1", 80)).encode(checksum=True)
LOCAL_PROXY = ProxyProtocol(trusted=["127.0.0.1"], timeout=DEADLINE)


class Tells(Quiet):
    """Answers with what it knows of its client."""

    def do_GET(self) -> None:
        told: dict[str, Any] = {"client": self.client_address, "name": self.address_string()}
        if self.proxy is not None:
            header = self.proxy.header
            told |= {"version": header.version, "proxy": self.proxy.address[0], "authority": header.authority}
            told |= {"unique_id": (header.unique_id or b"").decode()}
            if header.tls is not None:
                told |= {"tls": header.tls.version, "cn": header.tls.common_name, "verified": header.tls.verified}
                told |= {"key": header.tls.key_algorithm}
        self.answer(json.dumps(told).encode())


def behind(server_class: type) -> Any:
    return type(server_class.__name__, (server_class,), {"proxy_protocol": LOCAL_PROXY})


@contextlib.contextmanager
def told(*types: type[Event]) -> Iterator[list[Any]]:
    events: list[Any] = []
    with subscribe(events.append, *types):
        yield events


@pytest.mark.parametrize("server_class", [ThreadingHTTPServer, GreenHTTPServer], indirect=True)
def test_client_stays_who_it_is_from_request_to_request(serve: Serve, dial: Dial, server_class: Any) -> None:
    with told(RequestServed) as served:
        client = dial(serve(Tells, behind(server_class)))
        client.send(HEADER + get("/1"), get("/2"))
        answers = [json.loads(client.response().body) for _ in range(2)]
        client.send(get("/3", fields="Connection: close\r\n"))
        answers.append(json.loads(client.response().body))
        client.rest()
    assert [(each["client"], each["name"]) for each in answers] == [(list(CLIENT), CLIENT[0])] * 3
    assert [event.client_address for event in served] == [CLIENT] * 3


@pytest.mark.parametrize("server_class", [ThreadingHTTPSServer, GreenHTTPSServer])
def test_header_comes_before_tls(
    serve: Serve, connect: Connect, certificate: dict[str, Any], server_class: Any
) -> None:
    server = serve(Tells, behind(server_class), **certificate)
    sock = connect(server.server_address)
    sock.sendall(HEADER)
    client = Client(trusting(certificate).wrap_socket(sock, server_hostname="localhost"))
    client.send(get("/1"), get("/2", fields="Connection: close\r\n"))
    assert [json.loads(client.response().body)["client"] for _ in range(2)] == [list(CLIENT)] * 2
    client.close()


def test_request_without_a_header_is_not_answered(serve: Serve, dial: Dial) -> None:
    with told(HandlerFailed, RequestServed) as events:
        client = dial(serve(Tells, behind(ThreadingHTTPServer)))
        client.send(get("/"))
        assert client.rest() == b""
    assert events == []


# Through real ones

HAPROXY = """
defaults
  mode http
  timeout connect 10s
  timeout client 10s
  timeout server 10s
frontend front
  bind 127.0.0.1:{port} {bind}
  unique-id-format id-%pid
  default_backend back
backend back
  server portside 127.0.0.1:{backend} check check-send-proxy inter 100 {send}
"""

OPTIONS = "send-proxy-v2 proxy-v2-options "


def ask(connection: http.client.HTTPConnection) -> tuple[list[Any], dict[str, Any]]:
    """The client's own address, and what the server knows of it; by two requests, which agree."""
    answers: list[dict[str, Any]] = []
    for _ in range(2):
        connection.request("GET", "/")
        if not answers:
            own = list(connection.sock.getsockname())
        answers.append(json.loads(connection.getresponse().read()))
    first, second = answers
    assert first == second
    return own, first


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("send", "expected"),
    [
        ("send-proxy", {"version": 1}),
        ("send-proxy-v2", {"version": 2, "unique_id": ""}),
        (OPTIONS + "crc32c,unique-id", {"version": 2, "unique_id": "id-"}),
        ("send-proxy-v2-ssl", {"version": 2}),
    ],
    ids=["v1", "v2", "options", "ssl"],
)
@pytest.mark.parametrize("server_class", [ThreadingHTTPServer, GreenHTTPServer], indirect=True)
def test_behind_haproxy(serve: Serve, tmp_path: Path, server_class: Any, send: str, expected: dict[str, Any]) -> None:
    with told(HandlerFailed) as failed:
        server = serve(Tells, behind(server_class))
        with (
            proxy("haproxy", tmp_path, HAPROXY, backend=server.server_port, bind="", send=send) as (host, port),
            contextlib.closing(http.client.HTTPConnection(host, port, timeout=DEADLINE)) as connection,
        ):
            own, answer = ask(connection)
    assert (answer["client"], answer["proxy"], failed) == (own, "127.0.0.1", [])
    assert answer.get("unique_id", "").startswith(expected.pop("unique_id", ""))
    assert expected.items() <= answer.items()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_behind_haproxy_that_ends_tls(serve: Serve, tmp_path: Path, certificate: dict[str, Any]) -> None:
    pem = tmp_path / "both.pem"
    pem.write_text("".join(Path(file).read_text() for file in certificate.values()))
    context = trusting(certificate)
    context.load_cert_chain(pem)
    server = serve(Tells, behind(ThreadingHTTPServer))
    values = {
        "backend": server.server_port,
        "bind": f"ssl crt {pem} ca-file {pem} verify required",
        "send": OPTIONS + "ssl,cert-cn,ssl-cipher,cert-sig,cert-key,authority,crc32c",
    }
    with proxy("haproxy", tmp_path, HAPROXY, **values) as (_, port):
        connection = http.client.HTTPSConnection("localhost", port, timeout=DEADLINE, context=context)
        with contextlib.closing(connection):
            own, answer = ask(connection)
    told = {"authority": "localhost", "tls": "TLSv1.3", "cn": "localhost", "verified": True, "key": "EC256"}
    assert answer["client"] == own
    assert told.items() <= answer.items()


def test_haproxy_takes_the_pages_example(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "behind-a-proxy.md").read_text(encoding="utf-8")
    example = re.search(r"```haproxy\n(.*?)```", page, re.DOTALL)
    assert example
    file = tmp_path / "haproxy.cfg"
    file.write_text(example[1])
    subprocess.run([installed("haproxy"), "-c", "-f", str(file)], check=True, capture_output=True, timeout=60)


NGINX = """
{module}
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
stream {{
  server {{ listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{backend}; proxy_protocol on; }}
}}
"""


@pytest.fixture
def stream_module() -> str:
    """What nginx has to load to pass connections on."""
    told = subprocess.run([installed("nginx"), "-V"], capture_output=True, text=True, timeout=60, check=True).stderr
    if "--with-stream " in told:
        return ""
    found = list(Path("/usr/lib/nginx/modules").glob("ngx_stream_module.so"))
    if not found:
        pytest.skip("nginx has no stream module; on Debian: apt install libnginx-mod-stream")
    return f"load_module {found[0]};"


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_behind_nginx(serve: Serve, tmp_path: Path, stream_module: str) -> None:
    server = serve(Tells, behind(ThreadingHTTPServer))
    with (
        proxy("nginx", tmp_path, NGINX, backend=server.server_port, module=stream_module) as (host, port),
        contextlib.closing(http.client.HTTPConnection(host, port, timeout=DEADLINE)) as connection,
    ):
        own, answer = ask(connection)
    assert (answer["client"], answer["version"]) == (own, 1)
