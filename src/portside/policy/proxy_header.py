"""PROXY protocol headers, versions 1 and 2: bytes in, a header out, and back; no socket.

Source: haproxy's proxy-protocol.txt. Any bytes give a header or a ProxyHeaderError, nothing else.
"""

import os
import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from portside.policy.crc32c import crc32c
from portside.policy.proxy_tlvs import (
    READERS,
    TLV,
    ProxyHeaderError,
    ProxyTLS,
    TLVType,
    check_tlvs,
    encode_tlv,
    split_tlvs,
)

SIGNATURE_1 = b"PROXY "
SIGNATURE_2 = b"\r\n\r\n\0\r\nQUIT\n"

# Bytes of the longest line of version 1, its end counted (2.1).
LONGEST_LINE = 107

# Bytes of the longest header of version 2 that is read; its own length field would allow 65,551. nginx's bound; the
# document promises that a header fits into the first segment.
LONGEST_HEADER = 4096

# Version 2 after its signature (2.2): version and command, family and transport, bytes that follow.
_FIXED = struct.Struct("!12sBBH")

# The two addresses and two ports of each family, and of Unix sockets their two paths (2.2).
_INET = struct.Struct("!4s4sHH")
_INET6 = struct.Struct("!16s16sHH")
_UNIX = struct.Struct("!108s108s")

# A host and a port as the socket module writes them, or a Unix socket's path or abstract name.
Address = tuple[Any, ...] | str | bytes


class ProxyFamily(IntEnum):
    """What kind the addresses are of."""

    UNSPEC = 0
    INET = 1
    INET6 = 2
    UNIX = 3


class ProxyTransport(IntEnum):
    """What the client speaks to the proxy over."""

    UNSPEC = 0
    STREAM = 1
    DATAGRAM = 2


_BLOCKS = {ProxyFamily.INET: _INET, ProxyFamily.INET6: _INET6, ProxyFamily.UNIX: _UNIX}


@dataclass(frozen=True, kw_only=True)
class ProxyHeader:
    """What a proxy says of a connection before the connection's own bytes.

    Attributes:
        version: 1, a line, or 2, in binary.
        local: the proxy connects for itself, to see whether the server is well, and for no client.
        source: the client's address, as the socket module writes addresses; None where the proxy does not say.
        destination: the address that the client connected to, likewise.
        transport: what the client speaks.
        tlvs: what else there is, in order, as types and values; the checksum is not kept.
    """

    version: int = 2
    local: bool = False
    source: Address | None = None
    destination: Address | None = None
    transport: ProxyTransport = ProxyTransport.STREAM
    tlvs: tuple[TLV, ...] = ()

    @property
    def alpn(self) -> bytes | None:
        """The protocol that client and proxy agreed on (ALPN), as in b"h2"."""
        found: bytes | None = self._read(TLVType.ALPN)
        return found

    @property
    def authority(self) -> str | None:
        """The host that the client asked for, as TLS's server name."""
        found: str | None = self._read(TLVType.AUTHORITY)
        return found

    @property
    def unique_id(self) -> bytes | None:
        """What the proxy calls the connection."""
        found: bytes | None = self._read(TLVType.UNIQUE_ID)
        return found

    @property
    def tls(self) -> ProxyTLS | None:
        """The client's TLS."""
        found: ProxyTLS | None = self._read(TLVType.TLS)
        return found

    @property
    def netns(self) -> str | None:
        """The network namespace of the client's connection."""
        found: str | None = self._read(TLVType.NETNS)
        return found

    def _read(self, kind: TLVType) -> Any:
        for each, value in self.tlvs:
            if each == kind:
                return READERS[kind](value)
        return None

    @property
    def family(self) -> ProxyFamily:
        """What the addresses are: IPv6 already where only one of them is, as IPv4 can be written in IPv6."""
        kinds = {_family_of(each) for each in (self.source, self.destination)}
        if ProxyFamily.UNIX in kinds and len(kinds) > 1:
            raise ProxyHeaderError(f"{self.source!r} and {self.destination!r} are of different kinds")
        return max(kinds) if ProxyFamily.UNSPEC not in kinds else ProxyFamily.UNSPEC

    def encode(self, *, checksum: bool = False) -> bytes:
        """The bytes to send first on a connection.

        Args:
            checksum: version 2: add a CRC-32C.

        Raises:
            ProxyHeaderError: it cannot be written, or nobody could read it.
        """
        try:
            data = _encode_line(self) if self.version == 1 else _encode_binary(self, checksum=checksum)
            parse_header(data)
        except (struct.error, ValueError, TypeError) as error:
            raise ProxyHeaderError(f"{self} cannot be written: {error}") from error
        return data


# -- where a header ends --


def may_begin(data: bytes) -> bool:
    """True while `data` may be the beginning of a header; of b"" too."""
    return any(data.startswith(each[: len(data)]) for each in (SIGNATURE_1, SIGNATURE_2))


def begins(data: bytes) -> bool:
    """True for what begins with a header's whole signature."""
    return data.startswith((SIGNATURE_1, SIGNATURE_2))


def header_size(data: bytes) -> int | None:
    """How many bytes the header has with which `data` begins; None while that cannot be known.

    Raises:
        ProxyHeaderError: `data` begins with no header.
    """
    if not may_begin(data):
        raise ProxyHeaderError(f"{data[:16]!r} begins no PROXY protocol header")
    if data.startswith(SIGNATURE_1):
        return _line_size(data)
    if len(data) < _FIXED.size:
        return None
    size = _FIXED.size + int(_FIXED.unpack_from(data)[3])
    if size > LONGEST_HEADER:
        raise ProxyHeaderError(f"a PROXY protocol header of {size} bytes is too long: {LONGEST_HEADER} is the limit")
    return size


def _line_size(data: bytes) -> int | None:
    end = data.find(b"\n", 0, LONGEST_LINE) + 1
    if not end and len(data) >= LONGEST_LINE:
        raise ProxyHeaderError(f"a PROXY protocol line does not end within {LONGEST_LINE} bytes")
    return end or None


class HeaderReader:
    """Collects a header that arrives in pieces, and takes nothing of what follows it.

    Attributes:
        header: the header, once it is whole.
    """

    def __init__(self) -> None:
        self._held = b""
        self.header: ProxyHeader | None = None

    def feed(self, seen: bytes) -> int:
        """Look at what comes next.

        Returns:
            How many bytes of it are the header's: those are to be taken, the others left where they are.

        Raises:
            ProxyHeaderError: it is no header.
        """
        before, data = len(self._held), self._held + seen
        size = header_size(data)
        self._held = data[:size]
        if size is not None and size <= len(data):
            self.header = parse_header(self._held)
        return len(self._held) - before


# -- reading --


def parse_header(data: bytes) -> ProxyHeader:
    """Read a whole header, with nothing behind it.

    Raises:
        ProxyHeaderError: it is none.
    """
    size = header_size(data)
    if size != len(data):
        raise ProxyHeaderError(f"{len(data)} bytes are not a whole PROXY protocol header")
    return _parse_line(data) if data.startswith(SIGNATURE_1) else _parse_binary(data)


def _parse_line(data: bytes) -> ProxyHeader:
    line, end = data[:-2], data[-2:]
    if end != b"\r\n" or b"\r" in line:
        raise ProxyHeaderError(f"{data!r} does not end as a PROXY protocol line")
    words = line.split(b" ")
    if words[1] == b"UNKNOWN":  # whatever follows is to be ignored
        return ProxyHeader(version=1, transport=ProxyTransport.UNSPEC)
    if len(words) != 6 or words[1] not in _LINE_HOSTS:
        raise ProxyHeaderError(f"{data!r} is no PROXY protocol line")
    try:
        hosts = [_LINE_HOSTS[words[1]](word.decode("ascii")) for word in words[2:4]]
    except ValueError as error:
        raise ProxyHeaderError(f"{data!r} is no PROXY protocol line: {error}") from error
    source, destination = map(_inet_address, hosts, map(_port, words[4:]))
    return ProxyHeader(version=1, source=source, destination=destination)


_LINE_HOSTS: dict[bytes, type[IPv4Address] | type[IPv6Address]] = {b"TCP4": IPv4Address, b"TCP6": IPv6Address}


def _port(word: bytes) -> int:
    if not word.isdigit() or (word[:1] == b"0" and word != b"0") or len(word) > 5 or int(word) > 65_535:
        raise ProxyHeaderError(f"{word!r} is no port of a PROXY protocol line")
    return int(word)


def _inet_address(host: IPv4Address | IPv6Address, port: int) -> Address:
    """As the socket module writes it; IPv4 that is written in IPv6 is IPv4."""
    if isinstance(host, IPv4Address):
        return str(host), port
    if host.scope_id is not None:
        raise ProxyHeaderError(f"{host} has a scope, which means nothing elsewhere")
    return (str(host.ipv4_mapped), port) if host.ipv4_mapped else (str(host), port, 0, 0)


def _parse_binary(data: bytes) -> ProxyHeader:
    _, version_and_command, kind, _ = _FIXED.unpack_from(data)
    if version_and_command == 0x20:  # LOCAL: the rest is to be discarded, whatever it is
        return ProxyHeader(local=True, transport=ProxyTransport.UNSPEC)
    if version_and_command != 0x21:
        raise ProxyHeaderError(f"{version_and_command:#04x} is no version and command of a PROXY protocol header")
    try:
        family, transport = ProxyFamily(kind >> 4), ProxyTransport(kind & 0x0F)
    except ValueError as error:
        raise ProxyHeaderError(f"{kind:#04x} is no address family and transport") from error
    block = data[_FIXED.size :]
    taken = _BLOCKS[family].size if family in _BLOCKS else 0
    if len(block) < taken:
        raise ProxyHeaderError(f"the addresses need {taken} bytes, and the header has {len(block)} for them")
    source, destination = _addresses(family, block) if family and transport else (None, None)
    tlvs = tuple(split_tlvs(block[taken:]))
    _check_sum(data, tlvs, _FIXED.size + taken)
    kept = tuple(tlv for tlv in tlvs if tlv[0] != TLVType.CRC32C)
    check_tlvs(kept)
    return ProxyHeader(source=source, destination=destination, transport=transport, tlvs=kept)


def _addresses(family: ProxyFamily, block: bytes) -> tuple[Address, Address]:
    source, destination, *ports = _BLOCKS[family].unpack_from(block)
    if family is ProxyFamily.UNIX:
        return _unix_address(source), _unix_address(destination)
    host = IPv4Address if family is ProxyFamily.INET else IPv6Address
    return _inet_address(host(source), ports[0]), _inet_address(host(destination), ports[1])


def _unix_address(field: bytes) -> str | bytes:
    if field[:1] != b"\0":
        return os.fsdecode(field.partition(b"\0")[0])
    return field.rstrip(b"\0") or ""  # an abstract name, or none at all


def _check_sum(data: bytes, tlvs: tuple[TLV, ...], start: int) -> None:
    """The checksum is of the whole header, with zeros in its own place (2.2.3)."""
    place, found = start, None
    for kind, value in tlvs:
        place += 3
        if kind == TLVType.CRC32C:
            if found is not None or len(value) != 4:
                raise ProxyHeaderError("a PROXY protocol header has one checksum, of 4 bytes")
            found = int.from_bytes(value)
            data = data[:place] + bytes(4) + data[place + 4 :]
        place += len(value)
    if found is not None and crc32c(data) != found:
        raise ProxyHeaderError("the checksum of a PROXY protocol header is wrong")


# -- writing --


def _family_of(address: Address | None) -> ProxyFamily:
    match address:
        case None:
            return ProxyFamily.UNSPEC
        case (host, *_):
            return ProxyFamily.INET6 if ":" in str(host) else ProxyFamily.INET
        case _:
            return ProxyFamily.UNIX


def _encode_line(header: ProxyHeader) -> bytes:
    family = header.family
    if family is ProxyFamily.UNIX or header.tlvs or header.local or header.transport is ProxyTransport.DATAGRAM:
        raise ProxyHeaderError(f"version 1 has no words for {header}: write version 2")
    if family is ProxyFamily.UNSPEC:
        return b"PROXY UNKNOWN\r\n"
    source, destination = _hosts(header)
    name = "TCP4" if family is ProxyFamily.INET else "TCP6"
    return f"PROXY {name} {source[0]} {destination[0]} {source[1]} {destination[1]}\r\n".encode("ascii")


def _encode_binary(header: ProxyHeader, *, checksum: bool) -> bytes:
    family = ProxyFamily.UNSPEC if header.local else header.family
    transport = header.transport if family else ProxyTransport.UNSPEC
    block = _encode_addresses(header, family) + b"".join(encode_tlv(*tlv) for tlv in header.tlvs)
    place = _FIXED.size + len(block) + 3
    if checksum:
        block += encode_tlv(TLVType.CRC32C, bytes(4))
    if _FIXED.size + len(block) > LONGEST_HEADER:
        raise ProxyHeaderError(f"it has more than {LONGEST_HEADER} bytes")
    data = _FIXED.pack(SIGNATURE_2, 0x20 if header.local else 0x21, family << 4 | transport, len(block)) + block
    return data[:place] + crc32c(data).to_bytes(4) if checksum else data


def _encode_addresses(header: ProxyHeader, family: ProxyFamily) -> bytes:
    if family is ProxyFamily.UNSPEC:
        return b""
    if family is ProxyFamily.UNIX:
        return _UNIX.pack(*(_unix_field(each) for each in (header.source, header.destination)))
    source, destination = _hosts(header)
    return _BLOCKS[family].pack(source[0].packed, destination[0].packed, source[1], destination[1])


def _unix_field(address: Any) -> bytes:
    field = os.fsencode(address)
    if len(field) > 108:
        raise ProxyHeaderError(f"the path {address!r} is longer than 108 bytes")
    return field


def _hosts(header: ProxyHeader) -> list[tuple[IPv4Address | IPv6Address, int]]:
    """Both addresses in the header's family."""
    sides: list[Any] = [header.source, header.destination]
    if header.family is ProxyFamily.INET:
        return [(IPv4Address(side[0]), side[1]) for side in sides]
    return [(IPv6Address(side[0] if ":" in side[0] else f"::ffff:{side[0]}"), side[1]) for side in sides]
