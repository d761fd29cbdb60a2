"""A certificate for developing: self-signed, for this machine's own names, kept for the next time."""

import datetime
import ipaddress
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

from portside.policy.certificates import Certificate, TLSError

_NAMES = ("localhost", "*.localhost")
_ADDRESSES = ("127.0.0.1", "::1")

# How long it lasts, and how long before its end it is made anew: nobody renews it by hand, and a browser's exception
# for it should not be needed every morning.
_LIFE = datetime.timedelta(days=90)
_SPARE = datetime.timedelta(days=1)


def development_certificate(folder: Path | None = None) -> Certificate:
    """The certificate of this user for developing, made where there is none that is valid.

    Args:
        folder: where it is kept, in one file with its key that only its owner may read; None is the user's cache.

    Raises:
        TLSError: the library that makes certificates is not installed, or the folder cannot be written to.
    """
    path = (_cache() if folder is None else folder) / "development.pem"
    if not _is_valid(path):
        try:
            _write(path, _made())
        except OSError as error:
            raise TLSError(f"a certificate cannot be kept in {path}: {error.strerror}") from error
    return Certificate(path)


def _cache() -> Path:
    """The XDG Base Directory Specification's place for what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portside"


def _is_valid(path: Path) -> bool:
    try:
        facts = Certificate(path).facts()
    except TLSError:
        return False
    return facts.complaint(datetime.datetime.now(datetime.UTC) + _SPARE) is None


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and never readable by others: two servers may start at once."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)  # of mode 0600
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _made() -> bytes:
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
    except ImportError as error:
        raise TLSError(
            "a development certificate needs the library cryptography: pip install 'portside[tls]', or give a "
            "certificate of your own"
        ) from error
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Portside development on {socket.gethostname()}"[:64])])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    signed = (
        builder.not_valid_before(now - _SPARE)  # for clocks that are behind
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName(_alternatives(x509)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return secret + signed.public_bytes(serialization.Encoding.PEM)


def _alternatives(x509: Any) -> list[Any]:
    names = [x509.DNSName(name) for name in _NAMES]
    return names + [x509.IPAddress(ipaddress.ip_address(address)) for address in _ADDRESSES]
