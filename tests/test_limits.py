"""What limits accept, what counts as a host, and how often one may come."""

import ipaddress
import math
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import portside
from portside.frames import bounded
from portside.framing import Codec, Fixed, LengthPrefixed, Lines
from portside.policy import rates
from portside.policy.hosts import Address, Family, Network, host_of, network, parsed
from portside.policy.limits import Limits
from portside.policy.rates import Rates
from tests.conftest import StillClock

# Limits


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("connections", value) for value in (0, -1, 1.5, "many", True, 2**31)),
        *(("burst_per_host", value) for value in (0, None)),
        *(("idle_seconds", value) for value in (0, -1.0, math.nan, math.inf, "1", False)),
        *(("min_rate_seconds", value) for value in (0, None)),
        *(("refusal", value) for value in ("busy\n", 1, bytes(1_025))),
    ],
)
def test_a_wrong_limit_is_told_in_a_sentence(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match="is not accepted; accepted is") as failure:
        Limits(**{field: value})
    assert str(failure.value).startswith(f"Limits({field}={value!r})")


def test_limits_are_keywords_and_frozen() -> None:
    maker: Any = Limits
    with pytest.raises(TypeError):
        maker(5)
    limits: Any = Limits()
    with pytest.raises(AttributeError):
        limits.connections = 5


@pytest.mark.parametrize("options", [{"limits": 5}, {"access": ["10.0.0.0/8"]}], ids=["limits", "access"])
def test_a_service_takes_nothing_else_for_a_policy(options: dict[str, Any]) -> None:
    endpoints = (portside.Endpoint.parse("tcp://127.0.0.1:0"),)
    with pytest.raises(TypeError, match=r"must be portside\."):
        portside.Service(handler=print, endpoints=endpoints, **options)


def test_the_modern_face_has_limits_and_the_other_has_none() -> None:
    with portside.start(print, "tcp://127.0.0.1:0") as server:
        assert server.servers[0].limits == Limits()
        assert isinstance(server.servers[0].access, portside.Access)
    with portside.start(print, "tcp://127.0.0.1:0", limits=None) as server:
        assert server.servers[0].limits is None
    assert (portside.socketserver.TCPServer.limits, portside.socketserver.TCPServer.access) == (None, None)


@pytest.mark.parametrize(
    ("codec", "longest", "expected"),
    [
        (Lines(max_size=100), 10, 10),
        (Lines(max_size=100), 1_000, 100),
        (Lines(max_size=100), None, 100),
        (LengthPrefixed(max_size=100), 10, 10),
        (Fixed(size=100), 10, 100),
    ],
)
def test_frames_are_bounded_by_the_shorter_of_both(codec: Codec, longest: int | None, expected: int) -> None:
    assert bounded(codec, longest).max_size == expected


# Hosts

V4 = st.integers(min_value=0, max_value=2**32 - 1)
V6 = st.integers(min_value=0, max_value=2**128 - 1)


@given(V4)
def test_an_ipv4_address_is_one_host_in_every_notation(bits: int) -> None:
    text = str(ipaddress.IPv4Address(bits))
    mapped = ipaddress.IPv6Address(0xFFFF_0000_0000 | bits)
    for each in (text, f"::ffff:{text}", str(mapped), mapped.exploded):
        assert parsed(each) == Address(Family.V4, bits)
        assert host_of((each, 1)) == bits


@given(V6, V6)
def test_an_ipv6_network_of_64_bits_is_one_host(one: int, other: int) -> None:
    first, second = ipaddress.IPv6Address(one), ipaddress.IPv6Address(one >> 64 << 64 | other & (2**64 - 1))
    if first.ipv4_mapped is None and second.ipv4_mapped is None:
        assert host_of((str(first), 1, 0, 0)) == host_of((f"{second}%eth0", 2, 0, 3))
        assert host_of((str(first), 1)) not in range(2**32)


@given(st.text())
def test_any_text_is_an_address_or_none(text: str) -> None:
    found = parsed(text)
    assert found is None or 0 <= found.bits < 2**found.family


@given(st.text() | st.sampled_from(["1.2.3.4", "::1", "10.0.0.0/8", "::/0", "1.2.3.4/99", "::ffff:1.2.3.0/120"]))
def test_any_text_is_a_network_or_a_value_error(text: str) -> None:
    try:
        found = network(text)
    except ValueError:
        return
    assert found.bits % 2 ** (found.family - found.length) == 0


def test_networks() -> None:
    assert network("10.0.0.0/8") == Network(Family.V4, 8, 10 << 24)
    assert network("::ffff:10.0.0.0/104") == Network(Family.V4, 8, 10 << 24)
    assert network(ipaddress.ip_network("2001:db8::/32")) == Network(Family.V6, 32, 0x20010DB8 << 96)
    assert network("::1") == Network(Family.V6, 128, 1)
    with pytest.raises(ValueError, match="is no network; accepted are texts such as"):
        network("10.0.0.1/8")


@pytest.mark.parametrize("address", ["", None, b"\0name", "/run/app.sock", (), (5, 6), ("a host", 1)])
def test_who_has_no_address_is_no_host(address: object) -> None:
    assert host_of(address) is None


# Rates


class Bucket:
    """A token bucket as the books have it."""

    def __init__(self, rate: float, burst: int) -> None:
        self.rate, self.burst, self.tokens, self.then = rate, burst, float(burst), 0.0

    def takes(self, now: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.then) * self.rate)
        self.then = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


# Powers of two, so that neither side rounds.
STEPS = st.lists(st.tuples(st.sampled_from([0.0, 0.125, 0.5, 1.0, 8.0, 64.0]), st.integers(0, 2)), max_size=60)


@given(st.sampled_from([0.25, 1.0, 4.0]), st.sampled_from([1, 2, 3, 8]), STEPS)
def test_rates_are_token_buckets(rate: float, burst: int, steps: list[tuple[float, int]]) -> None:
    clock = StillClock()
    measured, buckets = Rates(rate, burst, clock.monotonic), [Bucket(rate, burst) for _ in range(3)]
    for pause, host in steps:
        clock.now += pause
        assert measured.takes(host) is buckets[host].takes(clock.now)


def test_a_rate_recovers() -> None:
    clock = StillClock()
    measured = Rates(2.0, 3, clock.monotonic)
    assert [measured.takes("host") for _ in range(5)] == [True, True, True, False, False]
    clock.now += 0.5
    assert [measured.takes("host") for _ in range(2)] == [True, False]
    clock.now += 100
    assert [measured.takes("host") for _ in range(4)] == [True, True, True, False]


def test_rates_forget_whose_bucket_is_full() -> None:
    clock = StillClock()
    measured = Rates(1.0, 5, clock.monotonic)
    for host in range(100):
        assert measured.takes(host)
    clock.now += 11
    assert measured.takes("another")
    assert len(measured) == 1


def test_rates_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "HOSTS", 10)
    measured = Rates(0.001, 5, StillClock().monotonic)
    assert all(measured.takes(host) for host in range(1_000))
    assert len(measured) <= 20


def test_the_socket_module_agrees_on_what_an_address_is() -> None:
    assert parsed("127.1") is None
    assert parsed("0x7f.0.0.1") is None
    assert parsed("127.0.0.1") == Address(Family.V4, int.from_bytes(socket.inet_aton("127.0.0.1"), "big"))
