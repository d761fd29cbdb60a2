"""`portside wsgi`: from the command line to an application that is served."""

import contextlib
from argparse import Namespace
from typing import Any

from portside.cli.failure import Failure
from portside.cli.serving import load, run
from portside.endpoints import Endpoint

# Where an application is served when nobody says where: the port of Django's, gunicorn's and uvicorn's.
DEFAULT_PORT = 8000


def serve_application(options: Namespace) -> None:
    """Serve the WSGI application that the command line names, until a signal ends it.

    Raises:
        Failure: there is no such application, it cannot be called, HTTP is not installed, or the system refuses an
            endpoint or the access log.
    """
    try:
        from portside.http.access_log import AccessLog
        from portside.http.wsgi.handler import wsgi_handler
    except ImportError as error:
        raise Failure(str(error)) from error
    module, name = options.application
    options.endpoints = options.endpoints or [Endpoint.parse(DEFAULT_PORT)]
    try:
        handler: Any = wsgi_handler(load(module, name))
        log = (
            contextlib.nullcontext() if options.access_log is None else AccessLog(_log(options), form=options.log_form)
        )
    except (OSError, TypeError) as error:
        raise Failure(str(error)) from error
    with log:
        run(handler, name, options.engine, options)


def _log(options: Namespace) -> str | int:
    return 1 if options.access_log == "-" else str(options.access_log)
