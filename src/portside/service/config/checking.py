"""What a start would do, without doing it: resolve the endpoints, load the handlers, look at the certificates."""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace

from portside.endpoints import Endpoint
from portside.service.config.handling import Unfit, deferred
from portside.service.config.making import Configuration, Wanted
from portside.service.config.problems import Problem
from portside.service.loading import LoadError
from portside.service.workers import Workers


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a start would do.

    Attributes:
        lines: in words.
        problems: what it would end with.
    """

    lines: tuple[str, ...]
    problems: tuple[Problem, ...]


def outlook(configuration: Configuration) -> Outlook:
    """Look at everything that a start would need; nothing is bound, no file is written."""
    found = [each for wanted in configuration.services for each in _of_service(wanted)]
    if configuration.request_log is not None:
        found.append(_request_log(configuration.request_log.file))
    return Outlook(
        lines=tuple(each for each in found if isinstance(each, str)),
        problems=tuple(each for each in found if isinstance(each, Problem)),
    )


def _of_service(wanted: Wanted) -> Iterator[str | Problem]:
    yield f"{wanted.title}: {_how(wanted)}"
    yield from (_handler(wanted), *(_endpoint(wanted, each) for each in wanted.service.endpoints))
    if wanted.service.admin is not None:
        yield f"  admin at {wanted.service.admin.endpoint}"
    yield from _certificates(wanted)


def _how(wanted: Wanted) -> str:
    service, workers = wanted.service, Workers.of(wanted.service.workers)
    processes = "" if workers is None else f", {workers.count} workers"
    identity = "" if service.user is None else f", as {service.user}"
    return f"{service.engine}{processes}{identity}, drained within {service.drain:g} s"


def _problem(wanted: Wanted, text: str) -> Problem:
    return Problem(where=wanted.where, line=wanted.line, text=text)


def _handler(wanted: Wanted) -> str | Problem:
    """Load the handler; a module may do anything when it is imported, so anything may be raised."""
    serving = wanted.serving
    if serving.folder is not None and not os.path.isdir(serving.folder):
        return _problem(wanted, f"folder = {serving.folder!r} is no folder that is there")
    try:
        with deferred(serving, None, wanted.changes).opened() as handler:
            replace(wanted.service, handler=handler)
    except Unfit as error:
        first = wanted.said[error.attribute][0]
        return Problem(where=first.where, line=first.line, text=str(error))
    except (LoadError, TypeError) as error:
        return _problem(wanted, str(error))
    except Exception as error:
        return _problem(wanted, f"{serving.name} cannot be loaded: {type(error).__name__}: {error}")
    return f"  serves {serving.handler or serving.wsgi or serving.folder}"


def _endpoint(wanted: Wanted, endpoint: Endpoint) -> str | Problem:
    try:
        found, family = endpoint.address, endpoint.family
    except OSError as error:
        return _problem(wanted, f"{endpoint}: {error.strerror or error}")
    except ValueError as error:
        return _problem(wanted, str(error))
    if family in (socket.AF_INET, socket.AF_INET6):
        return f"  at {endpoint} ({found[0] or 'all interfaces'}, port {found[1] or 'chosen by the system'})"
    return f"  at {endpoint}"


def _request_log(file: str) -> str | Problem:
    folder = os.path.dirname(os.path.abspath(file))
    if file != "-" and not os.access(file if os.path.exists(file) else folder, os.W_OK):
        return Problem(where="access_log", text=f"{file!r} cannot be written by this user")
    return f"access log in {'standard output' if file == '-' else file}"


def _certificates(wanted: Wanted) -> Iterator[str]:
    every = {id(each): each for each in wanted.service.encryption if each is not None}
    for tls in every.values():
        for facts in getattr(tls, "certificates", ()):
            yield f"  certificate {facts.path}, valid until {facts.not_after:%Y-%m-%d %H:%M} UTC"
