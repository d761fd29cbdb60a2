"""`portside wsgi`: from the command line to an application that is served."""

from argparse import Namespace

from portside.cli.serving import default_endpoints, run
from portside.service.config.handling import deferred
from portside.service.config.settings import RequestLog, Serving

# Where an application is served when nobody says where: the port of Django's, gunicorn's and uvicorn's.
DEFAULT_PORT = 8000


def serve_application(options: Namespace) -> None:
    """Serve the WSGI application that the command line names, until a signal ends it.

    Raises:
        Failure: there is no such application, it cannot be called, HTTP is not installed, or the system refuses an
            endpoint or the access log.
    """
    options.endpoints = options.endpoints or default_endpoints(DEFAULT_PORT)
    serving = Serving(wsgi=":".join(options.application))
    run(deferred(serving, request_log(options)), options.engine, options)


def request_log(options: Namespace) -> RequestLog | None:
    """The access log that the command line asks for."""
    return None if options.access_log is None else RequestLog(file=options.access_log, form=options.log_form)
