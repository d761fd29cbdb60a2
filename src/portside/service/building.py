"""From a description to bound servers: a table chooses the class, class attributes configure it.

Whatever can be said in the modern face is said to the classes of the drop-in face in their own words.
"""

import contextlib
import dataclasses
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from portside.binding import explain_bind_error
from portside.endpoints import Endpoint, adopt
from portside.engines import AsyncMixIn, ForkingMixIn, GreenMixIn, SerialMixIn, ThreadingMixIn
from portside.policy.access import Access
from portside.servers import TCPServer, UDPServer, UnixDatagramServer, UnixStreamServer
from portside.service.description import Service

_MIX_INS: dict[str, type] = {
    "serial": SerialMixIn,
    "threads": ThreadingMixIn,
    "forks": ForkingMixIn,
    "green": GreenMixIn,
    "async": AsyncMixIn,
}

_BOUNDS = {"threads": "max_threads", "forks": "max_children", "green": "max_greenlets", "async": "max_tasks"}


def build(service: Service, listeners: Sequence[socket.socket] | None = None) -> list[TCPServer]:
    """Bind a server for each endpoint; either all of them listen, or none is left open.

    Args:
        service: what is served.
        listeners: sockets that listen there already, one an endpoint, which are the servers' from now on.

    Raises:
        OSError: an endpoint cannot be bound; the message says what to do about it.
        EndpointError: an inherited descriptor is no socket.
    """
    if service.access is None:  # one for all endpoints, which can be told later
        service = dataclasses.replace(service, access=Access())
    attributes = _engine_attributes(service)
    with contextlib.ExitStack() as stack:
        servers = []
        ready: Sequence[socket.socket | None] = listeners or [None] * len(service.endpoints)
        for endpoint, tls, listener in zip(service.endpoints, service.encryption, ready, strict=True):
            server_class = _server_class(endpoint, _MIX_INS[service.engine], {**attributes, "tls": tls}, listener)
            server = server_class(
                _address(endpoint), service.handler, bind_and_activate=False, handler_args=service.handler_args
            )
            stack.push(server)
            _listen(server, endpoint, listener)
            servers.append(server)
        stack.pop_all()
    return servers


def hold(endpoint: Endpoint, listener: socket.socket | None = None) -> TCPServer:
    """Bind an endpoint for other processes to accept there: a server that listens and never runs.

    Args:
        endpoint: where.
        listener: a socket that listens there already, which is the server's from now on.

    Raises:
        OSError, EndpointError: as for `build`.
    """
    server: TCPServer = _server_class(endpoint, SerialMixIn, {}, listener)(
        _address(endpoint), _nobody, bind_and_activate=False
    )
    try:
        _listen(server, endpoint, listener)
    except BaseException:
        server.server_close()
        raise
    return server


def _nobody(*_: Any) -> None:
    """The handler of a server that never runs."""


def _server_class(
    endpoint: Endpoint, mix_in: type, attributes: Mapping[str, Any], listener: socket.socket | None
) -> Any:
    try:
        family = endpoint.family if listener is None else listener.family
        transport = _transport(endpoint, family)
    except OSError as error:  # a host name that nobody knows
        raise explain_bind_error(error, str(endpoint)) from error
    everything = {**attributes, **_endpoint_attributes(endpoint, transport, family)}
    return type(transport.__name__, (mix_in, transport), everything)


def _listen(server: TCPServer, endpoint: Endpoint, listener: socket.socket | None) -> None:
    if listener is not None:
        _take(server, listener)
    elif endpoint.scheme == "fd":
        _take(server, adopt(endpoint.fd))
        server.server_activate()
    else:
        server.server_bind()
        server.server_activate()


def _take(server: TCPServer, listener: socket.socket) -> None:
    server.socket.close()
    server.socket = server._portside_own_socket(listener)
    server.server_address = server.socket.getsockname()


def _transport(endpoint: Endpoint, family: int) -> type[TCPServer]:
    unix = family == getattr(socket, "AF_UNIX", None)
    if endpoint.is_stream:
        return UnixStreamServer if unix else TCPServer
    return UnixDatagramServer if unix else UDPServer


def _engine_attributes(service: Service) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "drain_timeout": service.drain,
        "limits": service.limits,
        "access": service.access,
        "proxy_protocol": service.proxy_protocol,
    }
    if service.engine == "threads":
        attributes["daemon_threads"] = True  # the drain decides how long handlers live, not the interpreter's end
    if service.engine in _BOUNDS and service.max_handlers is not None:
        attributes[_BOUNDS[service.engine]] = service.max_handlers
    return attributes


def _endpoint_attributes(endpoint: Endpoint, transport: type[TCPServer], family: int) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "__doc__": transport.__doc__,
        "__module__": transport.__module__,
        "address_family": family,
        "allow_reuse_address": transport is TCPServer,  # a restart must not wait for TIME_WAIT to pass
        "allow_reuse_port": endpoint.reuse_port,
        "dual_stack": _is_dual_stack(endpoint, family),
        "socket_mode": endpoint.mode,
        "unlink_on_close": True,
    }
    if endpoint.backlog is not None:
        attributes["request_queue_size"] = endpoint.backlog
    return attributes


def _is_dual_stack(endpoint: Endpoint, family: int) -> bool:
    """Whether IPv4 clients come through IPv6; a descriptor that was inherited is asked."""
    if endpoint.scheme == "fd":
        return family == socket.AF_INET6 and endpoint.described().is_dual_stack
    return endpoint.is_dual_stack


def _address(endpoint: Endpoint) -> Any:
    return "" if endpoint.scheme == "fd" else endpoint.address
