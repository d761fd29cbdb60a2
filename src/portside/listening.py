"""A server's own address: the family that it needs, and what to do when the system refuses it."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from portside.binding import explain_bind_error
from portside.endpoints import listener_text

AF_UNIX: int = getattr(socket, "AF_UNIX", -1)  # where there are no Unix sockets, no class for them is exported


@contextlib.contextmanager
def explained(server: Any) -> Iterator[None]:
    """What the system refuses a server that binds, with what to do about it."""
    try:
        yield
    except OSError as error:
        place = listener_text(server.address_family, server.socket_type, server.server_address)
        raise explain_bind_error(error, place) from error


def choose_family(server: Any) -> None:
    """IPv6 for an address that only IPv6 has, where the program has not chosen a family itself."""
    if server.address_family != socket.AF_INET or not isinstance(server.server_address, tuple):
        return
    host, *rest = server.server_address
    if host == "" and server.dual_stack and socket.has_dualstack_ipv6():
        server.server_address = ("::", *rest)
        server.address_family = socket.AF_INET6
    elif isinstance(host, str) and ":" in host:
        server.address_family = socket.AF_INET6
