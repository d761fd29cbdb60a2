"""Hosts and networks as whole numbers: what a client's address means to limits and rules.

Numbers compare, mask and hash at a tenth of the price of `ipaddress` objects, and this runs once for each stranger. An
IPv4 address is a `Family.V4` number wherever it comes from: a dual-stack listener's `::ffff:192.0.2.1` is that client.
"""

import ipaddress
import socket
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAPPED = 0xFFFF  # what stands above the 32 bits of an IPv4 address in ::ffff:0:0/96 (RFC 4291 section 2.5.5.2)
_CUSTOMER = 64  # bits of an IPv6 address that its owner fills as it likes (RFC 6177)


# Addresses whose host is remembered: who comes again costs a look into a table.
HOSTS = 4_096


class Family(IntEnum):
    """An address's family, by the bits that its addresses have."""

    V4 = 32
    V6 = 128


class Address(NamedTuple):
    """An address: its family and its bits."""

    family: Family
    bits: int

    @property
    def host(self) -> int:
        """What counts as one host: the IPv4 address, or the IPv6 /64; no number is both."""
        return self.bits if self.family is Family.V4 else (1 << _CUSTOMER) | self.bits >> _CUSTOMER


class Network(NamedTuple):
    """A network: its family, how many bits name it, and those bits with zeros behind them."""

    family: Family
    length: int
    bits: int


def address_of(client_address: object) -> Address | None:
    """The address in what the socket module calls one; None where there is none, as for Unix clients."""
    if not (isinstance(client_address, tuple) and client_address and isinstance(client_address[0], str)):
        return None
    return parsed(client_address[0])


def host_of(client_address: object) -> int | None:
    """The number of the host that a client comes from; None where it has none, as Unix clients."""
    if not (isinstance(client_address, tuple) and client_address and isinstance(client_address[0], str)):
        return None
    return _host_named(client_address[0])


@lru_cache(HOSTS)
def _host_named(text: str) -> int | None:
    address = parsed(text)
    return None if address is None else address.host


def parsed(text: str) -> Address | None:
    """The address that a text is, its zone (`%eth0`) left out; None for any other text."""
    try:
        if ":" not in text:
            return Address(Family.V4, int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big"))
        bits = int.from_bytes(socket.inet_pton(socket.AF_INET6, text.partition("%")[0]), "big")
    except (OSError, ValueError):
        return None
    return Address(Family.V4, bits & 0xFFFF_FFFF) if bits >> 32 == _MAPPED else Address(Family.V6, bits)


def network(text: object) -> Network:
    """A network from `"10.0.0.0/8"`, `"2001:db8::/32"`, a single address, or an object of `ipaddress`.

    Raises:
        ValueError: it is none, or has bits behind its length (`10.0.0.1/8`).
    """
    try:
        found = ipaddress.ip_network(str(text))
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no network; accepted are texts such as '10.0.0.0/8', '2001:db8::/32' and '192.0.2.7'"
        ) from error
    return _plain(found)


def _plain(found: _Network) -> Network:
    """The same in numbers; a network of IPv4-mapped addresses is one of IPv4."""
    bits, length = int(found.network_address), found.prefixlen
    if found.version == 4:
        return Network(Family.V4, length, bits)
    if length >= 96 and bits >> 32 == _MAPPED:
        return Network(Family.V4, length - 96, bits & 0xFFFF_FFFF)
    return Network(Family.V6, length, bits)
