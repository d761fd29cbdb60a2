"""Where a server listens or a client connects, as one line of text and as a frozen value.

Rules of this file:

* ``Endpoint.parse(str(endpoint)) == endpoint`` for every endpoint that exists: an ``Endpoint`` checks itself when it is
  made, by the parser or by hand, so that nothing invalid is ever passed on.
* ``Endpoint.parse`` returns an endpoint or raises ``EndpointError``, for any text.
* Parsing touches neither the network nor the resolver. A host name is looked up when its ``family`` is asked for, when
  a socket is bound and when one is connected; a numeric address never is.
* What differs between the schemes' sockets is in one table, ``_SCHEMES``, at the end of the file.

The text is the business of ``portside.endpoint_text``; binding and connecting are in ``portside.binding``, which knows
sockets and addresses but no endpoints.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn

from portside.addresses import address_text
from portside.binding import dial
from portside.endpoint_text import EndpointError, checked, read, shown, write

__all__ = ["Endpoint", "EndpointError", "adopt", "listener_text"]

_LOOPBACK: Final = "127.0.0.1"  # reaches every socket bound to an empty host, even where ::1 is switched off
_AF_UNIX: Final[socket.AddressFamily | None] = getattr(socket, "AF_UNIX", None)  # Python on Windows has none


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """One place to listen on or to connect to.

    Fields that do not belong to the scheme keep their defaults. Making an endpoint checks every field and writes hosts
    in one way: names in lower case, IPv6 addresses shortened (RFC 5952).

    Attributes:
        scheme: ``tcp``, ``tls`` (encrypted from the first byte), ``https`` (the same, with HTTP in it), ``udp``,
            ``unix`` (a stream), ``unixgram`` (datagrams), ``fd`` (an inherited descriptor) or ``systemd`` (what systemd
            has bound for this process).
        host: tcp, tls, https, udp: a name, an IPv4 address, or an IPv6 address without brackets, perhaps with a zone
            (``fe80::1%eth0``). Empty: all interfaces, IPv6 and IPv4. Default: loopback, so that nothing is reachable
            from outside unless asked for.
        port: tcp, tls, https, udp: 0 to 65535. Default 0: the system chooses a free one.
        path: unix, unixgram: a file path, absolute or relative, or ``@name`` in Linux's abstract namespace. A file
            whose name starts with ``@`` is written ``./@name``.
        fd: fd: the descriptor's number, 0 or more.
        name: systemd: the name of the sockets that are meant (``FileDescriptorName=``); empty: all of them.
        mode: unix, unixgram: permission bits of the file, 0 to 0o777. None: what the umask leaves.
        backlog: tcp, tls, https, unix: connections that may wait to be accepted, 1 to 65535. None: the server's
            default.
        reuse_port: tcp, tls, https, udp: several processes may bind the same port, and the kernel shares clients out
            among them (Linux socket(7), SO_REUSEPORT).
        cert: tls, https: path of a server's certificate chain (PEM). Empty: told otherwise, or a client's endpoint.
        key: tls, https: path of its private key. Empty: ``cert`` holds it.

    Raises:
        EndpointError: a field is out of its range, or does not belong to the scheme.
    """

    scheme: Literal["tcp", "tls", "https", "udp", "unix", "unixgram", "fd", "systemd"]
    host: str = _LOOPBACK
    port: int = 0
    path: str = ""
    fd: int = -1
    name: str = ""
    mode: int | None = None
    backlog: int | None = None
    reuse_port: bool = False
    cert: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        """Check every field, and write the host in its one way."""
        fields = dataclasses.asdict(self)
        changed = {field.name for field in dataclasses.fields(self) if fields[field.name] != field.default}
        for name, value in checked(fields, changed).items():
            object.__setattr__(self, name, value)

    @classmethod
    def parse(cls, text: str | int | Endpoint) -> Endpoint:
        """Read an endpoint from text.

        Args:
            text: one of the forms of ``docs/reference/endpoints.md``. A number, or digits alone, is a TCP port on
                loopback. An endpoint is returned as it is.

        Returns:
            The endpoint; ``Endpoint.parse(str(endpoint))`` equals it.

        Raises:
            EndpointError: for every other text, with one sentence that names the text, what is wrong with it and what
                is accepted.
        """
        if isinstance(text, Endpoint):
            return text
        try:
            return cls(**read(str(text)))
        except EndpointError as error:
            raise EndpointError(f"endpoint {shown(str(text))}: {error}") from error

    @classmethod
    def from_socket(cls, sock: socket.socket) -> Endpoint:
        """Tell where a socket is really bound.

        Args:
            sock: a bound socket, which stays the caller's.

        Returns:
            The endpoint with the port that the system chose. A ``::`` that takes IPv4 clients too has the host ``""``.
            Options (mode, backlog, reuse_port) are not read back.

        Raises:
            EndpointError: the socket is neither TCP, UDP nor Unix, or a Unix socket without a name.
            OSError: the socket is closed.
        """
        if (sock.family, sock.type) in _SOCKETS:
            scheme, bound = _SOCKETS[sock.family, sock.type]
            return cls(**{"scheme": scheme} | bound(sock))
        raise EndpointError(f"a socket of {sock.family!r} and {sock.type!r} is no endpoint; TCP, UDP and Unix ones are")

    def described(self) -> Endpoint:
        """Where a descriptor is really bound, as `from_socket` tells it; it stays as it is.

        Raises:
            EndpointError: this is no descriptor's endpoint, or the descriptor is no TCP, UDP or Unix socket.
        """
        sock = _wrapped(self.fd)
        try:
            return Endpoint.from_socket(sock)
        finally:
            sock.detach()

    def __str__(self) -> str:
        """Write the canonical text, which ``parse`` reads back."""
        return write(dataclasses.asdict(self))

    @property
    def family(self) -> socket.AddressFamily:
        """The address family of a socket for this endpoint.

        A host name asks the resolver here, and is IPv4 when it has an IPv4 address (as ``socketserver`` is, and as the
        clients expect that know 127.0.0.1 as localhost), else IPv6. An empty host is IPv6 where one IPv6 socket can
        serve both families, else IPv4. A descriptor is asked for its own.

        Raises:
            OSError: ``socket.gaierror`` when a name cannot be resolved.
            EndpointError: the descriptor is no socket, or this system has no Unix sockets.
        """
        return _SCHEMES[self.scheme].family(self, socket)

    @property
    def type(self) -> socket.SocketKind:
        """``SOCK_STREAM`` or ``SOCK_DGRAM``; a descriptor is asked for its own (EndpointError when it is no socket)."""
        if self.scheme == "systemd":
            _not_taken_over(self)
        return _SCHEMES[self.scheme].kind or _described(self.fd)[1]

    @property
    def is_stream(self) -> bool:
        """Whether clients connect, in contrast to sending datagrams."""
        return self.type == socket.SOCK_STREAM

    @property
    def is_tls(self) -> bool:
        """Whether what goes over the connection is encrypted from the first byte."""
        return self.scheme in ("tls", "https")

    @property
    def is_dual_stack(self) -> bool:
        """Whether one socket is to serve IPv6 and IPv4: the host is empty."""
        return self.host == ""

    @property
    def address(self) -> Any:
        r"""The address in the form that Python's socket methods take.

        ``("127.0.0.1", 9000)``, ``("::", 9000)`` for an empty host, ``"/path"``, ``"\0name"`` for an abstract name,
        what ``getsockname`` says for a descriptor. An address with a zone has four items, the last being the
        interface's index: Python ignores the zone in shorter ones, and the kernel answers EINVAL. A name is left as it
        is.

        Raises:
            OSError: no interface has the name of the zone.
            EndpointError: the descriptor is no socket.
        """
        return _SCHEMES[self.scheme].address(self)

    def connect(self, timeout: float | None = None, *, network: Any = socket) -> socket.socket:
        """Connect a client's socket to this endpoint.

        Every address of a TCP host name is tried in the resolver's order, like ``socket.create_connection``; a
        datagram says nothing about who hears it, so UDP goes to the family that a server of the same text binds. An
        empty host connects to loopback. A unixgram client gets an address of its own, so that replies arrive. The
        connection is as it was made, without TLS: that is `portside.connect`'s.

        Args:
            timeout: seconds for each address tried, and of the returned socket; None waits without a limit.
            network: the `socket` module, or what stands in for it: names are looked up and sockets made there.

        Returns:
            A connected socket, which is the caller's to close.

        Raises:
            OSError: nobody could be reached: the error of the last address, with a note that names the endpoint. No
                socket is left open.
            EndpointError: a descriptor cannot be connected, or this system has no Unix sockets.
        """
        try:
            return _SCHEMES[self.scheme].connect(self, timeout, network)
        except OSError as error:
            error.add_note(f"while connecting to {self}")
            raise


def adopt(fd: int) -> socket.socket:
    """Take over a socket that this process inherited, as ``fd:3`` says.

    Args:
        fd: the descriptor's number.

    Returns:
        A socket of the family and type that the kernel reports. It owns the descriptor from now on: closing the one
        closes the other. Programs started later do not inherit it (PEP 446).

    Raises:
        EndpointError: the descriptor is not open, or no socket; it is left as it was.
    """
    sock = _wrapped(fd)
    sock.set_inheritable(False)
    return sock


def listener_text(family: int, kind: int, address: object) -> str:
    """Where a socket is to listen, for messages: an endpoint's scheme, and the address as people write it."""
    scheme = _SOCKETS[family, kind][0] if (family, kind) in _SOCKETS else ""
    mark = "" if not scheme else ":" if scheme.startswith("unix") else "://"
    return f"{scheme}{mark}{address_text(address)}"


# Sockets


def _inet_family(endpoint: Endpoint, network: Any) -> socket.AddressFamily:
    host = endpoint.host
    if not host:
        return socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    if ":" in host:
        return socket.AF_INET6
    is_ipv4 = host.rpartition(".")[2].isdecimal()  # a checked name never ends in a number
    return socket.AF_INET if is_ipv4 else _resolved_family(endpoint, network)


def _resolved_family(endpoint: Endpoint, network: Any) -> socket.AddressFamily:
    families = {found[0] for found in network.getaddrinfo(endpoint.host, endpoint.port, type=endpoint.type)}
    return socket.AF_INET if socket.AF_INET in families else socket.AF_INET6


def _unix_family(_endpoint: Endpoint, _network: Any) -> socket.AddressFamily:
    if _AF_UNIX is None:
        raise EndpointError("this system has no Unix sockets; use tcp://127.0.0.1:PORT")
    return _AF_UNIX


def _described(fd: int) -> tuple[socket.AddressFamily, socket.SocketKind, Any]:
    sock = _wrapped(fd)
    try:
        return sock.family, sock.type, sock.getsockname()
    finally:
        sock.detach()


def _wrapped(fd: int) -> socket.socket:
    try:
        return socket.socket(fileno=fd)
    except OSError as error:
        raise EndpointError(f"fd:{fd} is no open socket ({error.strerror}); name a descriptor that is one") from error


def _inet_address(endpoint: Endpoint) -> tuple[Any, ...]:
    if not endpoint.host:
        return ("::" if endpoint.family == socket.AF_INET6 else "0.0.0.0", endpoint.port)
    host, mark, zone = endpoint.host.partition("%")
    return (host, endpoint.port, 0, _interface_index(zone)) if mark else (host, endpoint.port)


def _interface_index(zone: str) -> int:
    if zone.isdecimal():
        return int(zone)
    try:
        return socket.if_nametoindex(zone)
    except OSError as error:
        raise OSError(errno.ENODEV, f"no interface is called {shown(zone)}; `ip link` lists them") from error


def _unix_address(endpoint: Endpoint) -> str:
    return f"\0{endpoint.path[1:]}" if endpoint.path.startswith("@") else endpoint.path


def _bound_inet(sock: socket.socket) -> dict[str, Any]:
    host, port, *rest = sock.getsockname()
    if host == "::" and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        host = ""
    zone = f"%{socket.if_indextoname(rest[1])}" if rest and rest[1] else ""
    return {"host": host + zone, "port": port}


def _bound_unix(sock: socket.socket) -> dict[str, Any]:
    name = os.fsdecode(sock.getsockname())
    if name.startswith("\0"):
        return {"path": f"@{name[1:]}"}
    return {"path": f"./{name}" if name.startswith("@") else name}


def _connect_tcp(endpoint: Endpoint, timeout: float | None, network: Any) -> socket.socket:
    made: socket.socket = network.create_connection((endpoint.host or _LOOPBACK, endpoint.port), timeout)
    return made


def _connect_directly(endpoint: Endpoint, timeout: float | None, network: Any) -> socket.socket:
    target = endpoint if endpoint.host else dataclasses.replace(endpoint, host=_LOOPBACK)
    family = _SCHEMES[target.scheme].family(target, network)
    return dial(target.address, family=family, kind=target.type, timeout=timeout, network=network)


def _connect_descriptor(endpoint: Endpoint, _timeout: float | None, _network: Any) -> NoReturn:
    raise EndpointError(f"{endpoint} is a socket already and cannot be connected; take it over with adopt()")


def _not_taken_over(endpoint: Endpoint, *_: Any) -> NoReturn:
    raise EndpointError(
        f"{endpoint} is for systemd's socket activation, which has not happened here: no LISTEN_FDS for this process"
    )


# Tables


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scheme:
    """What differs from scheme to scheme."""

    kind: socket.SocketKind | None  # None: only the descriptor knows
    family: Callable[[Endpoint, Any], socket.AddressFamily]
    address: Callable[[Endpoint], Any]
    connect: Callable[[Endpoint, float | None, Any], socket.socket]


_TCP: Final = _Scheme(
    kind=socket.SOCK_STREAM,
    family=_inet_family,
    address=_inet_address,
    connect=_connect_tcp,
)
_UNIX: Final = _Scheme(
    kind=socket.SOCK_STREAM,
    family=_unix_family,
    address=_unix_address,
    connect=_connect_directly,
)
_FD: Final = _Scheme(
    kind=None,
    family=lambda endpoint, _: _described(endpoint.fd)[0],
    address=lambda endpoint: _described(endpoint.fd)[2],
    connect=_connect_descriptor,
)
_SYSTEMD: Final = _Scheme(kind=None, family=_not_taken_over, address=_not_taken_over, connect=_not_taken_over)

_SCHEMES: Final[Mapping[str, _Scheme]] = {
    "tcp": _TCP,
    "tls": _TCP,
    "https": _TCP,
    "udp": dataclasses.replace(_TCP, kind=socket.SOCK_DGRAM, connect=_connect_directly),
    "unix": _UNIX,
    "unixgram": dataclasses.replace(_UNIX, kind=socket.SOCK_DGRAM),
    "fd": _FD,
    "systemd": _SYSTEMD,
}

# What the kernel calls a socket, what an endpoint calls it, and how its name is read.
_SOCKETS: Final[Mapping[tuple[int | None, int], tuple[str, Callable[[socket.socket], dict[str, Any]]]]] = {
    (socket.AF_INET, socket.SOCK_STREAM): ("tcp", _bound_inet),
    (socket.AF_INET6, socket.SOCK_STREAM): ("tcp", _bound_inet),
    (socket.AF_INET, socket.SOCK_DGRAM): ("udp", _bound_inet),
    (socket.AF_INET6, socket.SOCK_DGRAM): ("udp", _bound_inet),
    (_AF_UNIX, socket.SOCK_STREAM): ("unix", _bound_unix),
    (_AF_UNIX, socket.SOCK_DGRAM): ("unixgram", _bound_unix),
}
