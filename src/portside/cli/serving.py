"""`portside serve` and the diagnostic services: from the command line to a service that signals end."""

import importlib
import logging
import operator
import os
import signal
import sys
from argparse import Namespace
from typing import Any

from portside.apps.diagnostics import DIAGNOSTICS
from portside.cli.failure import Failure
from portside.cli.tls import tls_of
from portside.service.description import Service
from portside.service.encryption import HTTP
from portside.service.running import Running, ended_by_signals
from portside.telemetry.logging import attach

_WEB = ("http", "wsgi")  # the commands that speak HTTP


def serve(options: Namespace) -> None:
    """Serve the handler that the command line names, until a signal ends it.

    Raises:
        Failure: there is no such handler, it does not fit, or an endpoint cannot be bound.
    """
    module, name = options.handler
    run(load(module, name), name, options.engine, options)


def diagnose(options: Namespace) -> None:
    """Serve the diagnostic that the command is called after, until a signal ends it.

    Raises:
        Failure: an endpoint cannot be bound.
    """
    run(DIAGNOSTICS[options.command], options.command, "threads", options)


def load(module: str, name: str) -> Any:
    """Import a handler, with the current directory in front of `sys.path`.

    What the module itself raises goes through, with its traceback.

    Args:
        module: the module's name, with dots for packages.
        name: the handler's name in it, with dots for classes in classes.

    Raises:
        Failure: there is no such module, or no such name in it.
    """
    if sys.path[:1] != [os.getcwd()]:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and lacks something itself
        raise Failure(f"there is no module {error.name!r} in {os.getcwd()} or among the installed ones") from error
    try:
        return operator.attrgetter(name)(found)
    except AttributeError as error:
        raise Failure(f"the module {module!r} ({_file(found)}) has no {name!r}") from error


def _file(module: Any) -> str:
    return getattr(module, "__file__", None) or "built in"


def run(handler: Any, name: str, engine: Any, options: Namespace) -> None:
    """Serve a handler at the endpoints of the command line, until a signal ends it.

    Args:
        handler: the handler.
        name: how it is announced.
        engine: how handlers run side by side.
        options: the command line.

    Raises:
        Failure: it does not fit, or an endpoint cannot be bound.
    """
    _log(options)
    running = _bind(handler, engine, options)
    if engine == "green":
        _dump_on_request()
    with ended_by_signals(running), running:
        if not options.quiet:
            for endpoint in running.endpoints:
                print(f"serving {name} at {endpoint} ({engine})", file=sys.stderr)
        running.run()


def _dump_on_request() -> None:
    """SIGUSR1, which would else end the process, prints where every task stands, unless the module has a use for it."""
    from portside.core import dump_on_signal

    if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
        dump_on_signal()


def _log(options: Namespace) -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")  # nothing, where the module has done so itself
    if options.quiet:
        logging.getLogger("portside").setLevel(logging.ERROR)
    if options.verbose:
        logging.getLogger("portside").setLevel(logging.DEBUG)
        attach(verbose=True)


def _bind(handler: Any, engine: Any, options: Namespace) -> Running:
    try:
        return Running(
            Service(
                handler=handler,
                endpoints=tuple(options.endpoints),
                engine=engine,
                max_handlers=options.max_handlers,
                drain=options.drain,
                tls=tls_of(options.tls, HTTP if options.command in _WEB else ()),
            )
        )
    except OSError as error:
        raise Failure(error.strerror or str(error)) from error
    except (TypeError, ValueError) as error:
        raise Failure(str(error)) from error
