"""`portside http`: from the command line to a folder that is served."""

import contextlib
import functools
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from portside.cli.failure import Failure
from portside.cli.serving import default_endpoints, run
from portside.service.loading import Deferred, LoadError

# Where a folder is served when nobody says where: the port of `python -m http.server`.
DEFAULT_PORT = 8000


def serve_folder(options: Namespace) -> None:
    """Serve the files of a folder over HTTP, until a signal ends it.

    Raises:
        Failure: HTTP is not installed, or the system refuses an endpoint or the access log.
    """
    try:
        from portside.http.access_log import AccessLog
        from portside.http.cgi.handler import CGIHTTPRequestHandler
        from portside.http.files.handler import SimpleHTTPRequestHandler
    except ImportError as error:
        raise Failure(str(error)) from error
    base = CGIHTTPRequestHandler if options.cgi else SimpleHTTPRequestHandler
    quiet = {"protocol_version": "HTTP/1.1", "log_message": _nowhere}
    handler = functools.partial(type(base.__name__, (base,), quiet), directory=options.directory)
    options.endpoints = options.endpoints or default_endpoints(DEFAULT_PORT)

    @contextlib.contextmanager
    def opened() -> Iterator[Any]:
        try:
            target = 1 if options.access_log == "-" else options.access_log
            log = contextlib.nullcontext() if target is None else AccessLog(target, form=options.log_form)
        except OSError as error:
            raise LoadError(str(error)) from error
        with log:
            yield handler

    run(Deferred(opened=opened, name=options.directory), options.engine, options)


def _nowhere(*_: object) -> None:
    """The access log is for that, where one is wanted."""
