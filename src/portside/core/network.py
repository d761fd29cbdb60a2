"""What the `socket` module does besides sockets, for tasks: look names up, connect, and make pairs and listeners.

The names and arguments are the `socket` module's, so that this module can stand in for that one. The sockets are green:
in a task they wait in the hub. Outside of tasks everything blocks as ever.
"""

import socket as _socket
import sys
from typing import Any

from portside.core.offloading import offload
from portside.core.sockets import GreenSocket

__all__ = ["adopted", "create_connection", "create_server", "getaddrinfo", "socket", "socketpair"]

socket = GreenSocket

# What `create_connection` takes for "no timeout given": the sockets' default, see `socket.setdefaulttimeout`.
_DEFAULT = object()


def adopted(plain: _socket.socket) -> _socket.socket:
    """A green socket in the place of a plain one, which is detached; its timeout stays.

    A listener of TLS becomes a green listener of TLS. A socket of any other class is returned as it is.
    """
    if type(plain) is _socket.socket:
        timeout = plain.gettimeout()
        green = GreenSocket(fileno=plain.detach())
        green.settimeout(timeout)
        return green
    ssl: Any = sys.modules.get("ssl")
    if ssl is not None and type(plain) is ssl.SSLSocket:
        from portside.core import tls

        return tls.adopted(plain)
    return plain


def getaddrinfo(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> list[Any]:
    """As `socket.getaddrinfo`. A name is looked up in a thread; an address in numbers needs none.

    Raises:
        OSError: `socket.gaierror`, there is no such name, or nobody who knows.
    """
    try:
        return _socket.getaddrinfo(host, port, family, type, proto, flags | _socket.AI_NUMERICHOST)
    except _socket.gaierror:
        return offload(_socket.getaddrinfo, host, port, family, type, proto, flags)


def create_connection(
    address: tuple[Any, Any], timeout: Any = _DEFAULT, source_address: Any = None, *, all_errors: bool = False
) -> GreenSocket:
    """As `socket.create_connection`: every address of the name is tried, in the resolver's order.

    Args:
        address: host and port.
        timeout: seconds for each address tried, and of the returned socket; None for ever.
        source_address: host and port to connect from.
        all_errors: raise an ExceptionGroup of every address's error, instead of the last one.

    Raises:
        OSError: nobody could be reached. No socket is left open.
    """
    host, port = address
    errors: list[Exception] = []
    try:
        for family, kind, proto, _, where in getaddrinfo(host, port, 0, _socket.SOCK_STREAM):
            try:
                return _connected(GreenSocket(family, kind, proto), where, timeout, source_address)
            except OSError as error:
                errors.append(error)
        if all_errors and errors:
            raise ExceptionGroup("create_connection failed", errors)
        raise errors[-1] if errors else OSError("getaddrinfo returns an empty list")
    finally:
        errors.clear()  # each of them knows this frame, which knows the list


def _connected(sock: GreenSocket, where: Any, timeout: Any, source_address: Any) -> GreenSocket:
    try:
        if timeout is not _DEFAULT:
            sock.settimeout(timeout)
        if source_address is not None:
            sock.bind(source_address)
        sock.connect(where)
    except BaseException:
        sock.close()
        raise
    return sock


def create_server(address: Any, **options: Any) -> _socket.socket:
    """As `socket.create_server`, with its options."""
    return adopted(_socket.create_server(address, **options))


def socketpair(*arguments: Any) -> tuple[_socket.socket, _socket.socket]:
    """As `socket.socketpair`: family, type and protocol."""
    one, other = _socket.socketpair(*arguments)
    return adopted(one), adopted(other)
