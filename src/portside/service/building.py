"""From a description to bound servers: a table chooses the class, class attributes configure it.

Whatever can be said in the modern face is said to the classes of the drop-in face in their own words.
"""

import contextlib
import dataclasses
import socket
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


def build(service: Service) -> list[TCPServer]:
    """Bind a server for each endpoint; either all of them listen, or none is left open.

    Raises:
        OSError: an endpoint cannot be bound; the message says what to do about it.
        EndpointError: an inherited descriptor is no socket.
    """
    if service.access is None:  # one for all endpoints, which can be told later
        service = dataclasses.replace(service, access=Access())
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(_build_one(service, endpoint)) for endpoint in service.endpoints]
        stack.pop_all()
    return servers


def _build_one(service: Service, endpoint: Endpoint) -> TCPServer:
    try:
        transport = _transport(endpoint)
    except OSError as error:  # a host name that nobody knows
        raise explain_bind_error(error, str(endpoint)) from error
    attributes = _engine_attributes(service) | _endpoint_attributes(endpoint, transport)
    server_class = type(transport.__name__, (_MIX_INS[service.engine], transport), attributes)
    server: TCPServer = server_class(
        _address(endpoint), service.handler, bind_and_activate=False, handler_args=service.handler_args
    )
    try:
        _bind(server, endpoint)
        server.server_activate()
    except BaseException:
        server.server_close()
        raise
    return server


def _transport(endpoint: Endpoint) -> type[TCPServer]:
    unix = endpoint.family == getattr(socket, "AF_UNIX", None)
    if endpoint.is_stream:
        return UnixStreamServer if unix else TCPServer
    return UnixDatagramServer if unix else UDPServer


def _engine_attributes(service: Service) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "drain_timeout": service.drain,
        "limits": service.limits,
        "access": service.access,
    }
    if service.engine == "threads":
        attributes["daemon_threads"] = True  # the drain decides how long handlers live, not the interpreter's end
    if service.engine in _BOUNDS and service.max_handlers is not None:
        attributes[_BOUNDS[service.engine]] = service.max_handlers
    return attributes


def _endpoint_attributes(endpoint: Endpoint, transport: type[TCPServer]) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "__doc__": transport.__doc__,
        "__module__": transport.__module__,
        "address_family": endpoint.family,
        "allow_reuse_address": transport is TCPServer,  # a restart must not wait for TIME_WAIT to pass
        "allow_reuse_port": endpoint.reuse_port,
        "dual_stack": endpoint.is_dual_stack,
        "socket_mode": endpoint.mode,
        "unlink_on_close": True,
    }
    if endpoint.backlog is not None:
        attributes["request_queue_size"] = endpoint.backlog
    return attributes


def _address(endpoint: Endpoint) -> Any:
    return "" if endpoint.scheme == "fd" else endpoint.address


def _bind(server: TCPServer, endpoint: Endpoint) -> None:
    if endpoint.scheme != "fd":
        server.server_bind()
        return
    server.socket.close()
    server.socket = server._portside_own_socket(adopt(endpoint.fd))
    server.server_address = server.socket.getsockname()
