"""`portside http`: from the command line to a folder that is served."""

from argparse import Namespace

from portside.cli.serving import default_endpoints, run
from portside.cli.web import request_log
from portside.service.config.handling import deferred
from portside.service.config.settings import Serving

# Where a folder is served when nobody says where: the port of `python -m http.server`.
DEFAULT_PORT = 8000


def serve_folder(options: Namespace) -> None:
    """Serve the files of a folder over HTTP, until a signal ends it.

    Raises:
        Failure: HTTP is not installed, or the system refuses an endpoint or the access log.
    """
    options.endpoints = options.endpoints or default_endpoints(DEFAULT_PORT)
    serving = Serving(folder=options.directory, cgi=options.cgi)
    run(deferred(serving, request_log(options)), options.engine, options)
