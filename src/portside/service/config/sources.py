"""What is said where: in a file, in the environment, on the command line; each value with the place that it is from.

A file speaks of one service, or of several, each in a table `[services.NAME]`; what stands above them holds for all.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from portside.service.config.kinds import OFF
from portside.service.config.locating import locate
from portside.service.config.options import PREFIX, Path, Table, options, process_wide, tables
from portside.service.config.problems import Problem, not_accepted, unknown

SERVICES = "services"  # the table of several services
FILE = "PORTSIDE_CONFIG"  # names the file, where the command line does not

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

# Variables of ours that are no options; and what Kubernetes and Docker tell every container of a service that is called
# portside (Kubernetes: "Accessing the Service"; its `enableServiceLinks: false` is the better way).
_NO_OPTIONS = re.compile(
    r"PORTSIDE_(CONFIG|CORE|HANDOVER)"
    r"|PORTSIDE(_\w+)?_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)


@dataclass(frozen=True, kw_only=True)
class Said:
    """One value that somebody gave.

    Attributes:
        path: of the option; or of a table, which is switched off.
        value: for the option; None in the place of a table.
        where: which file and line, which variable, which option.
        line: the line, or 0.
        raw: what stands there.
    """

    path: Path
    value: Any
    where: str
    line: int = 0
    raw: Any = None


@dataclass(kw_only=True)
class Source:
    """All that one source says.

    Attributes:
        name: of the file; "" of others.
        common: what holds for every service.
        services: what holds for one, by its name.
        problems: what is wrong.
        broken: nothing of it can be read.
    """

    name: str = ""
    common: list[Said] = field(default_factory=list)
    services: dict[str, list[Said]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    broken: bool = False


# The file


def from_file(text: str, name: str) -> Source:
    """Read a file's text.

    Args:
        text: TOML.
        name: how the file is called in messages.
    """
    source = Source(name=name)
    try:
        document = tomllib.loads(text)
        lines = locate(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is one, a number of 5,000 digits gives another
        line = _line_of(error, text)
        source.problems.append(Problem(where=_place(name, line), line=line, text=f"this is no TOML: {error}"))
        source.broken = True
        return source
    _File(source, name, lines).read(document)
    return source


def _line_of(error: Exception, text: str) -> int:
    if "at end of document" in str(error):
        return len(text.splitlines())
    found = re.search(r"at line (\d+)", str(error))
    return int(found[1]) if found else 0


def _place(name: str, line: int) -> str:
    return f"{name}:{line}" if line else name


class _File:
    """Goes through a document, and puts down what it says."""

    def __init__(self, source: Source, name: str, lines: Mapping[tuple[str | int, ...], int]) -> None:
        self._source = source
        self._name = name
        self._lines = lines

    def read(self, document: Mapping[str, Any]) -> None:
        services = document.get(SERVICES, {})
        self._table(document, (), (), self._source.common)
        if not isinstance(services, dict) or not services:
            if SERVICES in document:
                self._problem((SERVICES,), "services is a table of services: write [services.NAME]")
            return
        for name, table in services.items():
            self._service(name, table)

    def _service(self, name: str, table: Any) -> None:
        path = (SERVICES, name)
        said: list[Said] = []
        self._source.services[name] = said
        if not _NAME.fullmatch(name):
            self._problem(path, f"{name!r} is no name of a service; accepted are letters, digits, - and _")
        if not isinstance(table, dict):
            self._problem(path, f"{'.'.join(path)} is a table of options: write [{'.'.join(path)}]")
            return
        self._table(table, path, (), said)

    def _table(self, table: Mapping[str, Any], place: Path, path: Path, said: list[Said]) -> None:
        for key, value in table.items():
            if not place and not path and key == SERVICES:
                continue
            self._entry((*place, key), (*path, key), value, said)

    def _entry(self, place: Path, path: Path, value: Any, said: list[Said]) -> None:
        if place[0] == SERVICES and path[0] in process_wide():
            self._problem(place, f"{path[0]} is one for all services: put it above the first [services.NAME]")
        elif path in tables():
            self._in_place_of_table(place, path, value, said)
        elif path in options():
            self._value(place, path, value, said)
        else:
            self._problem(place, unknown(".".join(place), keys_below(path[:-1], top=not place[1:])))

    def _in_place_of_table(self, place: Path, path: Path, value: Any, said: list[Said]) -> None:
        table = tables()[path]
        if isinstance(value, dict):
            if not value:
                said.append(self._said(place, (*path, ""), None))
            self._table(value, place, path, said)
        elif value == OFF and table.can_be_off:
            said.append(self._said(place, path, None))
        elif table.short is not None:
            self._value(place, table.short, value, said)
        else:
            accepted = f"a table of {', '.join(keys_below(path))}" + f', or "{OFF}"' * table.can_be_off
            self._problem(place, not_accepted(".".join(place), value, accepted))

    def _value(self, place: Path, path: Path, value: Any, said: list[Said]) -> None:
        kind = options()[path].kind
        try:
            said.append(replace(self._said(place, path, kind.read(value)), raw=value))
        except ValueError as error:
            reason = f" ({error})" if str(error) else ""
            self._problem(place, not_accepted(".".join(place), value, kind.accepted) + reason)

    def _said(self, place: Path, path: Path, value: Any) -> Said:
        line = self._line(place)
        return Said(path=path, value=value, where=_place(self._name, line), line=line)

    def _problem(self, place: Path, text: str) -> None:
        line = self._line(place)
        self._source.problems.append(Problem(where=_place(self._name, line), line=line, text=text))

    def _line(self, place: Path) -> int:
        return self._lines.get(place, 0)


def keys_below(path: Path, *, top: bool = False) -> list[str]:
    """What may stand in a table; at the top also the services."""
    found = {each[len(path)] for each in [*options(), *tables()] if each[: len(path)] == path and len(each) > len(path)}
    return sorted(found | ({SERVICES} if top and not path else set()))


# The environment, and the command line


def from_environment(environment: Mapping[str, str], services: Iterator[str] | list[str]) -> Source:
    """Read the variables that begin with PORTSIDE_.

    Args:
        environment: all variables.
        services: names of the file's services, of which `PORTSIDE_SERVICES__NAME__...` may speak.
    """
    source = Source()
    scopes = {"": ("", source.common)}
    for name in services:
        said = source.services.setdefault(name, [])
        scopes[f"{SERVICES}__{name.replace('-', '_')}__".upper()] = (name, said)
    for variable in sorted(environment):
        if variable.startswith(PREFIX) and not _NO_OPTIONS.fullmatch(variable):
            _variable(source, scopes, variable, environment[variable])
    return source


def _variable(source: Source, scopes: Mapping[str, tuple[str, list[Said]]], variable: str, text: str) -> None:
    rest = variable.removeprefix(PREFIX)
    scope = max((each for each in scopes if rest.startswith(each)), key=len)
    name, said = scopes[scope]
    path = tuple(rest.removeprefix(scope).lower().split("__"))
    if path not in options() and path not in tables():
        known = [each.variable.removeprefix(PREFIX) for each in options().values()]
        source.problems.append(Problem(where="environment", text=_unknown_variable(variable, known)))
    elif name and path[0] in process_wide():
        source.problems.append(Problem(where=variable, text=f"{path[0]} is one for all services"))
    else:
        _take(source, said, path, text, variable)


def _unknown_variable(variable: str, known: list[str]) -> str:
    text = unknown(variable.removeprefix(PREFIX), known)
    said, _, meant = text.partition("; did you mean ")
    if meant:
        return f"{PREFIX}{said}; did you mean {PREFIX}{meant}"
    return f"{variable} is no option; docs/reference/configuration.md has the list"


def from_command_line(given: Mapping[Path, str]) -> Source:
    """Read what the command line says: texts, by the option's path."""
    source = Source()
    for path, text in given.items():
        _take(source, source.common, path, text, "--" + ".".join(path).replace("_", "-"))
    return source


def _take(source: Source, said: list[Said], path: Path, text: str, where: str) -> None:
    """A text that stands for an option, or for a table: switched off, or said in short."""
    table = tables().get(path)
    if table is not None and table.can_be_off and text == OFF:
        said.append(Said(path=path, value=None, where=where))
        return
    final = path if table is None else table.short
    accepted = _in_place_of(table) if table and final is None else options()[final or path].kind.accepted
    try:
        if final is None:
            raise ValueError
        said.append(Said(path=final, value=options()[final].kind.of_text(text), where=where, raw=text))
    except ValueError as error:
        reason = f" ({error})" if str(error) else ""
        source.problems.append(
            Problem(where=where, text=not_accepted("it", text, accepted).removeprefix("it = ") + reason)
        )


def _in_place_of(table: Table) -> str:
    """What a text in the place of a table may be, which stands for none of its options."""
    if table.can_be_off:
        return f'"{OFF}"'
    return f"a value for one of its own: {', '.join(keys_below(table.path))}"
