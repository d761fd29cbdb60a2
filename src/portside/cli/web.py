"""`portside wsgi`: from the command line to an application that is served."""

import contextlib
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from portside.cli.failure import Failure
from portside.cli.serving import default_endpoints, run
from portside.service.loading import Deferred, LoadError, load

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
    options.endpoints = options.endpoints or default_endpoints(DEFAULT_PORT)

    @contextlib.contextmanager
    def opened() -> Iterator[Any]:
        application = load(module, name)
        try:
            handler: Any = wsgi_handler(application)
            log = (
                contextlib.nullcontext()
                if options.access_log is None
                else AccessLog(_log(options), form=options.log_form)
            )
        except (OSError, TypeError) as error:
            raise LoadError(str(error)) from error
        with log:
            yield handler

    run(Deferred(opened=opened, name=name), options.engine, options)


def _log(options: Namespace) -> str | int:
    return 1 if options.access_log == "-" else str(options.access_log)
