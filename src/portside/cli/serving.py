"""`portside serve` and the diagnostic services: from the command line to a service that signals end."""

import contextlib
import logging
import signal
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any, TypeVar

from portside.apps.diagnostics import DIAGNOSTICS
from portside.cli.failure import Failure
from portside.cli.policies import access_of, limits_of
from portside.cli.tls import tls_of
from portside.endpoints import Endpoint
from portside.policy.proxy_protocol import ProxyProtocol
from portside.service.description import Service
from portside.service.encryption import HTTP
from portside.service.loading import Deferred, LoadError
from portside.service.serving import bound, run_alone
from portside.service.supervisor import Renew, Supervisor
from portside.service.systemd import listening
from portside.service.workers import Workers
from portside.telemetry.jsonlog import attach_json
from portside.telemetry.logging import attach

_T = TypeVar("_T")

_WEB = ("http", "wsgi")  # the commands that speak HTTP


def serve(options: Namespace) -> None:
    """Serve the handler that the command line names, until a signal ends it.

    Raises:
        Failure: there is no such handler, it does not fit, or an endpoint cannot be bound.
    """
    run(Deferred.named(":".join(options.handler)), options.engine, options)


def diagnose(options: Namespace) -> None:
    """Serve the diagnostic that the command is called after, until a signal ends it.

    Raises:
        Failure: an endpoint cannot be bound.
    """
    handler = DIAGNOSTICS[options.command]
    run(Deferred(opened=lambda: contextlib.nullcontext(handler), name=options.command), "threads", options)


def run(handler: Deferred, engine: Any, options: Namespace) -> None:
    """Serve a handler at the endpoints of the command line, until a signal ends it.

    Args:
        handler: makes the handler, in the process that serves.
        engine: how handlers run side by side.
        options: the command line.

    Raises:
        Failure: it does not fit, or an endpoint cannot be bound.
    """
    log_as("error" if options.quiet else "debug" if options.verbose else "warning", options.log_format)
    start(explained(lambda: _described(handler, engine, options)), title=handler.name, quiet=options.quiet)


def start(service: Service, *, title: str, quiet: bool, renew: Renew | None = None) -> None:
    """Serve until a signal ends it.

    Args:
        service: what is served; its handler is made in the process that serves.
        title: how it is announced.
        quiet: do not announce it.
        renew: makes the service anew for a reload, where there are workers; None keeps it.

    Raises:
        Failure: the handler cannot be loaded or does not fit, or an endpoint cannot be bound.
    """

    def tell(endpoints: tuple[Endpoint, ...]) -> None:
        if not quiet:
            announce(title, service, endpoints)

    if service.workers is not None:
        supervisor = explained(lambda: Supervisor(service, ready=lambda each: tell(each.endpoints), renew=renew))
        _announce_admin(supervisor.admin, quiet=quiet)
        supervisor.run()
        return
    with contextlib.ExitStack() as stack:
        try:
            loaded = stack.enter_context(service.loaded())
        except (LoadError, TypeError, ValueError) as error:
            raise Failure(str(error)) from error
        running = explained(lambda: bound(loaded))
        if service.engine == "green":
            dump_on_request()
        _announce_admin(None if running.admin is None else running.admin.endpoint, quiet=quiet)
        run_alone(running, tell)


def default_endpoints(port: int) -> list[Endpoint]:
    """Where to serve when nobody says where: at systemd's sockets, or else at a port of the loopback interface."""
    return list(listening(())) or [Endpoint.parse(port)]


def announce(name: str, service: Service, endpoints: tuple[Endpoint, ...]) -> None:
    """Say where a service is, a line for each endpoint."""
    workers = Workers.of(service.workers)
    how = service.engine if workers is None else f"{service.engine}, {workers.count} workers"
    for endpoint in endpoints:
        print(f"serving {name} at {endpoint} ({how})", file=sys.stderr)


def _announce_admin(endpoint: Endpoint | None, *, quiet: bool) -> None:
    if endpoint is not None and not quiet:
        print(f"telling of it at {endpoint}", file=sys.stderr)


def dump_on_request() -> None:
    """SIGUSR1, which would else end the process, prints where every task stands, unless the module has a use for it."""
    from portside.core import dump_on_signal

    if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
        dump_on_signal()


def log_as(level: str, form: str) -> None:
    """Set up the log of the process.

    Args:
        level: how much is told: "debug", "info", "warning" or "error".
        form: "text" or "json".
    """
    if form == "json":
        attach_json()
    else:  # nothing, where the module has done so itself
        logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    if level != "warning":
        logging.getLogger("portside").setLevel(level.upper())
    if level in ("debug", "info"):
        attach(verbose=True)


def _described(handler: Deferred, engine: Any, options: Namespace) -> Service:
    return Service(
        handler=handler,
        endpoints=listening(options.endpoints),
        engine=engine,
        max_handlers=options.max_handlers,
        drain=options.drain,
        admin=options.admin,
        proxy_protocol=options.proxy_protocol and ProxyProtocol(trusted=options.proxy_protocol),
        limits=limits_of(options),
        access=access_of(options),
        tls=tls_of(options.tls, HTTP if options.command in _WEB else ()),
        workers=_workers(options),
        user=options.user,
        group=options.group,
    )


# Options that say something of workers, and go without a word where there are none.
_OF_WORKERS = ("balance", "max_connections_per_worker", "max_memory")


def _workers(options: Namespace) -> Workers | None:
    said = {name: getattr(options, name) for name in _OF_WORKERS if getattr(options, name) is not None}
    if options.workers is not None:
        return Workers(count=options.workers, **said)
    if said:
        raise ValueError(f"--{next(iter(said)).replace('_', '-')} is for workers: give --workers, too")
    return None


def explained(make: Callable[[], _T]) -> _T:
    """What cannot be, or is refused by the system, in one sentence."""
    try:
        return make()
    except OSError as error:
        raise Failure(error.strerror or str(error)) from error
    except (TypeError, ValueError) as error:
        raise Failure(str(error)) from error
