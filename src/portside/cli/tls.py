"""`--tls`: from the command line to how connections are encrypted."""

import sys

from portside.policy.certificates import Certificate
from portside.policy.development import development_certificate
from portside.policy.tls import TLS

DEVELOPMENT = "dev"  # in the place of a certificate's file


def tls_of(text: str | None, alpn: tuple[str, ...] = ()) -> TLS | None:
    """What `--tls` says; of the development certificate the fingerprint is told.

    Args:
        text: `CERT`, `CERT,KEY` or `dev`; None where the option was not given.
        alpn: what is spoken.

    Raises:
        TLSError: the files cannot be used.
    """
    if text is None:
        return None
    certificate = development_certificate() if text == DEVELOPMENT else _named(text)
    tls = TLS(certificate.cert, certificate.key, alpn=alpn)
    if text == DEVELOPMENT:
        print(f"self-signed certificate: {certificate.cert}", file=sys.stderr)
        print(f"its SHA-256 fingerprint: {_spelled(tls.certificates[0].fingerprint)}", file=sys.stderr)
    return tls


def _named(text: str) -> Certificate:
    cert, _, key = text.partition(",")
    return Certificate(cert, key or None)


def _spelled(fingerprint: str) -> str:
    """As browsers and `openssl x509 -fingerprint` show it."""
    return ":".join(fingerprint[at : at + 2] for at in range(0, len(fingerprint), 2)).upper()
