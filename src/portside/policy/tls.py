"""TLS, as one says it: `TLS` of a server, `ClientTLS` of a client. Checked when it is made, before anything binds."""

import datetime
import math
import re
import ssl
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from types import MappingProxyType

from portside.policy.certificates import (
    Certificate,
    CertificateFacts,
    CertificateWarning,
    Password,
    StrPath,
    TLSError,
    read,
    shown,
)
from portside.policy.contexts import ServerContexts
from portside.policy.handshakes import TICKETS, TLSGate

# Of TLS 1.2: with forward secrecy and authenticated encryption, as Mozilla's "intermediate" recommends; without its DHE
# suites, whose handshake costs a server ten times as much and which no client of the last ten years needs. TLS 1.3 has
# no others.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

# Seconds of a handshake: two round trips between continents and a slow key take one; haproxy's and nginx's are 10 and
# 60, gevent's is none.
HANDSHAKE_SECONDS = 10.0

# Seconds between two looks at the files. A look is a stat(2) for each.
RELOAD_SECONDS = 1.0

_NAME = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")

# Older ones are broken, and deprecated by RFC 8996.
_VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class ClientCertificates(StrEnum):
    """Whether clients show certificates."""

    NO = "no"  # they are not asked
    ASKED = "asked"  # who shows one that is not trusted is refused; who shows none is served
    REQUIRED = "required"  # who shows none is refused


@dataclass(frozen=True)
class TLS:
    """TLS of a server.

    Attributes:
        cert: path of the certificate chain (PEM), the server's own certificate first.
        key: path of the private key; None where `cert` holds it.
        password: of the key, or a callable that returns it; None where it has none.
        names: other certificates by the name that a client asks for (SNI, RFC 6066, section 3): `"example.org"`, or
            `"*.example.org"` for each name one level below. Who asks for another name, or none, is shown `cert`.
        alpn: the protocols that may be spoken, the best first (RFC 7301); empty where there is nothing to agree on.
        client_ca: path of the certificates (PEM) that clients' certificates must be signed by.
        client_certificates: whether clients show certificates; None is required where there is a `client_ca`.
        minimum_version: `ssl.TLSVersion.TLSv1_2`, or `TLSv1_3`.
        ciphers: OpenSSL's cipher list for TLS 1.2; None is `CIPHERS`.
        handshake_timeout: seconds that a client's handshake may take in all.
        reload_seconds: at most so often, when a client comes, the files are looked at, and loaded when they have
            changed; None leaves it to `reload()`.
        starttls: True lets clients in without TLS, which begins where the handler says `self.start_tls()`.

    Raises:
        TLSError: a ValueError; one sentence says what is wrong.

    A certificate that has expired is a `CertificateWarning`: clients that look will refuse it.
    """

    cert: StrPath
    key: StrPath | None = None
    _: KW_ONLY
    password: Password = field(default=None, repr=False)
    names: Mapping[str, Certificate] = field(default_factory=lambda: MappingProxyType({}))
    alpn: Sequence[str] = ()
    client_ca: StrPath | None = None
    client_certificates: ClientCertificates | str | None = None
    minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    ciphers: str | None = None
    handshake_timeout: float = HANDSHAKE_SECONDS
    reload_seconds: float | None = RELOAD_SECONDS
    starttls: bool = False
    _contexts: ServerContexts = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        asked = _checked_asking(self.client_certificates, self.client_ca)
        object.__setattr__(self, "client_certificates", asked)
        object.__setattr__(self, "alpn", _checked_alpn(self.alpn))
        object.__setattr__(self, "names", _checked_names(self.names))
        _check_version(self.minimum_version)
        _check_seconds("handshake_timeout", self.handshake_timeout)
        if self.reload_seconds is not None:
            _check_seconds("reload_seconds", self.reload_seconds)
        object.__setattr__(self, "_contexts", ServerContexts(self.files, self._load, self.reload_seconds))
        _warn_of(self.certificates)

    @property
    def certificate(self) -> Certificate:
        """The certificate for clients that ask for no other."""
        return Certificate(self.cert, self.key, password=self.password)

    @property
    def files(self) -> tuple[StrPath, ...]:
        """Every file that is loaded."""
        pairs = (self.certificate, *self.names.values())
        authority = () if self.client_ca is None else (self.client_ca,)
        return (*(path for pair in pairs for path in pair.files), *authority)

    @property
    def certificates(self) -> tuple[CertificateFacts, ...]:
        """What the files' certificates say of themselves now: dates, fingerprints.

        Raises:
            TLSError: a file cannot be read.
        """
        return tuple(each.facts() for each in (self.certificate, *self.names.values()))

    def gate(self) -> TLSGate | None:
        """What clients have to pass before their handler; None where TLS begins later."""
        return None if self.starttls else TLSGate(self.fresh_context, lambda _: self.handshake_timeout)

    def context(self) -> ssl.SSLContext:
        """A context for new connections, made of the files as they were when they were last looked at."""
        return self._contexts.context

    def fresh_context(self, server: object = None) -> ssl.SSLContext:
        """The same, after a look at the files where one is due.

        Args:
            server: for whom; what has become of changed files is told as an event of this server.
        """
        return self._contexts.fresh(server)

    def reload(self, server: object = None) -> None:
        """Load the files now. Connections that exist are not concerned.

        Args:
            server: whose event `CertificateReloaded` is.

        Raises:
            TLSError: they cannot be used; the ones before stay in use.
        """
        self._contexts.reload(server)

    def reload_soon(self) -> None:
        """Load the files when the next client comes; unlike `reload` this may be called by a signal handler.

        Files that cannot be used are told of then, and the ones before stay in use.
        """
        self._contexts.expire()

    def _load(self) -> ssl.SSLContext:
        """What the files say now.

        Raises:
            TLSError: they cannot be used.
        """
        default = self._context_of(self.certificate)
        others = {name: self._context_of(each) for name, each in self.names.items()}
        default.sni_callback = chooser(others)
        return default

    def _context_of(self, certificate: Certificate) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.options |= ssl.OP_NO_RENEGOTIATION  # a client could make the server work without end (CVE-2011-1473)
        _configure(context, self.minimum_version, self.ciphers or CIPHERS, self.alpn)
        certificate.load_into(context)
        context.num_tickets = TICKETS
        if self.client_ca is not None:
            _trust(context, self.client_ca)
            required = self.client_certificates is ClientCertificates.REQUIRED
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        return context


@dataclass(frozen=True)
class ContextTLS:
    """TLS of a server by a context that the program has made.

    Attributes:
        ssl_context: of the server's side. Files that change are the program's concern.
        handshake_timeout: seconds that a client's handshake may take in all.
        starttls: as in `TLS`.
    """

    ssl_context: ssl.SSLContext
    _: KW_ONLY
    handshake_timeout: float = HANDSHAKE_SECONDS
    starttls: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.ssl_context, ssl.SSLContext):
            raise TLSError(f"{self.ssl_context!r} is no SSLContext; with files write TLS(cert, key)")
        _check_seconds("handshake_timeout", self.handshake_timeout)

    def gate(self) -> TLSGate | None:
        """As of `TLS`."""
        return None if self.starttls else TLSGate(self.fresh_context, lambda _: self.handshake_timeout)

    def fresh_context(self, server: object = None) -> ssl.SSLContext:
        """The context."""
        return self.ssl_context

    def reload(self, server: object = None) -> None:
        """Nothing to do."""

    def reload_soon(self) -> None:
        """Nothing to do."""


def chooser(contexts: Mapping[str, ssl.SSLContext]) -> Callable[..., None]:
    """A callback for `SSLContext.sni_callback`, which notes the name that a client asks for and chooses by it."""

    def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name is not None:
            vars(connection)["portside_server_name"] = name = name.lower()
            chosen = contexts.get(name) or contexts.get(f"*.{name.partition('.')[2]}")
            if chosen is not None:
                connection.context = chosen

    return choose


@dataclass(frozen=True, kw_only=True)
class ClientTLS:
    """TLS of a client, which checks whom it talks to unless it is told not to.

    Attributes:
        ca: path of the certificates (PEM) that the server's must be signed by; None is whom the system trusts.
        cert, key, password: the client's own certificate, where servers ask for one; see `Certificate`.
        server_name: who the server must be; None is the endpoint's host.
        alpn: the protocols that may be spoken, the best first.
        verify: False takes any server for the right one: a connection that somebody else may read and change.
        minimum_version: `ssl.TLSVersion.TLSv1_2`, or `TLSv1_3`.
        ciphers: OpenSSL's cipher list for TLS 1.2; None is Python's own.

    Raises:
        TLSError: a ValueError; one sentence says what is wrong.
    """

    ca: StrPath | None = None
    cert: StrPath | None = None
    key: StrPath | None = None
    password: Password = field(default=None, repr=False)
    server_name: str | None = None
    alpn: Sequence[str] = ()
    verify: bool = True
    minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    ciphers: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpn", _checked_alpn(self.alpn))
        _check_version(self.minimum_version)
        if self.key is not None and self.cert is None:
            raise TLSError("key=... without cert=...: give the certificate that the key belongs to")
        if self.ca is not None and not self.verify:
            raise TLSError("ca=... and verify=False: give one of the two")
        self.context()

    def context(self) -> ssl.SSLContext:
        """A context, made of the files as they are now.

        Raises:
            TLSError: a file cannot be used.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _configure(context, self.minimum_version, self.ciphers, self.alpn)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca is None:
            context.load_default_certs()
        else:
            _trust(context, self.ca)
        if self.cert is not None:
            Certificate(self.cert, self.key, password=self.password).load_into(context)
        return context


def _configure(context: ssl.SSLContext, version: ssl.TLSVersion, ciphers: str | None, alpn: Sequence[str]) -> None:
    context.minimum_version = version
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if ciphers is None:
        return
    try:
        context.set_ciphers(ciphers)
    except (ssl.SSLError, TypeError) as error:
        raise TLSError(f"ciphers={ciphers!r} selects nothing: `openssl ciphers` tells what a list selects") from error


def _trust(context: ssl.SSLContext, path: StrPath) -> None:
    try:
        read("certificate", path)  # OpenSSL does not say what is wrong with a file that it cannot open
        context.load_verify_locations(path)
    except (ssl.SSLError, ValueError) as error:
        if isinstance(error, TLSError):
            raise
        raise TLSError(
            f"{shown(path)} holds no certificate: give a PEM file with -----BEGIN CERTIFICATE-----"
        ) from error


# Checks


def _checked_asking(value: str | None, authority: StrPath | None) -> ClientCertificates:
    if value is None:
        return ClientCertificates.NO if authority is None else ClientCertificates.REQUIRED
    if value not in list(ClientCertificates):
        accepted = ", ".join(repr(each.value) for each in ClientCertificates)
        raise TLSError(f"client_certificates={value!r} is not accepted; accepted are {accepted}")
    asked = ClientCertificates(value)
    if (asked is ClientCertificates.NO) != (authority is None):
        raise TLSError(
            f"client_certificates={asked.value!r} and client_ca={authority!r} do not go together: whom to trust is "
            "told where clients are asked, and only there"
        )
    return asked


def _checked_alpn(protocols: Sequence[str]) -> tuple[str, ...]:
    if isinstance(protocols, str) or not all(isinstance(each, str) and 0 < len(each) < 256 for each in protocols):
        raise TLSError(f'alpn={protocols!r} is not accepted; accepted are names of protocols, as in ("h2", "http/1.1")')
    return tuple(protocols)


def _checked_names(names: Mapping[str, Certificate]) -> Mapping[str, Certificate]:
    for name, certificate in names.items():
        if not _NAME.fullmatch(name.lower()):
            raise TLSError(f"names: {name!r} is no name; write one as in example.org or *.example.org")
        if not isinstance(certificate, Certificate):
            raise TLSError(f"names[{name!r}]={certificate!r} is no Certificate; write Certificate(cert, key)")
    return MappingProxyType({name.lower(): certificate for name, certificate in names.items()})


def _check_version(version: ssl.TLSVersion) -> None:
    if version not in _VERSIONS:
        raise TLSError(f"minimum_version={version!r} is not accepted; accepted are TLSv1_2 and TLSv1_3 (RFC 8996)")


def _check_seconds(option: str, seconds: float) -> None:
    if not (isinstance(seconds, int | float) and 0 < seconds < math.inf):
        raise TLSError(f"{option}={seconds!r} is not accepted; accepted is a number of seconds above 0")


def _warn_of(certificates: tuple[CertificateFacts, ...]) -> None:
    now = datetime.datetime.now(datetime.UTC)
    for complaint in filter(None, (each.complaint(now) for each in certificates)):
        warnings.warn(complaint, CertificateWarning, stacklevel=4)
