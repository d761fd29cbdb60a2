"""What a PROXY protocol header of version 2 says beside addresses: types, lengths and values (TLVs).

Source: haproxy's proxy-protocol.txt, section 2.2, from which the numbers and the names are.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

TLV = tuple[int, bytes]

# A type in a byte, and the length of the value.
_HEAD = struct.Struct("!BH")

# What a TLV of TLS begins with: flags in a byte, and what became of verifying the client's certificate.
_TLS_HEAD = struct.Struct("!BI")

# Bytes that a connection's identity has at most (2.2.5).
UNIQUE_ID_BYTES = 128


class ProxyHeaderError(ValueError):
    """Bytes that are no PROXY protocol header, or what cannot be written as one."""


class TLVType(IntEnum):
    """What a value is (2.2). Other types are kept as numbers: 0xE0 to 0xEF are the applications' own."""

    ALPN = 0x01
    AUTHORITY = 0x02
    CRC32C = 0x03
    NOOP = 0x04
    UNIQUE_ID = 0x05
    TLS = 0x20
    NETNS = 0x30


class TLSFlag(IntEnum):
    """What the client did (2.2.6)."""

    TLS = 0x01
    CERTIFICATE_NOW = 0x02
    CERTIFICATE_IN_SESSION = 0x04


# The texts inside a TLV of TLS (2.2.6): type, name, encoding.
_TLS_TEXTS = (
    (0x21, "version", "ascii"),
    (0x22, "common_name", "utf-8"),
    (0x23, "cipher", "ascii"),
    (0x24, "signature_algorithm", "ascii"),
    (0x25, "key_algorithm", "ascii"),
)


@dataclass(frozen=True, kw_only=True)
class ProxyTLS:
    """What the proxy tells of the client's TLS, which ended at the proxy.

    Attributes:
        flags: what the client did: an or of `TLSFlag`; without `TLSFlag.TLS` it did not speak TLS.
        verify: 0 where the client's certificate was verified, or there was none; else why not, as OpenSSL numbers it.
        version: as in "TLSv1.3".
        common_name: of the client's certificate.
        cipher: as in "TLS_AES_256_GCM_SHA384".
        signature_algorithm, key_algorithm: of the proxy's certificate, as in "RSA-SHA256" and "RSA2048".
    """

    flags: int = TLSFlag.TLS
    verify: int = 0
    version: str | None = None
    common_name: str | None = None
    cipher: str | None = None
    signature_algorithm: str | None = None
    key_algorithm: str | None = None

    @property
    def has_certificate(self) -> bool:
        """Whether the client has shown a certificate, now or when its session began."""
        return bool(self.flags & (TLSFlag.CERTIFICATE_NOW | TLSFlag.CERTIFICATE_IN_SESSION))

    @property
    def verified(self) -> bool:
        """Whether the client has shown a certificate, and the proxy knows who signed it."""
        return self.has_certificate and self.verify == 0

    def encode(self) -> bytes:
        """The value of its TLV."""
        texts = [(kind, getattr(self, name), encoding) for kind, name, encoding in _TLS_TEXTS]
        return _TLS_HEAD.pack(self.flags, self.verify) + b"".join(
            encode_tlv(kind, text.encode(encoding)) for kind, text, encoding in texts if text is not None
        )

    @classmethod
    def parse(cls, value: bytes) -> "ProxyTLS":
        """Read the value of its TLV.

        Raises:
            ProxyHeaderError: it is none.
        """
        if len(value) < _TLS_HEAD.size:
            raise ProxyHeaderError(f"what is told of TLS has {len(value)} bytes, and needs {_TLS_HEAD.size}")
        flags, verify = _TLS_HEAD.unpack_from(value)
        inner = dict(split_tlvs(value[_TLS_HEAD.size :]))
        texts: dict[str, Any] = {
            name: text_of(inner[kind], encoding) for kind, name, encoding in _TLS_TEXTS if kind in inner
        }
        return cls(flags=flags, verify=verify, **texts)


def encode_tlv(kind: int, value: bytes) -> bytes:
    """One TLV.

    Raises:
        ProxyHeaderError: the type is no byte, or the value is longer than 65,535 bytes.
    """
    try:
        return _HEAD.pack(kind, len(value)) + value
    except struct.error as error:
        raise ProxyHeaderError(f"a TLV of type {kind!r} and {len(value)} bytes cannot be written") from error


def split_tlvs(block: bytes) -> Iterator[TLV]:
    """The TLVs of a block, which they fill.

    Raises:
        ProxyHeaderError: the block ends in the middle of one.
    """
    place = 0
    while place < len(block):
        start = place + _HEAD.size
        if start > len(block):
            raise ProxyHeaderError("the header ends in the middle of a TLV")
        kind, length = _HEAD.unpack_from(block, place)
        place = start + length
        if place > len(block):
            raise ProxyHeaderError(f"a TLV of type {kind:#04x} reaches beyond the header")
        yield kind, block[start:place]


def text_of(value: bytes, encoding: str) -> str:
    """A value that is text.

    Raises:
        ProxyHeaderError: it is not, in this encoding.
    """
    try:
        return value.decode(encoding)
    except UnicodeDecodeError as error:
        raise ProxyHeaderError(f"a TLV holds {value[:32]!r}, which is no {encoding}") from error


def _opaque(value: bytes) -> bytes:
    return value


def _unique_id(value: bytes) -> bytes:
    if len(value) > UNIQUE_ID_BYTES:
        raise ProxyHeaderError(f"a unique id has {len(value)} bytes, and may have {UNIQUE_ID_BYTES}")
    return value


# How the values are read that a header may have once.
READERS: dict[int, Callable[[bytes], Any]] = {
    TLVType.ALPN: _opaque,
    TLVType.AUTHORITY: lambda value: text_of(value, "utf-8"),
    TLVType.UNIQUE_ID: _unique_id,
    TLVType.TLS: ProxyTLS.parse,
    TLVType.NETNS: lambda value: text_of(value, "ascii"),
}


def check_tlvs(tlvs: tuple[TLV, ...]) -> None:
    """Read every value that has a meaning.

    Raises:
        ProxyHeaderError: one cannot be read, or is there twice, of which two readers may choose differently.
    """
    seen = set()
    for kind, value in tlvs:
        if kind not in READERS:
            continue
        if kind in seen:
            raise ProxyHeaderError(f"a TLV of type {kind:#04x} is there twice")
        seen.add(kind)
        READERS[kind](value)
