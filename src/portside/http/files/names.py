"""From the target of a request to a name in a folder, and back to a redirection."""

import os
import posixpath
import urllib.parse
from contextlib import suppress
from functools import lru_cache
from typing import Final

from portside.http.targets import origin_form

LONGEST: Final = 256  # characters of a target that is worth remembering: clients choose them


def translate(target: str, folder: str) -> str:
    """The path below the folder that a request's target names; a slash at its end stays.

    What could mean something else than a name to the system, such as a drive or `..`, is left out.

    Args:
        target: as it stands in the request: quoted, with its query, which is not looked at.
        folder: what the path will begin with.
    """
    return _translate(target, folder) if len(target) > LONGEST else _translated(target, folder)


def _translate(target: str, folder: str) -> str:
    location = split(target)[0]
    words = posixpath.normpath(unquoted(location)).split("/")
    names = [word for word in words if word and not os.path.dirname(word) and word not in (os.curdir, os.pardir)]
    return os.path.join(folder, *names) + ("/" if location.rstrip().endswith("/") else "")


_translated = lru_cache(maxsize=1024)(_translate)  # clients repeat themselves, and each other


def split(target: str) -> tuple[str, str]:
    """Split a target before its query or its fragment, whichever comes first; scheme and host are left out."""
    return _halves(target if target[:1] == "/" else origin_form(target) or target)


def _halves(target: str) -> tuple[str, str]:
    end = min((place for mark in "?#" if (place := target.find(mark)) >= 0), default=len(target))
    return target[:end], target[end:]


def unquoted(location: str) -> str:
    """Undo the %XX of a location; bytes that are not UTF-8 become what Python's file functions write for them.

    A client that sends UTF-8 without %XX, which it should not and many do, is understood too: a request's bytes reach
    a handler as ISO 8859-1.
    """
    if not location.isascii():
        with suppress(UnicodeError):  # then it is what it looks like
            location = location.encode("iso-8859-1").decode("utf-8")
    try:
        return urllib.parse.unquote(location, errors="surrogatepass")
    except UnicodeDecodeError:
        return urllib.parse.unquote(location, errors="surrogateescape")


def shown(target: str) -> str:
    """A target as people read it: without %XX, and with a replacement character for each byte that is not UTF-8."""
    return urllib.parse.unquote(target, errors="replace")


def with_slash(target: str) -> str:
    """The same target with a slash at the end of its location: where a folder is redirected to.

    Two slashes at the beginning would lead to another host (python/cpython#87389), and browsers take a backslash for a
    slash.
    """
    location, rest = _halves(target)
    if location.startswith("/"):
        location = "/" + location.lstrip("/\\")
    return location.replace("\\", "%5C").removesuffix("/") + "/" + rest


def names_folder(target: str) -> bool:
    """Whether a target ends with the slash of a folder."""
    return split(target)[0].endswith("/")
