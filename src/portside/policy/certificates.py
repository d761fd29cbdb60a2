"""Certificates in files: a chain and its key, loaded with one sentence for each thing that can be wrong with them."""

import datetime
import hashlib
import os
import re
import ssl
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass, field
from typing import NoReturn

StrPath = str | os.PathLike[str]
Password = str | bytes | Callable[[], str | bytes] | None

# What tells one state of a file from another: device and inode (a renamed file has another), size, and time in ns.
Stamp = tuple[tuple[int, int, int, int] | None, ...]

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")

# ASN.1 tags of a date: two digits of the year (X.690, 8.26), or four.
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_EXPLICIT_VERSION = 0xA0  # of a TBSCertificate; version 1 leaves it out (RFC 5280, 4.1)


class TLSError(ValueError):
    """Options of TLS that cannot be: the message is one sentence that says what is wrong and what is accepted."""


class CertificateWarning(UserWarning):
    """A certificate that clients will not accept: it has expired, or is not valid yet."""


@dataclass(frozen=True)
class Certificate:
    """A certificate chain and its key, in PEM files.

    Attributes:
        cert: path of the chain, the server's own certificate first.
        key: path of the private key; None where `cert` holds it.
        password: of the key, or a callable that returns it; None where it has none. Nobody is asked on a terminal.
    """

    cert: StrPath
    key: StrPath | None = None
    _: KW_ONLY
    password: Password = field(default=None, repr=False)

    @property
    def files(self) -> tuple[StrPath, ...]:
        """The paths."""
        return (self.cert,) if self.key is None else (self.cert, self.key)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Have a context use it.

        Raises:
            TLSError: a file cannot be read or does not hold what it should, or the key does not fit.
        """
        chain = read("certificate", self.cert)
        if not _CERTIFICATE.search(chain):
            raise TLSError(f"{shown(self.cert)} holds no certificate: give a PEM file with -----BEGIN CERTIFICATE-----")
        where = self.cert if self.key is None else self.key
        if not _KEY.search(chain if self.key is None else read("key", self.key)):
            raise TLSError(f"{shown(where)} holds no private key: give the key's file too, key=...")
        password = _Password(self.password)
        try:
            context.load_cert_chain(self.cert, self.key, password)
        except (OSError, ssl.SSLError) as error:
            self._explain(error, where, password)

    def _explain(self, error: OSError, where: StrPath, password: "_Password") -> NoReturn:
        if getattr(error, "reason", None) in _MISMATCHES:
            raise TLSError(
                f"the key in {shown(where)} does not fit the certificate in {shown(self.cert)}: give the pair that "
                "belongs together"
            ) from error
        if password.asked:
            missing = "needs a password: give it, password=..." if self.password is None else "has another password"
            raise TLSError(f"the key in {shown(where)} {missing}") from error
        raise TLSError(f"{shown(self.cert)} and its key cannot be used: {_words(error)}") from error

    def facts(self) -> "CertificateFacts":
        """What the chain's first certificate says of itself.

        Raises:
            TLSError: the file cannot be read, or holds no certificate.
        """
        found = _CERTIFICATE.search(read("certificate", self.cert))
        try:
            der = ssl.PEM_cert_to_DER_cert(found[0] if found else "")
            not_before, not_after = validity(der)
        except ValueError as error:
            raise TLSError(f"{shown(self.cert)} holds no certificate: {error}") from error
        return CertificateFacts(
            path=os.fspath(self.cert),
            not_before=not_before,
            not_after=not_after,
            fingerprint=hashlib.sha256(der).hexdigest(),
        )


_MISMATCHES = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH")  # OpenSSL's words


class _Password:
    """Tells OpenSSL the password, and afterwards whether it wanted one."""

    def __init__(self, password: Password) -> None:
        self._password = password
        self.asked = False

    def __call__(self) -> str | bytes:
        self.asked = True
        if self._password is None:
            return b""
        return self._password() if callable(self._password) else self._password


@dataclass(frozen=True, kw_only=True)
class CertificateFacts:
    """What a certificate says of itself.

    Attributes:
        path: the file that it is in.
        not_before, not_after: when it is valid, in UTC.
        fingerprint: SHA-256 of the certificate (DER), as hexadecimal digits.
    """

    path: str
    not_before: datetime.datetime
    not_after: datetime.datetime
    fingerprint: str

    def complaint(self, now: datetime.datetime) -> str | None:
        """Why clients will refuse it at that time; None where its dates are no reason to."""
        if now >= self.not_after:
            return f"the certificate in {shown(self.path)} has expired on {self.not_after:%Y-%m-%d}: renew it"
        if now < self.not_before:
            return f"the certificate in {shown(self.path)} is not valid before {self.not_before:%Y-%m-%d %H:%M} UTC"
        return None


def read(what: str, path: StrPath) -> str:
    """A file's text.

    Raises:
        TLSError: it cannot be read.
    """
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except (OSError, TypeError, ValueError) as error:
        raise TLSError(f"the {what} file {shown(path)} cannot be read: {_words(error)}") from error


def stamp(files: Iterable[StrPath]) -> Stamp:
    """The state of some files, for comparison with another time's; None for one that is not there."""
    return tuple(map(_state, files))


def _state(path: StrPath) -> tuple[int, int, int, int] | None:
    try:
        found = os.stat(path)
    except (OSError, TypeError, ValueError):  # which reading it will tell of
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def shown(path: object) -> str:
    """A path, for a message."""
    return repr(os.fspath(path) if isinstance(path, os.PathLike) else path)


def _words(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)


# The two dates of a certificate, which the standard library tells only of certificates that it accepts.


def validity(der: bytes) -> tuple[datetime.datetime, datetime.datetime]:
    """When a certificate is valid, in UTC: from, to (RFC 5280, section 4.1).

    Raises:
        ValueError: the bytes are no certificate.
    """
    try:
        _, certificate, _ = _element(der)
        _, fields, _ = _element(certificate)
        tag, _, rest = _element(fields)
        for _ in range(4 if tag == _EXPLICIT_VERSION else 3):  # serial number, signature, issuer, validity
            _, dates, rest = _element(rest)
        first, start, rest = _element(dates)
        second, end, _ = _element(rest)
        return _date(first, start), _date(second, end)
    except (IndexError, OverflowError, UnicodeDecodeError) as error:
        raise ValueError("it cannot be decoded") from error


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Tag and contents of the first element, and what follows it (X.690, section 8.1)."""
    length, start = data[1], 2
    if length >= 0x80:
        start += length - 0x80
        length = int.from_bytes(data[2:start])
    if len(data) < start + length:
        raise IndexError("it ends too early")
    return data[0], data[start : start + length], data[start + length :]


def _date(tag: int, text: bytes) -> datetime.datetime:
    written = text.decode("ascii")
    if tag == _UTC_TIME:  # RFC 5280, 4.1.2.5.1: below 50 is this century
        written = ("20" if written[:2] < "50" else "19") + written
    elif tag != _GENERALIZED_TIME:
        raise ValueError("it has no dates")
    return datetime.datetime.strptime(written, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.UTC)
