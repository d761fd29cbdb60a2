"""What is in a folder, as far as a client may know."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from portside.http.files.tree import Tree

PARTIAL: Final = ".portside-upload-"  # begins the names of uploads that are not complete

_WELL_KNOWN: Final = ".well-known"  # RFC 8615: certificates are renewed through it
_LOOK: Final[int] = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK) | os.O_CLOEXEC


class Entry(NamedTuple):
    """A file or a folder as it is listed.

    Args:
        name: its name, undecodable bytes as Python's file functions write them.
        is_folder: it is one, or a link to one.
        is_link: it is a symbolic link.
        size: bytes.
        modified: when it last changed, in seconds since the epoch.
    """

    name: str
    is_folder: bool
    is_link: bool
    size: int
    modified: float


def is_hidden(name: str, *, hide_dot_files: bool) -> bool:
    """Whether a name, or one of the folders before it, is not for clients."""
    words = name.split("/")
    if hide_dot_files and any(word.startswith(".") and word not in (".", "..", _WELL_KNOWN) for word in words):
        return True
    return any(word.startswith(PARTIAL) for word in words)


def entries(tree: Tree, path: str, *, hide_dot_files: bool) -> list[Entry]:
    """List a folder: the folders first, then the files, both by name without regard to case.

    What a client could not get is left out: hidden names, links that lead out of the tree or nowhere, and what is
    neither a file nor a folder.

    Raises:
        OSError: the folder cannot be read.
        ValueError: the path holds a null byte.
    """
    with tree.opened(path) as folder, os.scandir(folder) as found:
        names = [each for each in found if not is_hidden(each.name, hide_dot_files=hide_dot_files)]
        shown = [entry for each in names for entry in _entry(tree, path, each)]
    return sorted(shown, key=lambda entry: (not entry.is_folder, entry.name.lower(), entry.name))


def _entry(tree: Tree, path: str, found: "os.DirEntry[str]") -> Iterator[Entry]:
    with suppress(OSError):  # gone meanwhile, or a link that leads out
        status = _status(tree, path, found)
        if (is_folder := stat.S_ISDIR(status.st_mode)) or stat.S_ISREG(status.st_mode):
            yield Entry(found.name, is_folder, found.is_symlink(), status.st_size, status.st_mtime)


def _status(tree: Tree, path: str, found: "os.DirEntry[str]") -> os.stat_result:
    if not found.is_symlink():
        return found.stat(follow_symlinks=False)
    with tree.opened(os.path.join(path, found.name), _LOOK) as target:
        return os.fstat(target)
