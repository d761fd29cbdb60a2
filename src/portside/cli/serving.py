"""`portside serve`, `http`, `wsgi` and the diagnostic services: from the command line to a service that signals end."""

import contextlib
import logging
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import TypeVar

from portside.cli.failure import Failure, Refused
from portside.cli.given import configured
from portside.cli.links import links
from portside.endpoints import Endpoint
from portside.service.config.making import Configuration
from portside.service.config.problems import ConfigError, Problem
from portside.service.description import Service
from portside.service.loading import LoadError
from portside.service.serving import bound, run_alone
from portside.service.supervision.supervisor import Renew, Supervisor
from portside.service.workers import Workers
from portside.telemetry.jsonlog import attach_json
from portside.telemetry.logging import attach

_T = TypeVar("_T")

# In the environment: which folder `portside http` serves, where the command line does not say.
_FOLDER = "PORTSIDE_FOLDER"


def serve(options: Namespace, served: Mapping[str, str], title: str = "") -> None:
    """Serve what the command line names, until a signal ends it.

    Args:
        options: the command line.
        served: what is served, by the name of its option, as `{"wsgi": "shop:app"}`.
        title: how it is announced; "" as it is called itself.

    Raises:
        Refused: the command line or the environment cannot be; all that is wrong was told.
        Failure: there is nothing of that name, it does not fit, or an endpoint cannot be bound.
    """
    wanted = explained_at_once(lambda: configured(options, served))
    log_as(wanted.log.level, wanted.log.format)
    tell_notes(wanted)
    [one] = wanted.services
    start(wanted.alone, title=title or one.title, quiet=wanted.log.level == "error", is_web=one.is_web)


def serve_folder(options: Namespace) -> None:
    """Serve the files of a folder over HTTP, until a signal ends it; raises as `serve`."""
    said = vars(options)["folder"]
    serve(options, {"folder": os.environ.get(_FOLDER, ".") if said is None else said})


def explained_at_once(read: Callable[[], Configuration]) -> Configuration:
    """What was configured; a single mistake is told in one sentence, several with a line for each.

    Raises:
        Refused: it cannot be.
    """
    try:
        return read()
    except ConfigError as error:
        if len(error.problems) == 1:
            raise Refused(str(error.problems[0])) from error
        tell(error.problems)
        raise Refused(f"nothing was started: {counted(error.problems)}") from error


def tell(problems: tuple[Problem, ...]) -> None:
    """Say all that is wrong."""
    for each in problems:
        print(each, file=sys.stderr)


def counted(problems: tuple[Problem, ...]) -> str:
    """How much is wrong."""
    return "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"


def tell_notes(wanted: Configuration) -> None:
    """Say what is no mistake, and worth to know."""
    for note in wanted.notes:
        print(f"portside: {note}", file=sys.stderr)


def start(service: Service, *, title: str, quiet: bool, is_web: bool = False, renew: Renew | None = None) -> None:
    """Serve until a signal ends it.

    Args:
        service: what is served; its handler is made in the process that serves.
        title: how it is announced.
        quiet: do not announce it.
        is_web: a browser can show it.
        renew: makes the service anew for a reload, where there are workers; None keeps it.

    Raises:
        Failure: the handler cannot be loaded or does not fit, or an endpoint cannot be bound.
    """

    def tell(endpoints: tuple[Endpoint, ...]) -> None:
        if not quiet:
            announce(title, service, endpoints, is_web=is_web)

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


def announce(name: str, service: Service, endpoints: tuple[Endpoint, ...], *, is_web: bool = False) -> None:
    """Say where a service is, a line for each endpoint; and of one for browsers, what to open."""
    workers = Workers.of(service.workers)
    how = service.engine if workers is None else f"{service.engine}, {workers.count} workers"
    for endpoint in endpoints:
        print(f"serving {name} at {endpoint} ({how})", file=sys.stderr)
    if is_web:
        for link in links(endpoints, is_encrypted=service.tls is not None):
            print(f"  {link}", file=sys.stderr)


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


def explained(make: Callable[[], _T]) -> _T:
    """What cannot be, or is refused by the system, in one sentence."""
    try:
        return make()
    except OSError as error:
        raise Failure(error.strerror or str(error)) from error
    except (TypeError, ValueError) as error:
        raise Failure(str(error)) from error
