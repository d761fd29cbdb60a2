"""PROXY protocol headers: what haproxy's document shows, what it forbids, and any bytes at all."""

import contextlib
from ipaddress import IPv6Address
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from portside import ProxyHeader, ProxyHeaderError, ProxyTLS
from portside.policy.crc32c import crc32c
from portside.policy.proxy_header import (
    LONGEST_HEADER,
    LONGEST_LINE,
    SIGNATURE_2,
    HeaderReader,
    ProxyTransport,
    begins,
    header_size,
    may_begin,
    parse_header,
)
from portside.policy.proxy_tlvs import TLSFlag, TLVType, encode_tlv

CLIENT, SERVER = ("192.168.0.1", 56324), ("192.168.0.11", 443)
CLIENT_6, SERVER_6 = ("2001:db8::1", 1, 0, 0), ("2001:db8::2", 65535, 0, 0)


def binary(block: bytes = b"", *, command: int = 0x21, kind: int = 0x00) -> bytes:
    return SIGNATURE_2 + bytes((command, kind)) + len(block).to_bytes(2) + block


# Version 1


@pytest.mark.parametrize(
    ("line", "source", "destination"),
    [
        (b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443", CLIENT, SERVER),
        (b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0", ("255.255.255.255", 65535), ("0.0.0.0", 0)),
        (b"PROXY TCP6 2001:db8::1 2001:DB8::2 1 65535", CLIENT_6, SERVER_6),
        (b"PROXY TCP6 ::ffff:192.168.0.1 ::1 56324 443", CLIENT, ("::1", 443, 0, 0)),
        (b"PROXY UNKNOWN", None, None),
        (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535 whatever", None, None),
    ],
)
def test_line(line: bytes, source: Any, destination: Any) -> None:
    header = parse_header(line + b"\r\n")
    assert (header.version, header.local, header.source, header.destination) == (1, False, source, destination)


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\n",
        b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 \r\n",
        b"PROXY TCP4 192.168.0.1  192.168.0.11 56324 443\r\n",
        b"PROXY TCP4 192.168.0.1 192.168.0.11 056324 443\r\n",
        b"PROXY TCP4 192.168.0.1 192.168.0.11 65536 443\r\n",
        b"PROXY TCP4 192.168.0.1 192.168.0.11 -1 443\r\n",
        b"PROXY TCP4 192.168.0.1 192.168.0.11 1 \xb2\r\n",
        b"PROXY TCP4 192.168.00.1 192.168.0.11 1 2\r\n",
        b"PROXY TCP4 192.168.0 192.168.0.11 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 192.168.0.1 192.168.0.11 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY TCP4 192.168.0.1 192.168.0.11 1\r\n",
        b"PROXY tcp4 192.168.0.1 192.168.0.11 1 2\r\n",
        b"PROXY UDP4 192.168.0.1 192.168.0.11 1 2\r\n",
        b"PROXY UNKNOWN\rx\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY \r\n",
        b"PROXY\r\n",
        b"proxy UNKNOWN\r\n",
        b"GET / HTTP/1.1\r\n",
        b"PROXY UNKNOWN " + b"x" * LONGEST_LINE + b"\r\n",
    ],
)
def test_what_is_no_line(line: bytes) -> None:
    with pytest.raises(ProxyHeaderError):
        parse_header(line)


def test_longest_line() -> None:
    host = b":".join([b"ffff"] * 8)
    line = b"PROXY UNKNOWN %b %b 65535 65535\r\n" % (host, host)
    assert (len(line), header_size(line + b"more")) == (LONGEST_LINE, LONGEST_LINE)
    assert header_size(line[:-1]) is None
    with pytest.raises(ProxyHeaderError, match="does not end within 107 bytes"):
        header_size(line[:-2] + b"xx")


# Version 2

INET = bytes((192, 168, 0, 1, 192, 168, 0, 11)) + (56324).to_bytes(2) + (443).to_bytes(2)


@pytest.mark.parametrize(
    ("data", "source", "transport"),
    [
        (binary(INET, kind=0x11), CLIENT, ProxyTransport.STREAM),
        (binary(INET, kind=0x12), CLIENT, ProxyTransport.DATAGRAM),
        (binary(INET, kind=0x10), None, ProxyTransport.UNSPEC),
        (binary(bytes(15) + b"\1" + bytes(15) + b"\2" + bytes(4), kind=0x21), ("::1", 0, 0, 0), ProxyTransport.STREAM),
        (binary(bytes(10) + b"\xff\xff" + INET[:4] + bytes(20), kind=0x21), ("192.168.0.1", 0), ProxyTransport.STREAM),
        (binary(b"/run/a".ljust(108, b"\0") + bytes(108), kind=0x31), "/run/a", ProxyTransport.STREAM),
        (binary(b"\0name".ljust(216, b"\0"), kind=0x31), b"\0name", ProxyTransport.STREAM),
        (binary(bytes(216), kind=0x32), "", ProxyTransport.DATAGRAM),
        (binary(), None, ProxyTransport.UNSPEC),
        (binary(kind=0x01), None, ProxyTransport.STREAM),
    ],
)
def test_binary(data: bytes, source: Any, transport: ProxyTransport) -> None:
    header = parse_header(data)
    assert (header.version, header.local, header.source, header.transport) == (2, False, source, transport)


def test_local_discards_everything_else() -> None:
    header = parse_header(binary(INET + b"no TLV at all", command=0x20, kind=0x9F))
    assert header == ProxyHeader(local=True, transport=ProxyTransport.UNSPEC)


@pytest.mark.parametrize(
    "data",
    [
        binary(INET[:-1], kind=0x11),
        binary(bytes(35), kind=0x21),
        binary(bytes(215), kind=0x31),
        binary(INET, kind=0x41),
        binary(INET, kind=0x13),
        binary(INET, kind=0x11, command=0x22),
        binary(INET, kind=0x11, command=0x11),
        binary(INET, kind=0x11) + b"x",
        binary(INET, kind=0x11)[:-1],
        binary(b"\x04"),
        binary(b"\x04\0\2x"),
        binary(encode_tlv(TLVType.AUTHORITY, b"\xff")),
        binary(encode_tlv(TLVType.NETNS, b"\xff")),
        binary(encode_tlv(TLVType.UNIQUE_ID, bytes(129))),
        binary(encode_tlv(TLVType.TLS, bytes(4))),
        binary(encode_tlv(TLVType.TLS, bytes(5) + b"\x21\0\3x")),
        binary(encode_tlv(TLVType.TLS, bytes(5) + encode_tlv(0x22, b"\xff"))),
        binary(encode_tlv(TLVType.ALPN, b"h2") * 2),
        binary(encode_tlv(TLVType.CRC32C, bytes(3))),
        binary(encode_tlv(TLVType.CRC32C, bytes(4))),
        binary(bytes(LONGEST_HEADER)),
    ],
)
def test_what_is_no_binary_header(data: bytes) -> None:
    with pytest.raises(ProxyHeaderError):
        parse_header(data)


def test_what_a_header_tells_beside_addresses() -> None:
    tls = ProxyTLS(
        flags=TLSFlag.TLS | TLSFlag.CERTIFICATE_NOW,
        version="TLSv1.3",
        common_name="Zoë",
        cipher="TLS_AES_256_GCM_SHA384",
        signature_algorithm="RSA-SHA256",
        key_algorithm="RSA2048",
    )
    values = {
        TLVType.NOOP: b"xyz",
        TLVType.ALPN: b"h2",
        TLVType.AUTHORITY: "bücher.example".encode(),
        TLVType.UNIQUE_ID: b"\x00" * 128,
        TLVType.TLS: tls.encode(),
        TLVType.NETNS: b"blue",
        0xE0: b"our own",
    }
    header = parse_header(ProxyHeader(source=CLIENT, destination=SERVER, tlvs=tuple(values.items())).encode())
    assert (header.alpn, header.authority, header.netns) == (b"h2", "bücher.example", "blue")
    assert (header.unique_id, header.tls) == (bytes(128), tls)
    assert header.tls is not None
    assert (header.tls.has_certificate, header.tls.verified) == (True, True)
    assert dict(header.tlvs)[0xE0] == b"our own"


@pytest.mark.parametrize(("flags", "verify"), [(TLSFlag.TLS, 0), (TLSFlag.CERTIFICATE_NOW, 18)])
def test_a_certificate_is_verified_only_if_there_is_one(flags: int, verify: int) -> None:
    assert not ProxyTLS(flags=flags, verify=verify).verified


# The checksum


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)],
)
def test_crc32c(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected  # RFC 3720, appendix B.4


def test_checksum_of_each_bit() -> None:
    data = ProxyHeader(source=CLIENT, destination=SERVER, tlvs=((TLVType.ALPN, b"h2"),)).encode(checksum=True)
    assert parse_header(data).alpn == b"h2"
    for place in {*range(16, len(data))} - {len(data) - 7}:  # the checksum's type, without which there is none
        for bit in range(8):
            with pytest.raises(ProxyHeaderError):
                parse_header(data[:place] + bytes((data[place] ^ 1 << bit,)) + data[place + 1 :])


# There and back

PORTS = st.integers(0, 65_535)
INET_SIDES = st.tuples(st.ip_addresses(v=4).map(str), PORTS)
HOSTS_6 = st.ip_addresses(v=6).map(str).filter(lambda host: IPv6Address(host).ipv4_mapped is None)
INET6_SIDES = st.tuples(HOSTS_6, PORTS).map(lambda side: (*side, 0, 0))
PATHS = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=107)
SIDES = st.one_of(st.tuples(*[st.one_of(INET_SIDES, INET6_SIDES)] * 2), st.tuples(PATHS, PATHS), st.just((None, None)))
CUSTOM = st.lists(st.tuples(st.integers(0xE0, 0xEF), st.binary(max_size=40)), max_size=4).map(tuple)


@given(sides=SIDES, tlvs=CUSTOM, checksum=st.booleans())
def test_binary_there_and_back(sides: tuple[Any, Any], tlvs: Any, checksum: bool) -> None:
    transport = ProxyTransport.UNSPEC if sides[0] is None else ProxyTransport.STREAM
    header = ProxyHeader(source=sides[0], destination=sides[1], transport=transport, tlvs=tlvs)
    assert parse_header(header.encode(checksum=checksum)) == header


@given(source=st.one_of(INET_SIDES, INET6_SIDES), destination=st.one_of(INET_SIDES, INET6_SIDES))
def test_line_there_and_back(source: Any, destination: Any) -> None:
    header = ProxyHeader(version=1, source=source, destination=destination)
    assert parse_header(header.encode()) == header


def test_unknown_and_local_there_and_back() -> None:
    for header in (ProxyHeader(version=1, transport=ProxyTransport.UNSPEC), parse_header(binary(command=0x20))):
        assert parse_header(header.encode()) == header


@pytest.mark.parametrize(
    "header",
    [
        ProxyHeader(version=1, source="/run/a", destination="/run/b"),
        ProxyHeader(version=1, source=CLIENT, destination=SERVER, tlvs=((TLVType.ALPN, b"h2"),)),
        ProxyHeader(version=1, source=("192.0.2.1", 65_536), destination=SERVER),
        ProxyHeader(source=("192.0.2.1", 65_536), destination=SERVER),
        ProxyHeader(source=("localhost", 1), destination=SERVER),
        ProxyHeader(source="/run/a", destination=SERVER),
        ProxyHeader(source="x" * 109, destination=""),
        ProxyHeader(source=(), destination=SERVER),
        ProxyHeader(tlvs=((256, b""),)),
        ProxyHeader(tlvs=((0xE0, bytes(LONGEST_HEADER)),)),
        ProxyHeader(tlvs=((TLVType.UNIQUE_ID, bytes(129)),)),
    ],
)
def test_what_cannot_be_written(header: ProxyHeader) -> None:
    with pytest.raises(ProxyHeaderError):
        header.encode()


# In pieces, and any bytes

WHOLE = ProxyHeader(source=CLIENT_6, destination=SERVER_6, tlvs=((TLVType.ALPN, b"h2"),)).encode(checksum=True)


@given(data=st.sampled_from([WHOLE, b"PROXY UNKNOWN\r\n", binary()]), cuts=st.lists(st.integers(1, 20)))
def test_nothing_is_taken_of_what_follows(data: bytes, cuts: list[int]) -> None:
    reader, rest, taken = HeaderReader(), data + b"\r\nthe payload", b""
    for size in [*cuts, len(rest)]:
        if reader.header is None and rest:
            count = reader.feed(rest[:size])
            assert count or reader.header
            taken, rest = taken + rest[:count], rest[count:]
    while reader.header is None:
        count = reader.feed(rest)
        taken, rest = taken + rest[:count], rest[count:]
    assert (taken, rest, reader.header) == (data, b"\r\nthe payload", parse_header(data))


@given(data=st.binary(max_size=40))
def test_what_may_begin(data: bytes) -> None:
    assert may_begin(data) or not begins(data)
    if begins(data):
        return
    assume(not may_begin(data))
    with pytest.raises(ProxyHeaderError):
        header_size(data)


@given(
    start=st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 1.2.3.4 5.6.7.8 ", SIGNATURE_2, binary(INET, kind=0x11)[:16]]),
    rest=st.binary(max_size=60),
)
def test_any_bytes_are_a_header_or_none(start: bytes, rest: bytes) -> None:
    for data in (start + rest, start + rest + b"\r\n", start[:14] + len(rest).to_bytes(2) + rest):
        with contextlib.suppress(ProxyHeaderError):
            header = parse_header(data)
            _ = header.alpn, header.authority, header.unique_id, header.tls, header.netns
