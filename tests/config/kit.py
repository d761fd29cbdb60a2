"""Configurations from texts, and what is said of wrong ones."""

from collections.abc import Mapping

import pytest

from portside.service.config.making import Configuration, configuration
from portside.service.config.options import Path
from portside.service.config.problems import ConfigError
from portside.service.config.sources import from_command_line, from_environment, from_file

BASE = 'handler = "shout:Shout"\nendpoints = [9000]\n'


def made(
    text: str, environment: Mapping[str, str] | None = None, given: Mapping[Path, str] | None = None
) -> Configuration:
    """The configuration of a file's text, of variables, and of options of the command line."""
    file = from_file(text, "app.toml")
    return configuration(
        [file, from_environment(environment or {}, list(file.services)), from_command_line(given or {})]
    )


def wrong(
    text: str, environment: Mapping[str, str] | None = None, given: Mapping[Path, str] | None = None
) -> list[str]:
    """Everything that is said of a wrong configuration."""
    with pytest.raises(ConfigError) as caught:
        made(text, environment, given)
    return [str(each) for each in caught.value.problems]
