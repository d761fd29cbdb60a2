"""Which script a URL means: paths in, names out; no file is looked at.

A path of a URL falls into four parts (RFC 3875, 3.3): `/cgi-bin/show.py/extra/path?query` is the script
`/cgi-bin/show.py`, the path info `/extra/path` and the query.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from portside.http.files import names


@dataclass(frozen=True, kw_only=True)
class ScriptPath:
    """A URL's path in its parts, percent signs decoded except in the query.

    Attributes:
        name: the script's own path, as in SCRIPT_NAME.
        info: what follows it, as in PATH_INFO; begins with a slash, or is empty.
        query: what follows the question mark, as it was sent.
    """

    name: str
    info: str
    query: str


def collapse(target: str) -> str:
    """The path of a request without `.`, `..` and double slashes, decoded; the query stays at its end.

    Returns:
        A path with at least two slashes, so that a directory is before the last.

    Raises:
        IndexError: it leads above the root.
    """
    path, query = _split(target)
    parts = names.unquoted(path).split("/")
    above: list[str] = []
    for part in parts[:-1]:
        _step(above, part)
    last = parts[-1]
    if last in (".", ".."):
        _step(above, last)
        last = ""
    return f"/{'/'.join(above)}/{last}{'?' if query else ''}{query}"


def _split(target: str) -> tuple[str, str]:
    """Path and query, divided as for files: what one takes for a script, the other must not show as a file."""
    path, rest = names.split(target)
    return path, rest[1:].partition("#")[0] if rest.startswith("?") else ""


def _step(above: list[str], part: str) -> None:
    if part == "..":
        above.pop()
    elif part not in ("", "."):
        above.append(part)


def split_directory(collapsed: str, directories: Iterable[str]) -> tuple[str, str] | None:
    """The first of `directories` that a collapsed path lies in, and the rest; None when it lies in none of them."""
    known = set(directories)
    slash = collapsed.find("/", 1)
    while slash > 0:
        if collapsed[:slash] in known:
            return collapsed[:slash], collapsed[slash + 1 :]
        slash = collapsed.find("/", slash + 1)
    return None


def script_path(info: tuple[str, str], target: str, is_directory: Callable[[str], bool]) -> ScriptPath:
    """Take apart what `is_cgi` has found.

    Args:
        info: a directory of scripts, and the rest of the path with the query.
        target: the request's target, in which the query is still apart from a question mark that was encoded.
        is_directory: whether a path is a directory: then the script lies further down.
    """
    directory, rest = info
    rest, query = _without_query(rest, target)
    while True:
        script, slash, more = rest.partition("/")
        if not slash or not is_directory(f"{directory}/{script}"):
            return ScriptPath(name=f"{directory}/{script}", info=slash + more, query=query)
        directory, rest = f"{directory}/{script}", more


def _without_query(rest: str, target: str) -> tuple[str, str]:
    query = _split(target)[1]
    if not query:
        return rest, ""
    if rest.endswith(f"?{query}"):
        return rest.removesuffix(f"?{query}"), query
    rest, _, query = rest.partition("?")  # an overridden `is_cgi` has made a path of its own
    return rest, query


def search_words(query: str) -> list[str]:
    """The command line of a query without `=`, RFC 3875 (4.4): words between plus signs.

    A word that begins with a dash would be an option of the script's, or of its interpreter's (CVE-2012-1823): then
    there are none at all.
    """
    if not query or "=" in query:
        return []
    words = [unquote(word, errors="surrogateescape") for word in query.split("+")]
    return [] if any(word.startswith("-") or "\0" in word for word in words) else words


def executable(path: str) -> bool:
    """Whether a file may be executed by this process."""
    return os.access(path, os.X_OK)


def is_python(path: str) -> bool:
    """Whether a name is that of a Python script."""
    return os.path.splitext(path)[1].lower() in (".py", ".pyw")
