"""Lines of keys: what a writer of TOML wrote where is found there, and everything that tomllib finds has a line."""

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.service.config.locating import Path, locate

DOCUMENT = '''\
# a comment with [brackets] and = signs
name = "a # b"
"quoted key".'and another' = 1

[limits]  # of a host
per_host = 5
text = """
[not.a.table]
x = 1
five quotes: """""
list = [
    1, # one
    "two]",
    [3],
]
[[services]]
name = 'x'
inline = { a = 1, b.c = { d = "}" } }
[services.tls]
cert = "x"
[[services]]
name = 'y'
when = 1979-05-27T07:32:00Z
[services.tls]
raw = \'\'\'a
b\'\'\'
last = "\\"\\\\"
'''

LINES: dict[Path, int] = {
    ("name",): 2,
    ("quoted key",): 3,
    ("quoted key", "and another"): 3,
    ("limits",): 5,
    ("limits", "per_host"): 6,
    ("limits", "text"): 7,
    ("limits", "list"): 11,
    ("limits", "list", 0): 12,
    ("limits", "list", 1): 13,
    ("limits", "list", 2): 14,
    ("limits", "list", 2, 0): 14,
    ("services",): 16,
    ("services", 0): 16,
    ("services", 0, "name"): 17,
    ("services", 0, "inline"): 18,
    ("services", 0, "inline", "a"): 18,
    ("services", 0, "inline", "b"): 18,
    ("services", 0, "inline", "b", "c"): 18,
    ("services", 0, "inline", "b", "c", "d"): 18,
    ("services", 0, "tls"): 19,
    ("services", 0, "tls", "cert"): 20,
    ("services", 1): 21,
    ("services", 1, "name"): 22,
    ("services", 1, "when"): 23,
    ("services", 1, "tls"): 24,
    ("services", 1, "tls", "raw"): 25,
    ("services", 1, "tls", "last"): 27,
}


def paths(value: Any, above: Path = ()) -> Iterator[Path]:
    """Every path of what tomllib has read."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*above, key)
        yield from paths(inner, (*above, key))


def test_lines() -> None:
    assert locate(DOCUMENT) == LINES
    assert set(paths(tomllib.loads(DOCUMENT))) == set(LINES)


def test_windows_line_ends() -> None:
    assert locate(DOCUMENT.replace("\n", "\r\n")) == LINES


@pytest.mark.parametrize("text", ["a", "= 1", "[a", "a = ", "a = [1", 'a = "', "a = {b", "\x00"])
def test_what_is_no_toml_ends(text: str) -> None:
    with pytest.raises(ValueError, match=r"line 1|Invalid|Expected"):
        locate(text)


# What a writer wrote

KEYS = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5),
)
TEXTS = st.text(st.sampled_from("ab#[]{}=,.\"'\\\n "), max_size=12)
SCALARS = st.one_of(st.integers(-(10**6), 10**6), st.booleans(), TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=4)
DOCUMENTS = st.tuples(TABLES, st.dictionaries(KEYS, st.one_of(TABLES, st.lists(TABLES, min_size=1, max_size=3))))


class Writer:
    """Writes a document, and notes the line of each key that it begins a line with."""

    def __init__(self, draw: Any) -> None:
        self._draw = draw
        self.text = ""
        self.lines: dict[Path, int] = {}

    def line(self, text: str, *paths: Path) -> None:
        for _ in range(self._draw(st.integers(0, 2))):
            self.text += self._draw(st.sampled_from(["\n", "# [c] = \"'\n", "  \t\n"]))
        number = self.text.count("\n") + 1
        self.lines |= {path: number for path in paths if path not in self.lines}
        self.text += f"{text}{self._draw(st.sampled_from(['', ' # x = 1', '  ']))}\n"

    def table(self, table: dict[str, Any], path: Path) -> None:
        for key, value in table.items():
            self.line(f"{self.key(key)} = {self.value(value)}", (*path, key))

    def key(self, key: str) -> str:
        bare = key.isascii() and key.replace("_", "a").replace("-", "a").isalnum()
        return key if bare and self._draw(st.booleans()) else f'"{escaped(key)}"'

    def value(self, value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int):
            return str(value)
        if isinstance(value, str):
            return self.string(value)
        if isinstance(value, list):
            gap: str = self._draw(st.sampled_from(["", "\n", " # ]\n"]))
            return "[" + "".join(f"{gap}{self.value(each)}{gap}," for each in value) + gap + "]"
        return "{" + ", ".join(f"{self.key(key)} = {self.value(each)}" for key, each in value.items()) + "}"

    def string(self, text: str) -> str:
        if "'" not in text and "\n" not in text and self._draw(st.booleans()):
            return f"'{text}'"
        if "'" not in text and self._draw(st.booleans()):
            return f"'''\n{text}'''"
        if self._draw(st.booleans()):
            return '"""\n' + escaped(text).replace("\\n", "\n") + '"""'
        return f'"{escaped(text)}"'


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@given(DOCUMENTS, st.data())
def test_generated_documents(document: tuple[dict[str, Any], dict[str, Any]], data: st.DataObject) -> None:
    top, tables = document
    writer = Writer(data.draw)
    writer.table(top, ())
    for name, table in tables.items():
        if name in top:
            continue
        elements = table if isinstance(table, list) else [table]
        for number, each in enumerate(elements):
            path: Path = (name, number) if isinstance(table, list) else (name,)
            brackets = ("[[", "]]") if isinstance(table, list) else ("[", "]")
            writer.line(f"{brackets[0]} {writer.key(name)} {brackets[1]}", path, path[:1])
            writer.table(each, path)
    found = locate(writer.text)
    assert {path: found[path] for path in writer.lines} == writer.lines
    assert set(found) == set(paths(tomllib.loads(writer.text)))
