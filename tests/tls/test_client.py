"""The modern face with TLS: endpoints, `serve`, and the client's side."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import portside
from portside import ClientTLS, ContextTLS, Endpoint, EndpointError, StreamRequestHandler
from portside.core import hub
from portside.framing import LengthPrefixed
from tests.conftest import DEADLINE
from tests.engines.instruments import BULK, pattern
from tests.tls.handlers import Tells, TellsAsync
from tests.tls.kit import PKI

pytestmark = pytest.mark.usefixtures("no_leaks")


class Farewell(StreamRequestHandler):
    """What it heard, when the client has said everything."""

    def handle(self) -> None:
        self.wfile.write(self.rfile.read())


@contextmanager
def talking(pki: PKI, handler: Any, endpoint: str = "tls://localhost:0", **options: Any) -> Iterator[Any]:
    """A server, and a client that trusts it."""
    trust = options.pop("trust", {})
    options.setdefault("tls", pki.tls())
    codec = options.pop("codec", None)
    with portside.start(handler, endpoint, **options) as server:
        where = Endpoint.parse(str(server.endpoint).replace("127.0.0.1", "localhost"))
        with portside.connect(where, timeout=DEADLINE, codec=codec, tls=ClientTLS(ca=pki.ca, **trust)) as client:
            yield client


@pytest.mark.parametrize("engine", ["serial", "threads", "forks", "green", "async"])
def test_every_engine(pki: PKI, engine: Any) -> None:
    handler = TellsAsync if engine == "async" else Tells
    with talking(pki, handler, engine=engine) as client:
        client.send(b"hello")
        assert client.receive() == b"None TLSv1.3 TLS_AES_256_GCM_SHA384 None localhost"
        assert client.socket.version() == "TLSv1.3"


@pytest.mark.parametrize("engine", ["threads", "forks", "green"])
def test_answers_arrive_after_the_clients_end(pki: PKI, engine: Any) -> None:
    with talking(pki, Farewell, engine=engine) as client:
        client.wfile.write(pattern(BULK))
        client.end()
        assert client.rfile.read() == pattern(BULK)


def test_certificate_in_the_endpoint(pki: PKI) -> None:
    where = f"https://127.0.0.1:0?cert={pki.local.with_suffix('.crt')}&key={pki.local.with_suffix('.key')}"
    with portside.start(Tells, where) as server:
        assert str(server.endpoint).startswith("https://127.0.0.1:")
        assert server.endpoint.cert == ""
        with portside.connect(server.endpoint, tls=ClientTLS(ca=pki.ca, alpn=("http/1.1",))) as client:
            assert client.socket.selected_alpn_protocol() == "http/1.1"


def test_client_shows_its_certificate_and_speaks_a_protocol(pki: PKI) -> None:
    tls = pki.tls(client_ca=pki.ca, alpn=("spam",))
    with talking(pki, Tells, tls=tls, trust={"cert": pki.ann, "alpn": ("eggs", "spam")}) as client:
        client.send(b"hello")
        assert client.receive() == b"Ann TLSv1.3 TLS_AES_256_GCM_SHA384 spam localhost"


def test_who_is_not_trusted_is_not_talked_to(pki: PKI) -> None:
    with portside.start(Tells, "tls://127.0.0.1:0", tls=pki.tls()) as server:
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            portside.connect(server.endpoint)
        assert caught.value.__notes__ == [f"while connecting to {server.endpoint}"]
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            portside.connect(server.endpoint, tls=ClientTLS(ca=pki.ca, server_name="example.org"))
        for tls in (ClientTLS(verify=False), pki.trusting()):
            with portside.connect(server.endpoint, tls=tls) as client:
                client.send(b"hello")
                assert client.receive().endswith(b"None 127.0.0.1") or client.socket.server_hostname == "127.0.0.1"


def test_server_that_is_silent_or_speaks_no_tls(pki: PKI) -> None:
    trust = ClientTLS(ca=pki.ca)
    plain = portside.start(lambda request, *_: request.sendall(b"220 hello\r\n"), 0)
    with plain as server, pytest.raises(ssl.SSLError):
        portside.connect(server.endpoint, tls=trust, timeout=DEADLINE)
    silent = portside.start(lambda request, *_: request.recv(1000) and request.recv(1), 0)
    with silent as server, pytest.raises(TimeoutError):
        portside.connect(server.endpoint, tls=trust, timeout=0.05)


def test_frames_and_tasks(pki: PKI) -> None:
    """A green client, one of whose tasks writes while the other reads."""
    codec = LengthPrefixed(max_size=BULK)

    class Echo(portside.FramedRequestHandler):
        def handle(self) -> None:
            for frame in self.frames:
                self.send(frame)

    Echo.codec = codec
    frames = [pattern(size) for size in (0, 1, 70_000, BULK)]
    with portside.start(Echo, "tls://127.0.0.1:0", engine="green", tls=pki.tls()) as server:
        port = server.endpoint.port

        def talk() -> list[bytes]:
            trust = ClientTLS(ca=pki.ca)
            with portside.connect(f"tls://127.0.0.1:{port}", timeout=DEADLINE, codec=codec, tls=trust) as client:
                writing = hub.get_hub().spawn(lambda: client.send(*frames))
                found = [client.receive() for _ in frames]
                writing.result(DEADLINE)
                return found

        assert hub.run(talk) == frames


def test_deadline_of_a_client(pki: PKI) -> None:
    with talking(pki, Farewell) as client:
        with pytest.raises(TimeoutError), client.deadline(0.05):
            client.receive()
        client.send(b"still here")
        client.end()
        assert client.receive() == b"still here"


def wrong(pki: PKI, what: str, **options: Any) -> portside.Service:
    where = tuple(Endpoint.parse(each) for each in what.format(cert=pki.local).split())
    return portside.Service(handler=print, endpoints=where, **options)


def test_what_does_not_go_together_is_told_before_anything_binds(pki: PKI) -> None:
    with pytest.raises(ValueError, match=r"tls://127.0.0.1:1 has no certificate: add \?cert=FILE&key=FILE"):
        wrong(pki, "tls://127.0.0.1:1")
    with pytest.raises(ValueError, match="names a certificate, and so does tls="):
        wrong(pki, "tls://127.0.0.1:1?cert={cert}", tls=pki.tls())
    with pytest.raises(ValueError, match="for starttls=True write tcp://"):
        wrong(pki, "tls://127.0.0.1:1", tls=pki.tls(starttls=True))
    with pytest.raises(TypeError, match="cannot have TLS"):
        wrong(pki, "udp://127.0.0.1:1", tls=pki.tls())
    with pytest.raises(TypeError, match=r"is no TLS: write TLS\(cert, key\), or ContextTLS\(context\)"):
        wrong(pki, "1", tls=pki.trusting())
    with pytest.raises(ValueError, match=r"'nowhere.pem' cannot be read"):
        wrong(pki, "tls://127.0.0.1:1?cert=nowhere.pem")
    with pytest.raises(TypeError, match="which is for connections: leave"):
        portside.connect("udp://127.0.0.1:1", tls=ClientTLS(ca=pki.ca))
    with pytest.raises(TypeError, match="is an SSLContext: write"):
        kind = type("Server", (portside.socketserver.TCPServer,), {"tls": pki.trusting()})
        with kind(("127.0.0.1", 0), print) as server:
            server.handle_request()
    assert wrong(pki, "1", tls=ContextTLS(pki.tls().context())).encryption[0] is not None


def test_attribute_of_a_programs_own_is_left_alone() -> None:
    kind = type("Server", (portside.socketserver.ThreadingTCPServer,), {"tls": True, "timeout": 0})
    with kind(("127.0.0.1", 0), print) as server:
        server.handle_request()


def test_text_of_endpoints() -> None:
    for text, canonical in {
        "https://Example.org": "https://example.org:443",
        "https://[::1]": "https://[::1]:443",
        "tls://:9000?key=b%20b.key&cert=/a/b%26c.pem": "tls://:9000?cert=/a/b%26c.pem&key=b%20b.key",
    }.items():
        assert str(Endpoint.parse(text)) == canonical
        assert Endpoint.parse(canonical) == Endpoint.parse(text)
    for text, complaint in {
        "tls://127.0.0.1": "the port is missing",
        "tls://:1?key=a": "key is given without cert",
        "tls://:1?cert=%0": "write %25 for the character itself",
        "tls://:1?cert=%00": "NUL",
        "tcp://:1?cert=a": "tcp has no option 'cert'",
        "https://example.org/path": "is no name",
    }.items():
        with pytest.raises(EndpointError, match=complaint):
            Endpoint.parse(text)
