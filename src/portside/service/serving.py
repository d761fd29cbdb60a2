"""`serve`: in the foreground until a signal comes, in this process or in workers below it."""

from collections.abc import Callable
from typing import Any

from portside.endpoints import Endpoint
from portside.service.admin.options import Admin
from portside.service.description import Service
from portside.service.loading import Deferred
from portside.service.running import Running, ended_by_signals
from portside.service.several import Several
from portside.service.supervision.forking import expect_threads
from portside.service.supervision.supervisor import Supervisor
from portside.service.systemd import Notifier, listening

Announce = Callable[[tuple[Endpoint, ...]], object]


def serve(handler: Any, *endpoints: str | int | Endpoint, **options: Any) -> None:
    """Serve until SIGINT or SIGTERM, let handlers finish, return. A second signal ends what is left at once.

    In a thread other than the main one no signal arrives: there a handler's `self.server.shutdown()` ends it. With
    `workers`, that is the end of one worker, which is replaced; and it has to be the main thread.

    Args:
        handler: a handler class, or any callable of its three arguments; or the name of one, as in "shout:Shout", which
            each worker loads for itself.
        endpoints: where: endpoint texts, ports of the loopback interface, or `Endpoint` objects. Without any, what
            systemd has passed.
        options: as for `start`; and `workers`, a number or `Workers`; `user` and `group`, whose rights the service has
            once its endpoints are bound.

    Raises:
        ValueError, TypeError, OSError: as for `start`.
        PermissionError: this process cannot become that user.
        SystemExit: with 3, a worker could not start.
    """
    if isinstance(handler, str) and ":" in handler:
        handler = Deferred.named(handler)
    if options.get("admin") is not None:
        options["admin"] = Admin.parse(options["admin"])
    run(Service(handler=handler, endpoints=listening(endpoints), **options))


def run(service: Service, announce: Announce = lambda _: None) -> None:
    """Serve until a signal ends it.

    Args:
        service: what is served.
        announce: called with what was bound, when all of it accepts.

    Raises:
        as for `serve`.
    """
    if service.workers is None:
        if service.admin is not None:
            expect_threads()
        with service.loaded() as loaded:
            run_alone(bound(loaded), announce)
    else:
        Supervisor(service, ready=lambda supervisor: announce(supervisor.endpoints)).run()


def bound(service: Service) -> Running:
    """A service's servers, in this process, which has the rights of its user from then on.

    Raises:
        OSError: an endpoint cannot be bound; the message says what to do about it.
        PermissionError: this process cannot become that user.
    """
    running = Running(service)
    try:
        if service.identity is not None:
            service.identity.assume()
    except BaseException:
        running.stop()
        raise
    return running


def run_alone(running: Running | Several, announce: Announce = lambda _: None) -> None:
    """Serve in this process, until a signal ends it."""
    notifier = Notifier()
    with ended_by_signals(running, notifier.stopping), running:
        announce(running.endpoints)
        notifier.ready()
        running.run()
