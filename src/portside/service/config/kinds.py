"""What the value of an option may look like: in a TOML file, and as text in the environment or on the command line.

A kind belongs to a type; `kind_of` finds it by a dataclass's annotation. It says only what a value has to look like:
whether the number is large enough is the dataclass's business, which says so itself.
"""

import inspect
import re
import ssl
import tomllib
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

from portside.endpoints import Endpoint
from portside.policy.certificates import Certificate

OFF = "off"  # what stands for None: TOML has no word for it

_SECONDS = {"ms": 0.001, "s": 1, "min": 60, "h": 3_600, "d": 86_400}
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)")
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

# Fields whose numbers are seconds or bytes, by name: those may be written with a unit.
_IN_SECONDS = re.compile(r"drain|timeout|.*_seconds|.*_timeout|keep_alive|body_grace|seconds|silence|grace")
_IN_BYTES = re.compile(r".*_(bytes|line)|(gzip|upload)_limit|max_memory|send_rate|head|output|input")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a value has to look like.

    Attributes:
        accepted: in words, for messages and the reference.
        read: makes the value of what TOML holds; ValueError where it is not accepted.
        parse: makes what TOML would hold of a text; ValueError where it cannot be.
    """

    accepted: str
    read: Callable[[Any], Any]
    parse: Callable[[str], Any]

    def of_text(self, text: str) -> Any:
        """The value of a text of the environment or the command line.

        Raises:
            ValueError: it is not accepted.
        """
        return self.read(self.parse(text))


class NotAccepted(ValueError):
    """A value of the wrong kind; the message is empty where `Kind.accepted` says it all."""


def kind_of(name: str, annotation: Any) -> Kind | None:
    """The kind of a field; None where it has none, and cannot be said in a file.

    Args:
        name: the field's, which tells its unit.
        annotation: its type, with every name resolved.
    """
    members = set(_members(annotation))
    optional = type(None) in members
    kind = _kind(name, members - {type(None)})
    # A text is never nothing: "off" may be a user's name.
    return _or_off(kind) if kind is not None and optional and str not in members else kind


def _members(annotation: Any) -> Iterable[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        for each in get_args(annotation):
            yield from _members(each)
    else:
        yield annotation


def _kind(name: str, members: set[Any]) -> Kind | None:
    if members == {str, int}:
        return _NAME_OR_NUMBER
    enums = [each for each in members if inspect.isclass(each) and issubclass(each, Enum)]
    if enums:
        return _VERSION if ssl.TLSVersion in enums else _choice([each.value for each in enums[0]])
    if members & {int, float}:
        return _number(name, members)
    return next((_KINDS[each] for each in _KINDS if each in members), None) or _literal(members)


def _literal(members: set[Any]) -> Kind | None:
    choices = [value for each in members if get_origin(each) is Literal for value in get_args(each)]
    return _choice(choices) if choices else None


def _or_off(kind: Kind) -> Kind:
    return Kind(
        accepted=f'{kind.accepted}, or "{OFF}"',
        read=lambda value: None if value == OFF else kind.read(value),
        parse=lambda text: text if text == OFF else kind.parse(text),
    )


# Numbers


def _number(name: str, members: set[Any]) -> Kind:
    if _IN_SECONDS.fullmatch(name):
        return _with_unit('a number of seconds, or a text such as "500ms", "30s", "5min", "1h"', _SECONDS, float)
    if _IN_BYTES.fullmatch(name):
        return _with_unit('a whole number of bytes, or a text such as "64KiB", "512MiB", "2GiB"', _BYTES, int)
    return _FLOAT if float in members else _INT


def _with_unit(accepted: str, units: Mapping[str, float], final: type) -> Kind:
    plain = _whole if final is int else _real

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return plain(value)
        found = _NUMBER.fullmatch(value)
        if not found or found[2] not in units:
            raise NotAccepted
        number = float(found[1]) * units[found[2]]
        if final is int and not number.is_integer():
            raise NotAccepted
        return final(number)

    return Kind(accepted=accepted, read=read, parse=_number_or_text)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise NotAccepted
    return value


def _real(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotAccepted
    return value


def _number_or_text(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


# Words


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise NotAccepted
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise NotAccepted
    return value


def _truth_of(text: str) -> Any:
    return {"true": True, "false": False}.get(text, text)


def _choice(choices: Sequence[str]) -> Kind:
    def read(value: Any) -> str:
        if value not in choices:
            raise NotAccepted
        return str(value)

    words = [f'"{each}"' for each in choices]
    return Kind(accepted=" or ".join(filter(None, (", ".join(words[:-1]), words[-1]))), read=read, parse=str)


def _version(value: Any) -> ssl.TLSVersion:
    if value not in _VERSIONS:
        raise NotAccepted
    return _VERSIONS[value]


def _endpoint(value: Any) -> Endpoint:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise NotAccepted
    return Endpoint.parse(value)


def _name_or_number(value: Any) -> str | int:
    return value if isinstance(value, str) else _whole(value)


# Several


def _list(of: Kind, many: str) -> Kind:
    """A list; one alone needs no brackets, and a text holds several with commas between."""

    def read(value: Any) -> tuple[Any, ...]:
        return tuple(of.read(each) for each in (value if isinstance(value, list) else [value]))

    def parse(text: str) -> Any:
        if text.startswith("["):
            return _toml(text)
        return [of.parse(each.strip()) for each in text.split(",") if each.strip()]

    return Kind(accepted=f"a list of {many}", read=read, parse=parse)


def _toml(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise NotAccepted(f"it is no TOML: {error}") from error


def _table(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise NotAccepted
    return value


def _texts_by_name(value: Any) -> Mapping[str, str]:
    return {name: _text(each) for name, each in _table(value).items()}


def _header_fields(value: Any) -> tuple[tuple[str, str], ...]:
    """Header fields by name; a list has the same field several times."""
    named = _table(value).items()
    return tuple((name, _text(each)) for name, said in named for each in (said if isinstance(said, list) else [said]))


def _certificates(value: Any) -> Mapping[str, Certificate]:
    found = {}
    for name, each in _table(value).items():
        pair = {"cert": each} if isinstance(each, str) else each
        if not isinstance(pair, dict) or not {"cert"} <= {*pair} <= {"cert", "key", "password"}:
            raise NotAccepted
        found[name] = Certificate(pair["cert"], pair.get("key"), password=pair.get("password"))
    return found


_INT = Kind(accepted="a whole number", read=_whole, parse=_number_or_text)
_FLOAT = Kind(accepted="a number", read=_real, parse=_number_or_text)
_STR = Kind(accepted="a text", read=_text, parse=str)
_NAME_OR_NUMBER = Kind(accepted="a name or a number", read=_name_or_number, parse=_number_or_text)
_VERSION = Kind(accepted='"1.2" or "1.3"', read=_version, parse=str)
_ENDPOINT = Kind(accepted='an endpoint, as "tcp://127.0.0.1:9000"', read=_endpoint, parse=str)
_TEXTS = _list(_STR, "texts")
_INTS = _list(_INT, "whole numbers")

_KINDS: Mapping[Any, Kind] = {
    bool: Kind(accepted="true or false", read=_truth, parse=_truth_of),
    Endpoint: _ENDPOINT,
    tuple[Endpoint, ...]: _list(_ENDPOINT, 'endpoints, as ["tcp://127.0.0.1:9000", "unix:/run/app.sock"]'),
    str: _STR,
    bytes: Kind(accepted="a text", read=lambda value: _text(value).encode(), parse=str),
    Sequence[str]: _TEXTS,
    tuple[str, ...]: _TEXTS,
    Iterable[object]: _TEXTS,
    Iterable[int]: _INTS,
    Mapping[str, Certificate]: Kind(
        accepted='a table of names, each with its files, as { "example.org" = { cert = "a.pem", key = "a.key" } }',
        read=_certificates,
        parse=_toml,
    ),
    Mapping[str, str]: Kind(
        accepted='a table of texts, as { "/assets/*" = "max-age=3600" }', read=_texts_by_name, parse=_toml
    ),
    tuple[tuple[str, str], ...]: Kind(
        accepted='a table of header fields, as { X-Frame-Options = "DENY" }', read=_header_fields, parse=_toml
    ),
    Mapping[str, Any]: Kind(accepted="a table", read=_table, parse=_toml),
}
