"""What is served, made where it is served: a handler, an application, or a folder; with its access log."""

import contextlib
import functools
import importlib
from collections.abc import Iterator
from typing import Any

from portside.service.config.settings import RequestLog, Serving
from portside.service.loading import Deferred, LoadError, load


def deferred(serving: Serving, request_log: RequestLog | None) -> Deferred:
    """A handler to be made in the process that serves.

    Portside's own part of it is imported here, by whoever starts: a process that has given up its rights may not be
    able to read that. What is missing is told when the handler is made.
    """
    if serving.handler is None or request_log is not None:
        with contextlib.suppress(ImportError):
            _import_http()

    @contextlib.contextmanager
    def opened() -> Iterator[Any]:
        with contextlib.ExitStack() as stack:
            handler = _made(serving)
            if request_log is not None:
                stack.enter_context(opened_log(request_log))
            yield handler

    return Deferred(opened=opened, name=serving.name)


def _import_http() -> None:
    for name in ("access_log", "cgi.handler", "files.handler", "wsgi.handler"):
        importlib.import_module(f"portside.http.{name}")


def _made(serving: Serving) -> Any:
    if serving.folder is not None:
        return _files(serving.folder, cgi=serving.cgi)
    module, _, name = (serving.handler or serving.wsgi or "").partition(":")
    found = load(module, name)
    return found if serving.wsgi is None else _application(found, serving.wsgi)


def _application(application: Any, name: str) -> Any:
    try:
        from portside.http.wsgi.handler import wsgi_handler

        return wsgi_handler(application)
    except (ImportError, TypeError) as error:
        raise LoadError(f"{name}: {error}") from error


def _files(folder: str, *, cgi: bool) -> Any:
    try:
        from portside.http.cgi.handler import CGIHTTPRequestHandler
        from portside.http.files.handler import SimpleHTTPRequestHandler
    except ImportError as error:
        raise LoadError(str(error)) from error
    base = CGIHTTPRequestHandler if cgi else SimpleHTTPRequestHandler
    quiet = {"protocol_version": "HTTP/1.1", "log_message": _nowhere}
    return functools.partial(type(base.__name__, (base,), quiet), directory=folder)


def _nowhere(*_: object) -> None:
    """The access log is for that, where one is wanted."""


def opened_log(log: RequestLog) -> contextlib.AbstractContextManager[Any]:
    """The access log, until the block's end; it is of every HTTP server of the process.

    Raises:
        LoadError: it cannot be opened, or HTTP is not installed.
    """
    try:
        from portside.http.access_log import AccessLog

        return AccessLog(1 if log.file == "-" else log.file, form=log.form)
    except (ImportError, OSError) as error:
        raise LoadError(f"access_log: {error}") from error
