"""Who is at the other end, as far as the kernel and TLS vouch for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A connection's client. What is not known, or does not apply, is None.

    Attributes:
        uid, gid, pid: of a client on a Unix socket: its user, group and process when it connected. The process is 0
            where it is in a container that this one does not see.
        certificate: what a client that had to prove itself has shown, as `ssl.SSLSocket.getpeercert` writes it.
        tls_version: what is spoken: "TLSv1.3".
        cipher: the cipher suite, by OpenSSL's name.
        alpn: the protocol that both ends agreed on.
        server_name: whom the client asked for (SNI), in lower case.
    """

    uid: int | None = None
    gid: int | None = None
    pid: int | None = None
    certificate: Mapping[str, Any] | None = None
    tls_version: str | None = None
    cipher: str | None = None
    alpn: str | None = None
    server_name: str | None = None


def tls_facts(connection: Any) -> dict[str, Any]:
    """The fields of `Peer` that TLS knows; none for a connection without it.

    Args:
        connection: an `ssl.SSLSocket` or `ssl.SSLObject` after its handshake, or anything else.
    """
    version = connection.version() if hasattr(connection, "selected_alpn_protocol") else None
    if version is None:
        return {}
    cipher = connection.cipher()
    return {
        "certificate": connection.getpeercert() or None,
        "tls_version": version,
        "cipher": cipher and cipher[0],
        "alpn": connection.selected_alpn_protocol(),
        "server_name": getattr(connection, "portside_server_name", None),
    }
