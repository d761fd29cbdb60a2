"""From a command line that names what is served, and the environment, to a configuration."""

import os
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from portside.cli.flags import FLAGS, LEVEL
from portside.policy.limits import NO_LIMITS
from portside.service.config.making import Configuration, configuration
from portside.service.config.options import PREFIX, Path, options, tables
from portside.service.config.problems import ConfigError, Problem
from portside.service.config.settings import CHOICES
from portside.service.config.sources import Said, Source, from_command_line, from_environment

# What these commands say in their own way, so that the options of these paths are not taken.
_OWN = (*CHOICES, "endpoints")


def add_every_option(command: ArgumentParser) -> None:
    """Take every option under its path's name, too; what the command's help does not show is not shown."""
    taken = {name for action in command._actions for name in action.option_strings}
    for path in every_path():
        if path[0] not in _OWN and flag_of(path) not in taken:
            command.add_argument(flag_of(path), dest=dest_of(path), metavar="VALUE", default=SUPPRESS, help=SUPPRESS)


def every_path() -> Iterator[Path]:
    """The options, and those tables of which something can be said in a text."""
    yield from (path for path, table in tables().items() if table.can_be_off or table.short is not None)
    yield from options()


def flag_of(path: Path) -> str:
    """How an option is called on the command line."""
    return "--" + ".".join(path).replace("_", "-")


def variable_of(path: Path) -> str:
    """How it is called in the environment."""
    return PREFIX + "__".join(path).upper()


def dest_of(path: Path) -> str:
    """Under which name its text is found."""
    return "option:" + ".".join(path)


def texts_of(given: Namespace) -> dict[Path, str]:
    """The options that were given under their paths' names."""
    return {path: vars(given)[dest_of(path)] for path in every_path() if dest_of(path) in vars(given)}


def configured(given: Namespace, served: Mapping[str, str]) -> Configuration:
    """What the command line and the environment say, made into one service.

    Args:
        given: the command line; of its endpoints none need be there.
        served: what is served, by the name of its option: `{"folder": "site"}`. What the environment says of that does
            not count, since the command says it.

    Raises:
        ConfigError: it cannot be.
    """
    around = from_environment(os.environ, [])
    around.common = [said for said in around.common if said.path[0] not in CHOICES]
    line = from_command_line(texts_of(given))
    line.common = [*_switched_off(given), *_said(given), *line.common]
    line.common += [_by_place(name, value, value) for name, value in served.items()]
    if given.endpoints:
        line.common.append(_by_place("endpoints", tuple(given.endpoints), [str(each) for each in given.endpoints]))
    _check_workers(around, line)
    return configuration([around, line])


def _by_place(name: str, value: Any, shown: Any) -> Said:
    """What is said without a flag."""
    return Said(path=(name,), value=value, where="the command line", raw=shown)


def _said(given: Namespace) -> Iterator[Said]:
    values = vars(given)
    for flag in FLAGS:
        if (value := values.get(flag.key)) is not None:
            shown = value if isinstance(value, bool | int | float | list) else str(value)
            yield Said(path=flag.path, value=_frozen(value), where=flag.names[-1], raw=shown)
    if (level := values[LEVEL]) is not None:
        yield replace(_by_place(LEVEL, level, level), path=("logging", "level"))
    if given.tls is not None:
        cert, _, key = given.tls.partition(",")
        for name, file in {"cert": cert, "key": key}.items():
            if file:
                yield Said(path=("tls", name), value=file, where="--tls", raw=file)


def _frozen(value: Any) -> Any:
    """What was given again and again, or in several words, as the dataclasses have it."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _switched_off(given: Namespace) -> Iterator[Said]:
    """`--no-limits`: none at all, or none but those that are named beside it."""
    if not given.no_limits:
        return
    yield Said(path=("limits",), value=None, where="--no-limits")
    named = (key.removeprefix("option:") for key, value in vars(given).items() if value is not None)
    if any(key.startswith("limits.") for key in named):
        for field in fields(NO_LIMITS):
            value: Any = getattr(NO_LIMITS, field.name)
            yield Said(path=("limits", field.name), value=value, where="--no-limits", raw=value)


def _check_workers(around: Source, line: Source) -> None:
    """An option of workers says nothing where there are none, and would else start two of them."""
    named = [said for said in (*around.common, *line.common) if said.path[:1] == ("workers",)]
    if named and not any(said.path[1:] in ((), ("count",)) for said in named):
        text = "this is for workers: give --workers, too"
        raise ConfigError([Problem(where=named[0].where, text=text)])
