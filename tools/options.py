"""The table of options in docs/reference/configuration.md, made of the options that there are.

`python -m tools.options` writes it; tests/test_reference.py looks whether it is what there is.
"""

import dataclasses
import functools
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from portside.service.config.options import Option, Table, options, tables

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "configuration.md"
BEGIN, END = "<!-- options: written by `python -m tools.options` -->", "<!-- end of options -->"

_SIZES = ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))


def rendered() -> str:
    """The sections of the page: one for what stands above all tables, and one for each table."""
    return "\n".join(line for path in [(), *tables()] for line in _section(path))


def _section(path: tuple[str, ...]) -> Iterator[str]:
    inside = [each for each in options().values() if each.path[:-1] == path]
    yield f"\n### {'.'.join(path) or 'Service'}\n"
    if path:
        yield from _introduction(tables()[path])
    yield "| option | takes | left out | means |\n| --- | --- | --- | --- |"
    yield from map(_row, inside)


def _introduction(table: Table) -> Iterator[str]:
    key = ".".join(table.path)
    short = "" if table.short is None else f" `{key} = VALUE` is short for `{'.'.join(table.short)} = VALUE`."
    off = f' `{key} = "off"` is none.' if table.can_be_off else ""
    yield f"`[{key}]`: {_escaped(_sentence(_NONE.sub('left out', table.words)))}{off}{short}\n"


def _row(option: Option) -> str:
    words = option.words if _can_be_none(option) else _OR_NONE.sub("", option.words)
    words = _NONE.sub(functools.partial(_absent, option), words)
    cells = (f"`{option.key}`", _escaped(_takes(option.kind.accepted)), _default(option), _escaped(words))
    return f"| {' | '.join(cells)} |"


_NONE = re.compile(r"\bNone\b")  # what a program calls it
_OR_NONE = re.compile(r" or None\b")


def _can_be_none(option: Option) -> bool:
    """Whether a file can say that there is none: by "off", or by leaving it out."""
    return option.default is None or '"off"' in option.kind.accepted


def _absent(option: Option, found: re.Match[str]) -> str:
    begins = found.start() == 0 or found.string[: found.start()].endswith(". ")
    return '"off"' if option.default is not None else "Left out" if begins else "left out"


def _takes(accepted: str) -> str:
    """Seconds and bytes are explained once, above the tables."""
    words = re.sub(r'a number of seconds, or a text such as "500ms", "30s", "5min", "1h"', "seconds", accepted)
    return re.sub(r'a whole number of bytes, or a text such as "64KiB", "512MiB", "2GiB"', "bytes", words)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def _default(option: Option) -> str:
    value: Any = option.default
    if value is dataclasses.MISSING:
        return "must be given"
    if value is None or value in ((), "") or (isinstance(value, Mapping) and not value):
        return ""
    if isinstance(value, tuple):
        return " ".join(f"`{each}`" for each in value)
    if "number of bytes" in option.kind.accepted:
        return next(f'`"{value // size}{unit}"`' for size, unit in _SIZES if value % size == 0)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return (
        f"`{value:g}`"
        if isinstance(value, int | float) and value < 10**6 and not hasattr(value, "name")
        else _text(value)
    )


def _text(value: Any) -> str:
    """A text; of a version of TLS its number."""
    version = re.fullmatch(r"TLSv(\d)_(\d)", getattr(value, "name", ""))
    return f'`"{version[1]}.{version[2]}"`' if version else f'`"{value}"`'


def page() -> str:
    """The page as it should be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{rendered()}\n\n{END}{after}"


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
