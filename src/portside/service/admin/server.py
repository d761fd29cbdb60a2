"""The admin endpoint as a service of its own, beside the one that it tells of."""

import contextlib
import os
import socket
import weakref
from collections.abc import Sequence

from portside.service.admin.console import Console
from portside.service.admin.options import Admin
from portside.service.description import Service
from portside.service.running import Running

# Connections at once: a person's browser, a terminal, Prometheus and the probes, each a few times.
CONNECTIONS = 32

# Seconds for an answer under way when all ends.
DRAIN_SECONDS = 1.0

_open: "weakref.WeakSet[AdminServer]" = weakref.WeakSet()


class AdminServer(Running):
    """An admin endpoint; `start()` it, and `stop()` it last.

    Args:
        admin: where, and who may reach it.
        console: asks the processes that it tells of.
        listeners: sockets that listen there already, which are the server's from now on.

    Raises:
        OSError: the endpoint cannot be bound; the message says what to do about it.
        ImportError: HTTP's extra is not installed; the message says how to.

    Resource handling: the listener, and a few threads once started, from construction to `stop()`. A forked child lets
    go of the listener.
    """

    def __init__(self, admin: Admin, console: Console, listeners: Sequence[socket.socket] | None = None) -> None:
        from portside.service.admin.handler import AdminHandler

        service = Service(
            handler=AdminHandler,
            endpoints=(admin.endpoint,),
            max_handlers=CONNECTIONS,
            drain=DRAIN_SECONDS,
            handler_args={"console": console, "admin": admin},
        )
        super().__init__(service, listeners)
        _open.add(self)


def _leave_to_parent() -> None:
    """In a forked child: the port is the parent's, and its successor's."""
    for admin in list(_open):
        for server in admin.servers:
            with contextlib.suppress(OSError):
                server.socket.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
