"""Certificates of an authority that only these tests know, made once, and clients who trust it."""

import datetime
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from portside.policy.certificates import Certificate
from portside.policy.tls import TLS
from tests.conftest import DEADLINE
from tests.engines.kit import remember


@dataclass(frozen=True, kw_only=True)
class PKI:
    """Who vouches for whom.

    Attributes:
        ca: the authority's own certificate, as clients want it.
        local: of localhost, 127.0.0.1 and ::1, chain and key in one file.
        renewed: the same, renewed.
        shop, any: of shop.example.org and *.example.net.
        expired: of localhost, since yesterday.
        ann: a client's, signed by the authority.
        mallory: a client's, signed by another.
    """

    ca: Path
    local: Path
    renewed: Path
    shop: Path
    any: Path
    expired: Path
    ann: Path
    mallory: Path
    folder: Path

    def tls(self, **options: Any) -> TLS:
        """What a server of these certificates is told."""
        return TLS(self.local, **options)

    def named(self, **options: Any) -> TLS:
        """The same, with certificates for other names."""
        return self.tls(
            names={"shop.example.org": Certificate(self.shop), "*.Example.net": Certificate(self.any)}, **options
        )

    def trusting(self, **options: Any) -> ssl.SSLContext:
        """A client's context; `cert` is its certificate, `alpn` what it speaks, `version` the only one it knows."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if "cert" in options:
            context.load_cert_chain(options["cert"])
        if "alpn" in options:
            context.set_alpn_protocols(options["alpn"])
        if "version" in options:
            context.minimum_version = context.maximum_version = options["version"]
        return context


def made(folder: Path) -> PKI:
    authority, stranger = trustme.CA(key_type=trustme.KeyType.ECDSA), trustme.CA(key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    local = ("localhost", "127.0.0.1", "::1")
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    for name, leaf in {
        "local": authority.issue_cert(*local),
        "renewed": authority.issue_cert(*local),
        "shop": authority.issue_cert("shop.example.org"),
        "any": authority.issue_cert("*.example.net"),
        "expired": authority.issue_cert(*local, not_before=yesterday - datetime.timedelta(days=9), not_after=yesterday),
        "ann": authority.issue_cert("ann@example.org", common_name="Ann"),
        "mallory": stranger.issue_cert("mallory@example.org", common_name="Mallory"),
    }.items():
        leaf.private_key_and_cert_chain_pem.write_to_path(str(folder / f"{name}.pem"))
        leaf.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        leaf.cert_chain_pems[0].write_to_path(str(folder / f"{name}.crt"))
    names = [field for field in PKI.__dataclass_fields__ if field != "folder"]
    return PKI(folder=folder, **{name: folder / f"{name}.pem" for name in names})


@contextmanager
def secured(sock: socket.socket, context: ssl.SSLContext, name: str = "localhost") -> Iterator[Any]:
    """A client's end of TLS, which says goodbye."""
    sock.settimeout(DEADLINE)
    with context.wrap_socket(sock, server_hostname=name) as tls:
        remember(tls)
        yield tls
        with suppress(OSError, ValueError):
            tls.unwrap()


def fingerprint_of(path: Path) -> bytes:
    """A certificate, as a client sees it."""
    return ssl.PEM_cert_to_DER_cert(path.with_suffix(".crt").read_text())
