"""Endpoints: what is read, what is refused and how, the round trip, and the sockets that come of them."""

import dataclasses
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portside import binding, endpoints
from portside.binding import bind_inet, bind_unix
from portside.endpoints import Endpoint, EndpointError, adopt

DEADLINE = 10.0  # seconds; no answer on the loopback takes as long

HAS_IPV6 = socket.has_dualstack_ipv6()
needs_ipv6 = pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path leaves room in the 108 bytes of a socket address, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="ps-") as path:
        yield Path(path)


def listening(endpoint: Endpoint) -> socket.socket:
    """A bound socket for the endpoint, listening if clients connect to it."""
    sock = socket.socket(endpoint.family, endpoint.type)
    sock.settimeout(DEADLINE)
    if endpoint.path:
        bind_unix(sock, endpoint.address, mode=endpoint.mode)
    else:
        is_dual_stack = endpoint.is_dual_stack
        bind_inet(sock, endpoint.address, reuse_address=False, reuse_port=False, dual_stack=is_dual_stack)
    if endpoint.is_stream:
        sock.listen()
    return sock


def refusal(text: Any) -> str:
    """What `parse` says against a text."""
    with pytest.raises(EndpointError) as caught:
        Endpoint.parse(text)
    return str(caught.value)


# Reading and writing

FORMS = {
    "tcp://127.0.0.1:9000": Endpoint(scheme="tcp", port=9000),
    "tcp://example.org:80": Endpoint(scheme="tcp", host="example.org", port=80),
    "tcp://my_box.:80": Endpoint(scheme="tcp", host="my_box.", port=80),
    "tcp://:0": Endpoint(scheme="tcp", host="", port=0),
    "tcp://[::1]:9000": Endpoint(scheme="tcp", host="::1", port=9000),
    "tcp://[fe80::1%eth0]:9000": Endpoint(scheme="tcp", host="fe80::1%eth0", port=9000),
    "tcp://127.0.0.1:1?backlog=128&reuse_port=1": Endpoint(scheme="tcp", port=1, backlog=128, reuse_port=True),
    "udp://:53?reuse_port=1": Endpoint(scheme="udp", host="", port=53, reuse_port=True),
    "unix:/run/app.sock": Endpoint(scheme="unix", path="/run/app.sock"),
    "unix:app.sock?mode=660&backlog=5": Endpoint(scheme="unix", path="app.sock", mode=0o660, backlog=5),
    "unix:/run/a?mode=000": Endpoint(scheme="unix", path="/run/a", mode=0),
    "unix:@name": Endpoint(scheme="unix", path="@name"),
    "unix:./@file": Endpoint(scheme="unix", path="./@file"),
    "unix:/%2Fhost": Endpoint(scheme="unix", path="//host"),
    "unix:/a%20b%25%3F%23%0A": Endpoint(scheme="unix", path="/a b%?#\n"),
    "unix:/%C3%A9%FF": Endpoint(scheme="unix", path="/é\udcff"),
    "unixgram:/run/log?mode=622": Endpoint(scheme="unixgram", path="/run/log", mode=0o622),
    "fd:3": Endpoint(scheme="fd", fd=3),
}
OTHER_SPELLINGS: dict[str | int, str] = {
    "9000": "tcp://127.0.0.1:9000",
    9000: "tcp://127.0.0.1:9000",
    "tcp://LocalHost:080": "tcp://localhost:80",
    "tcp://[0:0:0:0:0:0:0:1]:1": "tcp://[::1]:1",
    "tcp://[FE80::1%Eth0]:1": "tcp://[fe80::1%Eth0]:1",
    "tcp://:1?reuse_port=0": "tcp://:1",
    "tcp://:1?reuse_port=true&backlog=7": "tcp://:1?backlog=7&reuse_port=1",
    "unix:/a?mode=0660": "unix:/a?mode=660",
    "unix:///run/a": "unix:/run/a",
    "unix:/é": "unix:/%C3%A9",
    "unix:/\udcc3%A9": "unix:/%C3%A9",
    "unix:%40name": "unix:@name",
}


@pytest.mark.parametrize("text", FORMS)
def test_form_is_read_and_written(text: str) -> None:
    assert Endpoint.parse(text) == FORMS[text]
    assert str(FORMS[text]) == text


@pytest.mark.parametrize("text", OTHER_SPELLINGS, ids=ascii)
def test_other_spelling_has_a_canonical_one(text: str | int) -> None:
    assert str(Endpoint.parse(text)) == OTHER_SPELLINGS[text]


def test_endpoint_is_its_own_reading() -> None:
    endpoint = Endpoint(scheme="tcp")
    assert Endpoint.parse(endpoint) is endpoint


FIELD = "port"  # apart, so that neither linter nor type checker minds the assignment


def test_endpoint_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(Endpoint(scheme="tcp"), FIELD, 1)


REFUSED: dict[str | int | None, str] = {
    "": "scheme '' is unknown",
    "http://127.0.0.1:80": "scheme 'http' is unknown; accepted are tcp://HOST:PORT",
    "TCP://:1": "scheme 'TCP' is unknown",
    "localhost:9000": "scheme 'localhost' is unknown",
    " 9000": "character ' ' is not accepted",
    "9000\n": r"character '\n' is not accepted",
    "unix:/a\0b": r"character '\x00' is not accepted",
    "unix:/a#b": "character '#' is not accepted",
    "70000": "port 70000 is not accepted; accepted is 0 to 65535",
    "9" * 5000: "port '9999",
    -1: "scheme '-1' is unknown",
    None: "scheme 'None' is unknown",
    "٩٠٠٠": "is unknown",
    "tcp:127.0.0.1:80": "two slashes are missing",
    "tcp://127.0.0.1": "the port is missing",
    "tcp://127.0.0.1:": "the port is missing",
    "tcp://127.0.0.1:٨٠": "port '٨٠' is not accepted",
    "tcp://127.0.0.1:80/": "port '80/' is not accepted",
    "tcp://127.0.0.1:65536": "port 65536 is not accepted",
    "tcp://::1:80": "in brackets, as in [::1]:9000",
    "tcp://[]:80": "in brackets",
    "tcp://[localhost]:80": "in brackets",
    "tcp://[::g]:80": "host '::g' is no IPv6 address",
    "tcp://[::1%a$b]:80": "zone 'a$b' is no interface",
    "tcp://[::1%4294967296]:80": "zone '4294967296' is no interface",
    "tcp://127.1:80": "host '127.1' is no IPv4 address; write four numbers",
    "tcp://256.0.0.1:80": "host '256.0.0.1' is no IPv4 address",
    "tcp://0x7f000001:80": "is no IPv4 address",
    "tcp://*:80": "host '*' is no name; accepted are letters",
    "tcp://a..b:80": "host 'a..b' is no name",
    "tcp://-a:80": "host '-a' is no name",
    "tcp://bücher.example:80": "as xn--...",
    f"tcp://{'a.' * 127}a:80": "is no name",
    "tcp://:1?": "tcp has no option ''; it takes backlog and reuse_port",
    "tcp://:1?mode=660": "tcp has no option 'mode'",
    "udp://:1?backlog=5": "udp has no option 'backlog'; it takes reuse_port",
    "fd:3?mode=660": "fd has no option 'mode'; it takes none",
    "tcp://:1?backlog=1&backlog=1": "the option backlog is given twice",
    "tcp://:1?backlog=0": "backlog 0 is not accepted; accepted is 1 to 65535",
    "tcp://:1?backlog": "backlog '' is not accepted",
    "tcp://:1?reuse_port=yes": "reuse_port 'yes' is not accepted; accepted are 1, 0, true, false",
    "unix:": "the path is empty",
    "unix:@": "the path is empty",
    "unix:?mode=660": "the path is empty",
    "unix://host/path": "a host does not belong to a path",
    "unix:/a%2": "a % without two hexadecimal digits",
    "unix:/a%00": "cannot hold the character NUL",
    "unix:/\ud800": "a lone surrogate",
    "unix:/a?mode=888": "mode '888' is not accepted; accepted is 000 to 777",
    "unix:/a?mode=1777": "mode '1777' is not accepted",
    "unix:@a?mode=660": "mode does not belong to an abstract name",
    "fd:": "fd '' is not accepted; accepted is 0 to 2147483647",
    "fd:-1": "fd '-1' is not accepted",
    "fd:2147483648": "fd 2147483648 is not accepted",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: ascii(text)[:60])
def test_refusal_is_one_sentence_that_names_text_and_remedy(text: str | int | None) -> None:
    message = refusal(text)
    assert message.startswith(f"endpoint {str(text)[:80]!r}"[:80])
    assert REFUSED[text] in message
    assert re.search("; (accepted|it takes|write|give|leave|in a path)", message)
    assert "\n" not in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scheme": "tcp", "path": "/a"}, "path does not belong to tcp; it takes host, port, backlog, reuse_port"),
        ({"scheme": "unix", "path": "/a", "port": 1}, "port does not belong to unix"),
        ({"scheme": "fd", "fd": 3, "backlog": 5}, "backlog does not belong to fd"),
        ({"scheme": "fd"}, "fd -1 is not accepted"),
        ({"scheme": "tcp", "port": -1}, "port -1 is not accepted"),
        ({"scheme": "tcp", "host": "[::1]"}, "is no IPv6 address"),
        ({"scheme": "unix", "path": "/a", "mode": 0o1777}, "mode 1777 is not accepted"),
        ({"scheme": "unix", "path": "/\udcc3\udca9"}, "spells a character as surrogates"),
        ({"scheme": "http"}, "scheme 'http' is unknown"),
    ],
)
def test_endpoint_made_by_hand_is_checked_too(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(EndpointError, match=re.escape(said)):
        Endpoint(**fields)


SCHEMES = ["tcp", "udp", "unix", "unixgram", "fd"]
SIGNS = [*":/[]%?&=@.-", "//", "%41", "%eth0", "\0", "é", "\udcff", "\ud800"]
WORDS = ["mode", "backlog", "reuse_port", "660", "1", "65535", "127.0.0.1", "::1", "a.b"]
PIECES = st.sampled_from([*SCHEMES, *SIGNS, *WORDS])
PATH_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
PATHS = st.text(PATH_CHARACTERS, min_size=1).filter(lambda path: path != "@")
PORTS = st.integers(0, 65535)
HOSTS = st.one_of(
    st.just(""),
    st.ip_addresses().map(str),
    st.ip_addresses(v=6).map(lambda address: f"{address}%eth0"),
    st.from_regex(r"[a-z]([a-z0-9_-]{0,60}[a-z])?(\.[a-z]+){0,3}", fullmatch=True),
)
INET = {"host": HOSTS, "port": PORTS, "reuse_port": st.booleans()}
MODES = st.none() | st.integers(0, 0o777)
BACKLOGS = st.none() | st.integers(1, 65535)
ABSTRACT = PATHS.map(lambda name: f"@{name}")
FILES = PATHS.filter(lambda path: not path.startswith("@"))
ENDPOINTS = st.one_of(
    st.builds(Endpoint, scheme=st.just("tcp"), backlog=BACKLOGS, **INET),
    st.builds(Endpoint, scheme=st.just("udp"), **INET),
    st.builds(Endpoint, scheme=st.just("unix"), path=FILES, mode=MODES, backlog=BACKLOGS),
    st.builds(Endpoint, scheme=st.just("unix"), path=ABSTRACT, backlog=BACKLOGS),
    st.builds(Endpoint, scheme=st.just("unixgram"), path=FILES, mode=MODES),
    st.builds(Endpoint, scheme=st.just("fd"), fd=st.integers(0, 2**31 - 1)),
)


@given(st.lists(PIECES).map("".join) | st.text())
@example("unix:/\udcc3\udca9")
@example("tcp://[::1%]:1")
def test_any_text_round_trips_or_is_refused(text: str) -> None:
    try:
        endpoint = Endpoint.parse(text)
    except EndpointError:
        return
    assert Endpoint.parse(str(endpoint)) == endpoint
    assert str(endpoint).isascii()


@given(ENDPOINTS)
def test_any_endpoint_round_trips(endpoint: Endpoint) -> None:
    assert Endpoint.parse(str(endpoint)) == endpoint


# What sockets need


def no_resolver(*_args: object, **_kwargs: object) -> list[Any]:
    raise AssertionError("the resolver was asked")


@pytest.mark.parametrize(
    ("text", "family", "address"),
    [
        ("tcp://127.0.0.1:1", socket.AF_INET, ("127.0.0.1", 1)),
        ("tcp://[::1]:1", socket.AF_INET6, ("::1", 1)),
        ("tcp://[::1%3]:1", socket.AF_INET6, ("::1", 1, 0, 3)),
        ("unix:/a", socket.AF_UNIX, "/a"),
        ("unix:@a", socket.AF_UNIX, "\0a"),
    ],
)
def test_numeric_addresses_never_ask_the_resolver(
    text: str, family: socket.AddressFamily, address: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", no_resolver)
    endpoint = Endpoint.parse(text)
    assert (endpoint.family, endpoint.address) == (family, address)
    assert endpoint.is_dual_stack is False


@pytest.mark.parametrize(
    ("found", "family"),
    [
        ([socket.AF_INET6, socket.AF_INET], socket.AF_INET),
        ([socket.AF_INET6], socket.AF_INET6),
    ],
)
def test_name_is_ipv4_when_it_can_be(
    found: list[socket.AddressFamily], family: socket.AddressFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: [(one,) for one in found])
    assert Endpoint.parse("tcp://name:1").family == family


@pytest.mark.parametrize(
    ("is_capable", "family", "host"), [(True, socket.AF_INET6, "::"), (False, socket.AF_INET, "0.0.0.0")]
)
def test_empty_host_is_all_interfaces(
    is_capable: bool, family: socket.AddressFamily, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: is_capable)
    endpoint = Endpoint.parse("udp://:5")
    assert endpoint.is_dual_stack
    assert (endpoint.family, endpoint.address) == (family, (host, 5))


def test_type_follows_the_scheme() -> None:
    kinds = {scheme: Endpoint.parse(text).type for scheme, text in [("tcp", "1"), ("udp", "udp://:1")]}
    assert kinds == {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
    assert Endpoint.parse("unix:/a").is_stream
    assert not Endpoint.parse("unixgram:/a").is_stream


@needs_ipv6
def test_zone_becomes_the_index_of_its_interface() -> None:
    index, name = socket.if_nameindex()[0]
    assert Endpoint.parse(f"tcp://[fe80::1%{name}]:5").address == ("fe80::1", 5, 0, index)
    with pytest.raises(OSError, match="no interface is called 'nope0'"):
        _ = Endpoint.parse("tcp://[fe80::1%nope0]:5").address


def link_local() -> str | None:
    """A link-local address of this machine with its zone."""
    rows = [line.split() for line in Path("/proc/net/if_inet6").read_text().splitlines()] if HAS_IPV6 else []
    found = [row for row in rows if row[0].startswith("fe80")]
    return f"{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(found[0][0]))}%{found[0][-1]}" if found else None


@pytest.mark.skipif(link_local() is None, reason="this machine has no link-local address")
@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_zone_is_bound_reported_and_reached(scheme: str) -> None:
    with listening(Endpoint.parse(f"{scheme}://[{link_local()}]:0")) as server:
        bound = Endpoint.from_socket(server)
        assert bound.host == link_local()
        with bound.connect(DEADLINE) as client:
            assert client.getpeername()[1] == bound.port


def test_system_without_unix_sockets_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "_AF_UNIX", None)
    with pytest.raises(EndpointError, match="no Unix sockets; use tcp"):
        _ = Endpoint.parse("unix:/a").family


# Bound and connected


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:0", "tcp://localhost:0", "tcp://0.0.0.0:0"])
def test_tcp_client_reaches_what_was_bound(text: str) -> None:
    with listening(Endpoint.parse(text)) as server:
        bound = Endpoint.from_socket(server)
        assert bound.port == server.getsockname()[1]
        assert Endpoint.parse(str(bound)) == bound
        with bound.connect(DEADLINE) as client:
            assert client.gettimeout() == DEADLINE
            assert client.getpeername()[1] == bound.port


@needs_ipv6
@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_one_port_serves_both_families(scheme: str) -> None:
    with listening(Endpoint.parse(f"{scheme}://:0")) as server:
        bound = Endpoint.from_socket(server)
        assert (bound.host, bound.is_dual_stack) == ("", True)
        for host in ("127.0.0.1", "::1", ""):
            with dataclasses.replace(bound, host=host).connect(DEADLINE) as client:
                assert client.getpeername()[1] == bound.port


@needs_ipv6
def test_ipv6_only_socket_is_no_empty_host() -> None:
    with socket.socket(socket.AF_INET6) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("::", 0))
        assert Endpoint.from_socket(sock).host == "::"


def test_udp_client_is_answered() -> None:
    with listening(Endpoint.parse("udp://localhost:0")) as server:
        bound = Endpoint.parse(f"udp://localhost:{server.getsockname()[1]}")
        with bound.connect(DEADLINE) as client:
            client.send(b"ping")
            data, sender = server.recvfrom(16)
            server.sendto(data.upper(), sender)
            assert client.recv(16) == b"PING"


@pytest.mark.parametrize("has_autobind", [True, False])
def test_unixgram_client_is_answered(has_autobind: bool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "_HAS_AUTOBIND", has_autobind)
    endpoint = Endpoint(scheme="unixgram", path=str(folder / "log"))
    with listening(endpoint) as server:
        assert Endpoint.from_socket(server) == endpoint
        with endpoint.connect(DEADLINE) as client:
            client.send(b"ping")
            data, sender = server.recvfrom(16)
            assert os.path.exists(sender) is not has_autobind
            server.sendto(data.upper(), sender)
            assert client.recv(16) == b"PING"
        del client
        assert not os.path.exists(sender)


@pytest.mark.parametrize("path", ["s", "@file", "a b?", "é"])
def test_unix_client_reaches_a_file(path: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    endpoint = Endpoint(scheme="unix", path=f"./{path}")
    with listening(endpoint) as server:
        assert Endpoint.from_socket(server) == endpoint
        endpoint.connect(DEADLINE).close()


def test_relative_file_that_looks_abstract_is_told_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("@file")
        assert str(Endpoint.from_socket(sock)) == "unix:./@file"


def test_unix_client_reaches_an_abstract_name() -> None:
    endpoint = Endpoint(scheme="unix", path=f"@portside-{os.getpid()}")
    with listening(endpoint) as server:
        assert Endpoint.from_socket(server) == endpoint
        endpoint.connect(DEADLINE).close()


def test_socket_without_a_name_is_no_endpoint() -> None:
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(EndpointError, match="path is empty"):
        Endpoint.from_socket(sock)


def test_socket_of_another_family_is_no_endpoint() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock, pytest.raises(EndpointError, match="SEQPACKET"):
        Endpoint.from_socket(sock)


def test_connect_tries_each_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(Endpoint(scheme="tcp")) as server, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # bound, not listening: refuses
        stream = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
        found = [(*stream, silent.getsockname()), (*stream, server.getsockname())]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: found)
        with Endpoint(scheme="tcp", host="two.example", port=1).connect(DEADLINE) as client:
            assert client.getpeername() == server.getsockname()


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_failed_connection_names_the_endpoint(scheme: str, folder: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        endpoint = {
            "tcp": Endpoint.from_socket(silent),
            "unix": Endpoint(scheme="unix", path=str(folder / "none")),
        }[scheme]
        with pytest.raises(OSError) as caught:
            endpoint.connect(DEADLINE)
    assert caught.value.__notes__ == [f"while connecting to {endpoint}"]


# Inherited descriptors


def test_descriptor_describes_itself() -> None:
    with listening(Endpoint(scheme="tcp")) as server:
        endpoint = Endpoint(scheme="fd", fd=server.fileno())
        assert (endpoint.family, endpoint.type) == (socket.AF_INET, socket.SOCK_STREAM)
        assert endpoint.address == server.getsockname()
        assert endpoint.is_stream


def test_adopted_descriptor_is_the_socket() -> None:
    with listening(Endpoint(scheme="udp")) as server:
        server.set_inheritable(True)
        address = server.getsockname()
        with adopt(server.detach()) as sock:
            assert (sock.getsockname(), sock.type) == (address, socket.SOCK_DGRAM)
            assert not sock.get_inheritable()


def test_what_is_no_socket_is_not_adopted_and_not_closed() -> None:
    reader, writer = os.pipe()
    with pytest.raises(EndpointError, match=rf"fd:{reader} is no open socket \(.*\); name a descriptor"):
        adopt(reader)
    os.close(reader)
    os.close(writer)
    with pytest.raises(EndpointError, match="is no open socket"):
        _ = Endpoint(scheme="fd", fd=reader).family


def test_descriptor_is_not_connected() -> None:
    with pytest.raises(EndpointError, match="fd:3 is a socket already"):
        Endpoint(scheme="fd", fd=3).connect()


def test_temporary_address_leaves_no_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "_HAS_AUTOBIND", False)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with pytest.raises(FileNotFoundError):
        Endpoint(scheme="unixgram", path=str(folder / "none")).connect(DEADLINE)
    assert list(folder.iterdir()) == []
