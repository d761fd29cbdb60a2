"""The table of options, made of the dataclasses that they end in: a new field is a new option, everywhere.

An option is a path: `limits.per_host` in a file, `PORTSIDE_LIMITS__PER_HOST` in the environment, and
`--limits.per-host` on the command line.
"""

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from portside.policy.tls import TLS
from portside.service.config.kinds import Kind, kind_of
from portside.service.config.settings import Common, Serving, Web
from portside.service.description import Service

Path = tuple[str, ...]

PREFIX = "PORTSIDE_"

# Classes of many fields, of which none is what one means by a single value in their place.
_NEVER_SHORT = ("Limits", "Access", "HTTPLimits", "FileOptions", "CGIOptions")

# What a file does not say of a service: `Serving` does.
_NOT_SAID = ("handler",)


@dataclass(frozen=True, kw_only=True)
class Option:
    """One thing that can be said.

    Attributes:
        path: where in a file; of a service, below its table or above all tables.
        kind: what its value looks like.
        default: what holds when nobody says it; `dataclasses.MISSING` where somebody must.
        words: what it means.
    """

    path: Path
    kind: Kind
    default: Any
    words: str

    @property
    def key(self) -> str:
        """As in a file."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """In the environment."""
        return PREFIX + "__".join(self.path).upper()

    @property
    def flag(self) -> str:
        """On the command line."""
        return "--" + self.key.replace("_", "-")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Options that make an object together.

    Attributes:
        path: where in a file.
        make: makes the object, of their values.
        short: the option that a value in the table's place is for; None where there is none.
        words: what it means.
        required: names without which it cannot be made.
        can_be_off: there may be no such object; "off" in the table's place says so.
    """

    path: Path
    make: Any
    short: Path | None
    words: str
    required: tuple[str, ...]
    can_be_off: bool


@cache
def options() -> Mapping[Path, Option]:
    """Every option, in the order in which they are explained."""
    return {each.path: each for each in _everything() if isinstance(each, Option)}


@cache
def tables() -> Mapping[Path, Table]:
    """Every table."""
    return {each.path: each for each in _everything() if isinstance(each, Table)}


@cache
def process_wide() -> frozenset[str]:
    """The first words of what is one for the whole process, and cannot differ between services."""
    return frozenset(field.name for field in dataclasses.fields(Common))


@cache
def of_handlers() -> frozenset[str]:
    """The tables that speak of a handler's attributes."""
    return frozenset(field.name for field in dataclasses.fields(Web))


@cache
def _everything() -> tuple[Option | Table, ...]:
    return tuple(each for make in (Serving, Service, Web, Common) for each in _inside(make, ()))


def _inside(make: Any, above: Path) -> Iterator[Option | Table]:
    words = described(make)
    for name, annotation, default in _parameters(make):
        path = (*above, name)
        if (inner := _object(annotation)) is not None:
            yield _table(path, inner, words[name], can_be_off=_is_optional(annotation))
            yield from _inside(inner, path)
        elif (kind := kind_of(name, annotation)) is not None:
            yield Option(path=path, kind=kind, default=default, words=words[name])


def _table(path: Path, make: Any, words: str, *, can_be_off: bool) -> Table:
    names = list(_parameters(make))
    required = tuple(name for name, _, default in names if default is dataclasses.MISSING)
    short = None if make.__name__ in _NEVER_SHORT else (*path, names[0][0])
    return Table(path=path, make=make, short=short, words=words, required=required, can_be_off=can_be_off)


def _parameters(make: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, type and default of what an object is made of."""
    hints = typing.get_type_hints(make.__init__ if not dataclasses.is_dataclass(make) else make)
    for parameter in inspect.signature(make).parameters.values():
        if make is Service and parameter.name in _NOT_SAID:
            continue
        default = parameter.default
        missing = default is inspect.Parameter.empty
        yield parameter.name, hints[parameter.name], dataclasses.MISSING if missing else _default(make, parameter)


def _default(make: Any, parameter: inspect.Parameter) -> Any:
    """A field's default, also where each object gets one of its own."""
    for field in dataclasses.fields(make) if dataclasses.is_dataclass(make) else ():
        if field.name == parameter.name and field.default_factory is not dataclasses.MISSING:
            return field.default_factory()
    return parameter.default


def _object(annotation: Any) -> Any:
    """The class of an object that is made of options; of several that can be said, TLS by its files."""
    members = [each for each in _members(annotation) if inspect.isclass(each)]
    if TLS in members:
        return TLS
    ours = [each for each in members if each.__module__.startswith("portside.") and not _is_value(each)]
    return ours[0] if ours else None


def _members(annotation: Any) -> Sequence[Any]:
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if union else [annotation]


def _is_optional(annotation: Any) -> bool:
    return type(None) in _members(annotation)


def _is_value(each: Any) -> bool:
    return kind_of("", each) is not None


# Words


_ENTRY = re.compile(r"(\w+(?:, \w+)*): (.*)")


def described(make: Any) -> Mapping[str, str]:
    """What a class' docstring says of each of its fields, or of the parameters that it is made with."""
    found: dict[str, str] = {name: "" for name, *_ in _parameters(make)}
    names: list[str] = []
    for line in _entries(inspect.getdoc(make) or ""):
        if entry := _ENTRY.fullmatch(line):
            names, said = entry[1].split(", "), entry[2]
            found |= dict.fromkeys(names, said)
        else:
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def _entries(text: str) -> Iterator[str]:
    """The lines of the section about attributes or parameters, without its indentation."""
    within = False
    for line in text.splitlines():
        if line in ("Attributes:", "Args:"):
            within = True
        elif line and not line.startswith(" "):
            within = False
        elif within and line.strip():
            yield line[4:]
