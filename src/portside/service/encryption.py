"""Which TLS an endpoint gets: its own, the service's, or none."""

from collections.abc import Iterable

from portside.endpoints import Endpoint
from portside.policy.certificates import TLSError
from portside.policy.tls import TLS, ContextTLS
from portside.telemetry import CertificateRejected, emit

# What an https:// endpoint says that it speaks (RFC 7301's registry); HTTP/2 is not served.
HTTP = ("http/1.1",)


def encryption_of(endpoint: Endpoint, tls: TLS | ContextTLS | None) -> TLS | ContextTLS | None:
    """The TLS of one endpoint.

    Args:
        endpoint: where clients come in.
        tls: the service's.

    Raises:
        TypeError: `tls` is none, or datagrams were to be encrypted.
        ValueError: an endpoint that wants TLS has no certificate, or two things that were said do not go together.
    """
    if not isinstance(tls, TLS | ContextTLS | None):
        raise TypeError(f"tls={tls!r} is no TLS: write TLS(cert, key), or ContextTLS(context)")
    if endpoint.cert:
        return _own(endpoint, tls)
    if tls is None:
        if endpoint.is_tls:
            raise ValueError(f"{endpoint} has no certificate: add ?cert=FILE&key=FILE, or give tls=TLS(cert, key)")
        return None
    if not endpoint.is_stream:
        raise TypeError(f"{endpoint} cannot have TLS, which is for connections: serve it by itself")
    if endpoint.is_tls and tls.starttls:
        raise ValueError(f"{endpoint} is encrypted from the first byte: for starttls=True write tcp://")
    return tls


def reload_certificates(several: Iterable[TLS | ContextTLS | None], server: object) -> None:
    """Load the files of all of them now, and tell what has become of it; what cannot be used changes nothing.

    Args:
        several: what encrypts.
        server: whose events these are.
    """
    for tls in several:
        try:
            if tls is not None:
                tls.reload(server)
        except TLSError as error:
            emit(CertificateRejected(server=server, error=error))


def _own(endpoint: Endpoint, tls: TLS | ContextTLS | None) -> TLS:
    if tls is not None:
        raise ValueError(f"{endpoint} names a certificate, and so does tls=...: give one of the two")
    return TLS(endpoint.cert, endpoint.key or None, alpn=HTTP if endpoint.scheme == "https" else ())
