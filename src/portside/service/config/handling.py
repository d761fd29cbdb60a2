"""What is served, made where it is served: a handler, an application, or a folder; with its access log."""

import contextlib
import dataclasses
import functools
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from portside.service.config.settings import RequestLog, Serving
from portside.service.loading import Deferred, LoadError, load

# What is said of a handler's attributes: of each the fields that are to differ.
Changes = Mapping[str, Mapping[str, Any]]


class Unfit(LoadError):
    """A handler of which something was said that it has no use for.

    Attributes:
        attribute: what was said.
    """

    def __init__(self, attribute: str, text: str) -> None:
        super().__init__(text)
        self.attribute = attribute


def deferred(serving: Serving, request_log: RequestLog | None, changes: Changes) -> Deferred:
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
            handler = _made(serving, changes)
            if request_log is not None:
                stack.enter_context(opened_log(request_log))
            yield handler

    return Deferred(opened=opened, name=serving.name)


def _import_http() -> None:
    for name in ("access_log", "cgi.handler", "files.handler", "wsgi.handler"):
        importlib.import_module(f"portside.http.{name}")


def _made(serving: Serving, changes: Changes) -> Any:
    if serving.folder is not None:
        return functools.partial(_changed(_files(cgi=serving.cgi), changes), directory=serving.folder)
    module, _, name = (serving.handler or serving.wsgi or "").partition(":")
    found = load(module, name)
    return _changed(found if serving.wsgi is None else _application(found, serving.wsgi), changes)


def _changed(handler: Any, changes: Changes) -> Any:
    """The handler, or a class derived from it whose attributes are what was said.

    Raises:
        LoadError: it has no such attribute, or cannot have such a value of it.
    """
    attributes = {name: _replaced(handler, name, fields) for name, fields in changes.items()}
    if not attributes:
        return handler
    named = {each: getattr(handler, each) for each in ("__module__", "__qualname__", "__doc__")}
    return type(handler.__name__, (handler,), {**named, **attributes})


def _replaced(handler: Any, name: str, fields: Mapping[str, Any]) -> Any:
    own = getattr(handler, name, None) if isinstance(handler, type) else None
    if own is None:
        called = getattr(handler, "__name__", repr(handler))
        raise Unfit(name, f"{name} says nothing to {called}, which is no handler that {_USERS[name]}")
    try:
        return dataclasses.replace(own, **fields)
    except (TypeError, ValueError) as error:
        raise Unfit(name, f"{name}: {error}") from error


# What a handler does that has these attributes.
_USERS = {"http_limits": "speaks HTTP", "file_options": "serves files", "cgi_options": "runs scripts"}


def _application(application: Any, name: str) -> Any:
    try:
        from portside.http.wsgi.handler import wsgi_handler

        return wsgi_handler(application)
    except (ImportError, TypeError) as error:
        raise LoadError(f"{name}: {error}") from error


def _files(*, cgi: bool) -> Any:
    try:
        from portside.http.cgi.handler import CGIHTTPRequestHandler
        from portside.http.files.handler import SimpleHTTPRequestHandler
    except ImportError as error:
        raise LoadError(str(error)) from error
    base = CGIHTTPRequestHandler if cgi else SimpleHTTPRequestHandler
    quiet = {"protocol_version": "HTTP/1.1", "log_message": _nowhere}
    return type(base.__name__, (base,), quiet)


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
