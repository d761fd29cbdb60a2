r"""In which line of a TOML document each key stands: `tomllib` reads the values, and does not say where they were.

    locate("a = 1\n[b.c]\nd = 2")  ->  {("a",): 1, ("b",): 2, ("b", "c"): 2, ("b", "c", "d"): 3}

The document is one that `tomllib` has accepted, so what is looked for here is only where things begin and end; the
grammar is TOML 1.0's. What `tomllib` would have refused is read somehow, or is a ValueError.
"""

import re
import tomllib
from collections.abc import Mapping

Path = tuple[str | int, ...]  # keys, and numbers of an array's elements

_SPACE = re.compile(r"(?:[ \t]|\r?\n|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
# Three quotes first; they may be followed by two that belong to the text ("Multi-line basic strings").
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}(?!")'
    r"|'''.*?'{3,5}(?!')"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_PLAIN = re.compile(r"[^,\]}#\n\r]+")  # numbers, booleans, dates


def locate(text: str) -> Mapping[Path, int]:
    """Find every key, and every element of an array.

    Args:
        text: a document that `tomllib` accepts.

    Returns:
        The line, from 1 on, by path. Of a table that is spoken of in several places it is the first one.

    Raises:
        ValueError: this is no TOML.
    """
    locator = _Locator(text)
    locator.document()
    return locator.found


class _Locator:
    """A reader at some place of the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line, self._counted = 1, 0  # the line of a place that was asked for before, to count on from there
        self._lengths: dict[Path, int] = {}  # of arrays of tables
        self.found: dict[Path, int] = {}

    def document(self) -> None:
        table: Path = ()
        while self._skip(_SPACE):
            if self._next("[["):
                table = self._element(self._names())
                self._expect("]]")
            elif self._next("["):
                table = self._table(self._names())
                self._expect("]")
            else:
                self._pair(table)

    # Places

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        """Go on behind what matches; False at the text's end."""
        found = pattern.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._at < len(self._text)

    def _next(self, token: str) -> bool:
        """Go on behind the token, where it stands here."""
        here = self._text.startswith(token, self._at)
        self._at += len(token) * here
        return here

    def _expect(self, token: str) -> None:
        if not self._next(token):
            raise ValueError(f"line {self._here()}: {token!r} was to stand here")

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if not found:
            raise ValueError(f"line {self._here()}: this is no TOML")
        self._at = found.end()
        return found[0]

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _note(self, path: Path, line: int) -> None:
        self.found.setdefault(path, line)

    # Keys and tables

    def _names(self) -> list[str]:
        names = [self._name()]
        while self._next("."):
            names.append(self._name())
        return names

    def _name(self) -> str:
        self._skip(_BLANK)
        quoted = self._text[self._at : self._at + 1] in ('"', "'")
        name = self._take(_STRING if quoted else _BARE)
        self._skip(_BLANK)
        return str(tomllib.loads(f"name = {name}")["name"]) if quoted else name

    def _table(self, names: list[str]) -> Path:
        """The path of a header; an array of tables on the way means its last element."""
        line = self._here()
        path: Path = ()
        for name in names:
            path = self._last((*path, name))
            self._note(path, line)
        return path

    def _last(self, path: Path) -> Path:
        return (*path, self._lengths[path] - 1) if path in self._lengths else path

    def _element(self, names: list[str]) -> Path:
        line, array = self._here(), (*self._table(names[:-1]), names[-1])
        self._note(array, line)
        number = self._lengths.get(array, 0)
        self._lengths[array] = number + 1
        self._note((*array, number), line)
        return (*array, number)

    # Values

    def _pair(self, table: Path) -> None:
        line, path = self._here(), table
        for name in self._names():
            path = (*path, name)
            self._note(path, line)
        self._expect("=")
        self._skip(_BLANK)
        self._value(path)

    def _value(self, path: Path) -> None:
        if self._next("["):
            self._array(path)
        elif self._next("{"):
            self._inline(path)
        elif self._text[self._at : self._at + 1] in ('"', "'"):
            self._take(_STRING)
        else:
            self._take(_PLAIN)

    def _array(self, path: Path) -> None:
        number = 0
        self._skip(_SPACE)
        while not self._next("]"):
            self._note((*path, number), self._here())
            self._value((*path, number))
            number += 1
            self._skip(_SPACE)
            self._next(",")
            self._skip(_SPACE)

    def _inline(self, path: Path) -> None:
        self._skip(_SPACE)
        while not self._next("}"):
            self._pair(path)
            self._skip(_SPACE)
            self._next(",")
            self._skip(_SPACE)
