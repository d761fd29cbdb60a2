"""Where the admin endpoint listens, and who may reach it: checked before anything binds."""

import dataclasses
import ipaddress
from dataclasses import dataclass

from portside.endpoints import Endpoint

# The mode of the socket file: whoever can connect can end the service.
MODE = 0o600


@dataclass(frozen=True, kw_only=True)
class Admin:
    """An admin endpoint.

    Attributes:
        endpoint: where: a TCP endpoint on a loopback address, or a Unix socket, which gets mode 600.
        public: let it be reached from elsewhere. Nothing asks for a password: put something before it that does.
        hosts: names under which it is reached besides `localhost` and addresses; a request for any other name is
            refused, since a page of the web can have its name lead to a loopback address (DNS rebinding).

    Raises:
        ValueError: the endpoint is no stream, or others than this user could reach it and `public` does not say so.
    """

    endpoint: Endpoint
    public: bool = False
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        endpoint = self.endpoint
        if endpoint.scheme in ("udp", "unixgram"):
            raise ValueError(f"admin={str(endpoint)!r} is not accepted; accepted is a tcp: or unix: endpoint")
        if endpoint.scheme == "unix" and endpoint.mode is None and not endpoint.path.startswith("@"):
            endpoint = dataclasses.replace(endpoint, mode=MODE)
            object.__setattr__(self, "endpoint", endpoint)
        if not self.public and not is_private(endpoint):
            raise ValueError(
                f"admin={str(endpoint)!r} could be reached by others: name a loopback address as in tcp://127.0.0.1:9100"
                " or a Unix socket, whose mode is then 600, or say Admin(endpoint=..., public=True)"
            )
        object.__setattr__(self, "hosts", tuple(host.lower() for host in self.hosts))

    @classmethod
    def parse(cls, value: "str | int | Endpoint | Admin") -> "Admin":
        """An endpoint, or its text, as an admin endpoint; an `Admin` is returned as it is.

        Raises:
            ValueError: as above; `EndpointError` where the text is no endpoint.
        """
        return value if isinstance(value, Admin) else cls(endpoint=Endpoint.parse(value))


def is_private(endpoint: Endpoint) -> bool:
    """Whether nobody but this machine (TCP), or this user (Unix), can connect."""
    if endpoint.scheme == "unix":  # a name of the abstract namespace has no mode: everybody may connect
        return endpoint.mode is not None and endpoint.mode & ~MODE == 0
    return endpoint.scheme == "tcp" and is_loopback(endpoint.host)


def is_loopback(host: str) -> bool:
    """Whether a host's name or address means this machine."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_address(host: str) -> bool:
    """Whether this is an address and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
