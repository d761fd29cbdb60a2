"""From what was said to services: what was said last holds, and every object is made and checked."""

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from portside.endpoints import Endpoint
from portside.policy.certificates import CertificateWarning
from portside.policy.development import development_certificate
from portside.policy.tls import TLS
from portside.service.config.handling import Changes, deferred
from portside.service.config.kinds import OFF
from portside.service.config.options import Path, Table, of_handlers, options, process_wide, tables
from portside.service.config.problems import ConfigError, Problem, shown
from portside.service.config.settings import CHOICES, Common, Log, RequestLog, Serving
from portside.service.config.sources import Said, Source
from portside.service.description import Service
from portside.service.encryption import HTTP
from portside.service.systemd import listening

# Where an application or a folder is served when nobody says where, as by `portside wsgi` and `portside http`.
WEB_PORT = 8000

# In the place of a certificate's file, as in `--tls dev`.
DEVELOPMENT = "dev"

_OF_SERVING = (*CHOICES, "cgi")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One service of a configuration.

    Attributes:
        name: its table's, "" where there is one service without a name.
        service: its options; the handler is to be loaded.
        serving: what is served.
        where: where its handler is named, for messages.
        line: and in which line.
        said: what was said of its handler's attributes, by the attribute's name.
    """

    name: str
    service: Service
    serving: Serving
    where: str
    line: int = 0
    said: Mapping[str, Sequence[Said]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def changes(self) -> Changes:
        """What differs in its handler's attributes."""
        return _changes(self.said)

    @property
    def title(self) -> str:
        """How it is announced."""
        return self.name or self.serving.name

    @property
    def is_web(self) -> bool:
        """Whether a browser can show it, as far as can be told before it is loaded."""
        return self.serving.handler is None


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """All that is wanted of a process.

    Attributes:
        services: one or more.
        log: what is told of the process.
        request_log: the access log.
        notes: what is no mistake, and will be one, such as a certificate that has expired.
    """

    services: tuple[Wanted, ...]
    log: Log
    request_log: RequestLog | None = None
    notes: tuple[str, ...] = ()

    @property
    def alone(self) -> Service:
        """The one service that there is; its handler is loaded, and the access log opened, where it serves."""
        [one] = self.services
        return replace(one.service, handler=deferred(one.serving, self.request_log, one.changes))


def configuration(sources: Sequence[Source]) -> Configuration:
    """Make the services.

    Args:
        sources: what was said, the last word last: file, environment, command line.

    Raises:
        ConfigError: something is wrong; it tells of everything.
    """
    if broken := [source.problems for source in sources if source.broken]:
        raise ConfigError(broken[0])
    maker = _Maker([problem for source in sources for problem in source.problems])
    names = list(dict.fromkeys(name for source in sources for name in source.services)) or [""]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CertificateWarning)
        common = Common(**maker.common(_last_words(source.common for source in sources)))
        services = [maker.service(name, _last_words(_scopes(name, sources))) for name in names]
    maker.tell_of_twins(services)
    if maker.problems:
        raise ConfigError(dict.fromkeys(maker.problems))
    return Configuration(
        services=tuple(each for each in services if each is not None),
        log=common.logging or Log(),
        request_log=common.access_log,
        notes=tuple(dict.fromkeys([*maker.notes, *(str(each.message) for each in caught)])),
    )


def _scopes(name: str, sources: Iterable[Source]) -> Iterator[list[Said]]:
    for source in sources:
        yield source.common
        yield source.services.get(name, [])


def _last_words(scopes: Iterable[list[Said]]) -> dict[Path, Said]:
    """What holds of each path; a table that is switched off takes what was said of it before with it."""
    found: dict[Path, Said] = {}
    for said in (each for scope in scopes for each in scope):
        if said.path in tables():
            found = {path: each for path, each in found.items() if path[: len(said.path)] != said.path}
        found = {path: each for path, each in found.items() if not (path in tables() and path == said.path[:-1])}
        found[said.path] = said
    return found


class _Maker:
    """Makes objects, and gathers what is wrong."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        self._is_whole = not problems  # nothing was left out because it could not be read
        self.notes: list[str] = []

    def common(self, said: Mapping[Path, Said]) -> dict[str, Any]:
        """The objects that are one for the whole process."""
        return self.objects({path: each for path, each in said.items() if path[0] in process_wide()})

    def objects(self, said: Mapping[Path, Said]) -> dict[str, Any]:
        """The objects of every table that something was said of, by name; None for one that is switched off."""
        found: dict[str, Any] = {}
        for path in dict.fromkeys(path[:1] for path in said if path[:1] in tables()):
            if path in said:
                found[path[0]] = None
            else:
                inside = {each.path[1]: each for each in said.values() if each.path[:1] == path}
                found[path[0]] = self._table(tables()[path], inside)
        return found

    def _table(self, table: Table, said: dict[str, Said]) -> Any:
        first = next(iter(said.values()))
        said.pop("", None)  # a table that is there, and empty
        if table.make is TLS and "cert" in said and said["cert"].value == DEVELOPMENT:
            self._develop(said)
        missing = [name for name in table.required if name not in said]
        if missing:
            self._miss(first, f"{'.'.join(table.path)} lacks {missing[0]}: {table.words}")
            return None
        return self._make(table.make, said, table.required, first)

    def _develop(self, said: dict[str, Said]) -> None:
        """Put the files of the development certificate in the place of its name."""
        cert = said["cert"]
        try:
            made = development_certificate()
        except ValueError as error:
            self._blame(cert, str(error))
            return
        self.notes.append(f"self-signed certificate {made.cert}, SHA-256 {_spelled(made.facts().fingerprint)}")
        said["cert"] = replace(cert, value=made.cert)
        if made.key is not None:
            said["key"] = replace(cert, value=made.key)

    def _make(self, make: Any, said: Mapping[str, Said], required: Iterable[str], first: Said | None) -> Any:
        """An object; where it cannot be, each value that is to blame by itself is told of, or else all together."""
        try:
            return make(**{name: each.value for name, each in said.items()})
        except (ValueError, TypeError, OSError) as error:
            base = {name: said[name] for name in required}
            blamed = [self._alone(make, base, name, each) for name, each in said.items() if name not in base]
            if not any(blamed):
                self._blame(first, str(error))
            return None

    def _alone(self, make: Any, base: Mapping[str, Said], name: str, said: Said) -> bool:
        try:
            make(**{other: each.value for other, each in base.items()}, **{name: said.value})
        except (ValueError, TypeError, OSError) as error:
            if _fails(make, {other: each.value for other, each in base.items()}):
                return False  # that is not this value's doing
            self._blame(said, _in_words_of_a_file(said, str(error)))
            return True
        return False

    def _miss(self, said: Said | None, text: str) -> None:
        """Tell of what nobody has said; who has said it wrongly was told so."""
        if self._is_whole:
            self._blame(said, text)

    def _blame(self, said: Said | None, text: str) -> None:
        where, line = ("the configuration", 0) if said is None else (said.where, said.line)
        self.problems.append(Problem(where=where, line=line, text=text))

    # Services

    def service(self, name: str, said: Mapping[Path, Said]) -> Wanted | None:
        """A service; None where it cannot be."""
        before = len(self.problems)
        first = next(iter(said.values()), None)
        plain = {path[0]: each for path, each in said.items() if path in options() and len(path) == 1}
        serving = self._serving(name, {key: plain.pop(key) for key in _OF_SERVING if key in plain}, first)
        endpoints = self._endpoints(name, serving, plain.pop("endpoints", None), first)
        made = self.objects(
            {path: each for path, each in _spoken(said, serving).items() if path[0] not in process_wide()}
        )
        objects = {key: _standing_for(said, key, each) for key, each in made.items() if key not in of_handlers()}
        if serving is None or endpoints is None:
            return None
        of_handler = _of_handler(said)
        handler = deferred(serving, None, _changes(of_handler))
        base = {"handler": _given(handler), "endpoints": _given(endpoints)}
        service = self._make(Service, {**base, **plain, **objects}, base, first)
        if len(self.problems) > before:
            return None
        named = next(each for path, each in said.items() if path[0] in CHOICES)
        return Wanted(
            name=name,
            service=service,
            serving=serving,
            where=named.where,
            line=named.line,
            said=of_handler,
        )

    def _serving(self, name: str, said: Mapping[str, Said], first: Said | None) -> Serving | None:
        place = next(iter(said.values()), first)
        try:
            return Serving(**{key: each.value for key, each in said.items()})
        except ValueError as error:
            (self._blame if said else self._miss)(place, f"service {name}: {error}" if name else str(error))
            return None

    def _endpoints(
        self, name: str, serving: Serving | None, said: Said | None, first: Said | None
    ) -> tuple[Endpoint, ...] | None:
        web = serving is not None and serving.handler is None
        try:
            found = listening(said.value if said is not None else ())
        except ValueError as error:
            self._blame(said, str(error))
            return None
        if found or web:
            return found or (Endpoint.parse(WEB_PORT),)
        service = f"service {name}: " if name else ""
        self._miss(said or first, f'{service}nothing says where to listen: endpoints = ["tcp://127.0.0.1:9000"]')
        return None

    def tell_of_twins(self, services: Iterable[Wanted | None]) -> None:
        """Two services cannot listen in one place; and the supervisor's workers have one service."""
        found = [each for each in services if each is not None]
        seen: dict[str, str] = {}
        for each in found:
            admin = each.service.admin
            for endpoint in (*each.service.endpoints, *([admin.endpoint] if admin else ())):
                other = seen.setdefault(str(endpoint), each.name)
                if other != each.name and not _may_be_twice(endpoint):
                    text = f"services {other} and {each.name} would both listen at {endpoint}"
                    self.problems.append(Problem(where=each.where, line=each.line, text=text))
        if len(found) > 1:
            self._tell_of_companions(found)

    def _tell_of_companions(self, found: Iterable[Wanted]) -> None:
        for each in found:
            alone = [name for name in _ALONE if getattr(each.service, name) is not None]
            if alone:
                text = (
                    f"service {each.name} has {alone[0]}, which goes with one service in a file: give it its own file"
                )
                self.problems.append(Problem(where=each.where, line=each.line, text=text))


# What concerns a whole process, and so leaves no room for a second service in it.
_ALONE = ("workers", "user", "group")


def _may_be_twice(endpoint: Endpoint) -> bool:
    return endpoint.reuse_port or (endpoint.scheme in ("tcp", "udp") and endpoint.port == 0)


# How dataclasses say that a value is not accepted, and what they call None.
_NOT_ACCEPTED = re.compile(r"\w+\(\w+=.*\) is not accepted(?=[;,])", re.DOTALL)
_NONE = re.compile(r"\bor None\b")


def _in_words_of_a_file(said: Said, message: str) -> str:
    key = ".".join(said.path)
    words, count = _NOT_ACCEPTED.subn(lambda _: f"{key} = {shown(said.raw)} is not accepted", message)
    return _NONE.sub(f'or "{OFF}"', words) if count else f"{key} = {shown(said.raw)}: {message}"


def _spelled(fingerprint: str) -> str:
    """As browsers and `openssl x509 -fingerprint` show it."""
    return ":".join(fingerprint[at : at + 2] for at in range(0, len(fingerprint), 2)).upper()


def _given(value: Any) -> Said:
    """What nobody has said, and is needed."""
    return Said(path=(), value=value, where="")


def _spoken(said: Mapping[Path, Said], serving: Serving | None) -> Mapping[Path, Said]:
    """With what HTTP says of itself over TLS (RFC 7301), where nobody says otherwise."""
    if serving is None or serving.handler is not None or not any(path[0] == "tls" and path[1:] for path in said):
        return said
    return said if _ALPN in said else {**said, _ALPN: replace(_given(HTTP), path=_ALPN)}


_ALPN = ("tls", "alpn")


def _of_handler(said: Mapping[Path, Said]) -> Mapping[str, Sequence[Said]]:
    """What was said of the handler's attributes, each of which has a table; an empty table says nothing."""
    found: dict[str, list[Said]] = {}
    for path, each in said.items():
        if path[0] in of_handlers() and path[1]:
            found.setdefault(path[0], []).append(each)
    return found


def _changes(of_handler: Mapping[str, Sequence[Said]]) -> Changes:
    return {name: {each.path[1]: each.value for each in said} for name, said in of_handler.items()}


def _standing_for(said: Mapping[Path, Said], key: str, value: Any) -> Said:
    """An object, in the place of its table."""
    first = next(each for path, each in said.items() if path[0] == key)
    return Said(path=(key,), value=value, where=first.where, line=first.line)


def _fails(make: Any, values: Mapping[str, Any]) -> bool:
    try:
        make(**values)
    except (ValueError, TypeError, OSError):
        return True
    return False
