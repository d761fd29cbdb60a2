"""Fuzz PROXY protocol headers: any bytes give a header, or a ProxyHeaderError; nothing else.

    python fuzz/fuzz_proxy_protocol.py --seconds 60

A header that is accepted is written again and read again, and must say the same; fed in pieces, it must be the same
header, and no byte behind it may be taken. A finding ends the run with a traceback and the bytes that led to it.
"""

import argparse
import random
import sys
import time

from portside.policy.proxy_header import SIGNATURE_2, HeaderReader, ProxyHeader, parse_header
from portside.policy.proxy_tlvs import ProxyHeaderError, ProxyTLS, encode_tlv

BATCH = 1000  # headers between two looks at the clock
WORDS = (b"PROXY", b"TCP4", b"TCP6", b"UNKNOWN", b"1.2.3.4", b"0.0.0.0", b"::1", b"::ffff:1.2.3.4", b"fe80::1%1", b"0")
PORTS = (b"0", b"65535", b"65536", b"00", b"-1", b"", b"443")
ENDS = (b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n", b"")
TYPES = (1, 2, 3, 4, 5, 0x20, 0x30, 0xE0, 0xFF)
TLS = ProxyTLS(version="TLSv1.3", common_name="é").encode()
VALUES = (b"", b"h2", b"\xff", bytes(4), bytes(200), "é".encode(), TLS)

KINDS = (0x00, 0x01, 0x10, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32, 0x13, 0x41)
SIZES = (0, 4, 12, 12, 36, 36, 216, 216)
NOISE = 0.3  # share of headers with a byte changed: most stay nearly right, and get far into the parser
PAYLOAD = b"GET / HTTP/1.1\r\n"


def check(data: bytes) -> None:
    """Hold one header against the contract."""
    try:
        header = parse_header(data)
        _ = header.alpn, header.authority, header.unique_id, header.tls, header.netns
    except ProxyHeaderError:
        in_pieces(data)
        return
    if (again := in_pieces(data)) != (header, len(data)):
        raise AssertionError(f"{data!r} is {header!r}, and in pieces {again!r}")
    if not header.local:
        written_again(data, header)


def in_pieces(data: bytes) -> tuple[ProxyHeader | None, int]:
    """What is found where the bytes come three at a time, and how many of them are taken."""
    reader, rest, taken = HeaderReader(), data + PAYLOAD, 0
    try:
        while rest and reader.header is None:
            count = reader.feed(rest[:3])
            rest, taken = rest[count:], taken + count
    except ProxyHeaderError:
        return None, taken
    return reader.header, taken


def written_again(data: bytes, header: ProxyHeader) -> None:
    """What was read must be said by what is written of it."""
    if len(data) > 4000:  # written again it may be longer, as IPv4 in IPv6 is
        return
    again = parse_header(header.encode())
    if (again.source, again.destination, again.tlvs) != (header.source, header.destination, header.tlvs):
        raise AssertionError(f"{data!r} is {header!r}, and written again {again!r}")


def made_up(source: random.Random) -> bytes:
    """A header, now and then with noise."""
    data = bytearray(line(source) if source.random() < 0.5 else block(source))
    while source.random() < NOISE:
        place = source.randrange(len(data))
        data[place : place + source.randrange(2)] = source.randbytes(1)
    return bytes(data)


def line(source: random.Random) -> bytes:
    """A header of version 1."""
    words = [b"PROXY", *source.choices(WORDS, k=source.choice((1, 3, 3, 3, 3, 4))), *source.choices(PORTS, k=2)]
    return b" ".join(words[: source.choice((2, 6, 6, 6, 7))]) + source.choice(ENDS)


def block(source: random.Random) -> bytes:
    """A header of version 2."""
    body = source.randbytes(source.choice(SIZES))
    for _ in range(source.randrange(4)):
        body += encode_tlv(source.choice(TYPES), source.choice(VALUES))
    head = bytes((source.choice((0x21, 0x21, 0x21, 0x20, 0x22, 0x11)), source.choice(KINDS)))
    return SIGNATURE_2 + head + len(body).to_bytes(2) + body


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description="Fuzz portside.policy.proxy_header.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to run (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random headers (default: %(default)s)")
    options = parser.parse_args()
    source, end, count = random.Random(options.seed), time.monotonic() + options.seconds, 0
    while time.monotonic() < end:
        for _ in range(BATCH):
            check(made_up(source))
        count += BATCH
    sys.stdout.write(f"{count} headers kept the contract (seed {options.seed})\n")


if __name__ == "__main__":
    main()
