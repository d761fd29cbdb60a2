"""What to open in a browser: the links to a server, also those that other machines of the network can use."""

import socket
from collections.abc import Iterable, Iterator

from portside.endpoints import Endpoint

# By the host that stands for every address of the machine: a documentation address (RFC 5737, RFC 3849), by which the
# system tells from which of its own it would send. Nothing is sent.
_EVERYWHERE = {
    "": (socket.AF_INET, "192.0.2.1"),
    "0.0.0.0": (socket.AF_INET, "192.0.2.1"),
    "::": (socket.AF_INET6, "2001:db8::1"),
}

_ANY_PORT = 9  # the discard service's; a datagram socket has to name one to be "connected"

_DEFAULT_PORTS = {"http": 80, "https": 443}


def links(endpoints: Iterable[Endpoint], *, is_encrypted: bool) -> Iterator[str]:
    """A link for each endpoint that a browser can reach; two for one that listens everywhere.

    Args:
        endpoints: where a server that speaks HTTP listens.
        is_encrypted: all of them speak TLS, also those whose scheme does not say so.
    """
    for endpoint in endpoints:
        scheme = "https" if is_encrypted or endpoint.is_tls else "http"
        for host in _hosts(endpoint):
            shown = f"[{host}]" if ":" in host else host
            port = "" if endpoint.port == _DEFAULT_PORTS[scheme] else f":{endpoint.port}"
            yield f"{scheme}://{shown}{port}/"


def _hosts(endpoint: Endpoint) -> Iterator[str]:
    if not endpoint.is_stream or endpoint.scheme in ("unix", "fd", "systemd"):
        return
    if endpoint.host not in _EVERYWHERE:
        yield endpoint.host
        return
    yield "localhost"
    yield from own_address(*_EVERYWHERE[endpoint.host])


def own_address(family: socket.AddressFamily, stranger: str) -> Iterator[str]:
    """The address under which this machine would talk to a stranger; none where it has no network."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((stranger, _ANY_PORT))
            yield str(asking.getsockname()[0])
    except OSError:
        return
