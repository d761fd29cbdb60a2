"""What is wrong with a configuration: each mistake with where it stands, and all of them at once."""

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_SHOWN = 60  # characters of a wrong value: what makes a line of a terminal, with the rest of the sentence


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A mistake.

    Attributes:
        where: file and line, or which variable or option.
        line: the line, 0 where there is none; for sorting.
        text: what is wrong, and what would be accepted.
    """

    where: str
    line: int = 0
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


class ConfigError(Exception):
    """A configuration that cannot be.

    Attributes:
        problems: everything that is wrong with it, in the order of the lines.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda each: each.line))
        super().__init__("\n".join(map(str, self.problems)))


def shown(value: Any) -> str:
    """A value, as it stands in a file, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):  # a date, which TOML knows and no option takes
        text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def unknown(key: str, known: Iterable[str]) -> str:
    """What to say of a key that there is not, with the one that may have been meant."""
    known = sorted(known)
    last = key.rpartition(".")[2]
    close = difflib.get_close_matches(last, known, 1)
    meant = f"did you mean {close[0]}?" if close else f"accepted here are {', '.join(known)}"
    return f"{key} is no option; {meant}"


def not_accepted(key: str, value: Any, accepted: str) -> str:
    """What to say of a value."""
    return f"{key} = {shown(value)} is not accepted; accepted is {accepted}"
