"""The files below one folder, none of which can be reached by a name or a symbolic link that leads out of it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, Self

from portside.http.files import openat2

_O_PATH: Final[int] = getattr(os, "O_PATH", os.O_RDONLY)  # where it is missing, a folder must be readable to be passed
_FOLDER: Final = _O_PATH | os.O_DIRECTORY | os.O_CLOEXEC

# What a strict open answers where it meets a symbolic link that it may not follow.
_LINK: Final = frozenset({errno.EXDEV, errno.ELOOP, errno.ENOTDIR})

# A named pipe must not hold the handler until somebody writes, nor a terminal become the server's own.
READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Tree:
    """The files below a folder; a context manager that holds the folder open.

    Args:
        folder: its path; it may be a symbolic link itself.
        confined: refuse what lies outside, symbolic links that lead there included. Links that stay inside are
            followed, absolute ones too.

    Raises:
        OSError: the folder cannot be opened.
        ValueError: its name holds a null byte.
    """

    def __init__(self, folder: str, *, confined: bool = True) -> None:
        self._folder = folder
        self._confined = confined
        self._descriptor = os.open(folder or os.curdir, _FOLDER)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._descriptor)

    def name_of(self, path: str) -> str | None:
        """The name of a path relative to the folder; None where it does not begin with the folder's."""
        return name_below(self._folder, path)

    def open(self, path: str, flags: int = READ) -> int:
        """Open a file.

        A path that does not begin with the folder's is opened as it stands: it does not come from a client, whose names
        `translate_path` puts below the folder, but from a program that has overridden that method.

        Returns:
            A descriptor, which is the caller's to close.

        Raises:
            OSError: as open(2); EXDEV where the way leaves the folder.
            ValueError: the path holds a null byte.
        """
        name = self.name_of(path)
        if name is None:
            return os.open(path, flags)
        if not self._confined:
            return os.open(name, flags, dir_fd=self._descriptor)
        try:
            return self._open_strictly(name, flags)
        except OSError as error:
            if error.errno not in _LINK or (resolved := self._resolved(name)) is None:
                raise
        # Whoever changes a link between the two calls gains nothing: the second is as strict as the first.
        return self._open_strictly(resolved, flags)

    @contextmanager
    def opened(self, path: str, flags: int = READ) -> Iterator[int]:
        """The same as a context manager, which closes the descriptor."""
        descriptor = self.open(path, flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _open_strictly(self, name: str, flags: int) -> int:
        if openat2.is_available():
            return openat2.open_beneath(self._descriptor, name, flags)
        return open_without_links(self._descriptor, name, flags)

    def _resolved(self, name: str) -> str | None:
        """The name without the links on its way; None where there were none, or they lead out."""
        root = os.path.realpath(self._folder)
        target = os.path.realpath(os.path.join(root, name))
        with suppress(ValueError):  # on another drive
            if os.path.commonpath((root, target)) == root:
                resolved = os.path.relpath(target, root) + ("/" if name.endswith("/") else "")
                return None if resolved == name else resolved
        return None


def name_below(folder: str, path: str) -> str | None:
    """The name of a path relative to a folder; None where it does not begin with the folder's."""
    prefix = os.path.join(folder, "")
    if path.startswith(prefix):
        return path[len(prefix) :].lstrip("/") or os.curdir
    return os.curdir if path == folder else None


def open_without_links(folder: int, name: str, flags: int) -> int:
    """Open a file below a folder step by step, through no symbolic link at all: for systems without openat2(2).

    Args:
        folder: the descriptor of the folder.
        name: relative to it.
        flags: as `os.open` takes them.

    Returns:
        A descriptor, which is the caller's to close.

    Raises:
        OSError: as open(2); ELOOP or ENOTDIR where there is a link, EXDEV where the name goes upwards.
        ValueError: the name holds a null byte.
    """
    words = [word for word in name.split("/") if word not in ("", os.curdir)]
    if os.pardir in words or name.startswith("/"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)
    flags |= os.O_NOFOLLOW | (os.O_DIRECTORY if name.endswith("/") else 0)
    folders, last = words[:-1], words[-1] if words else os.curdir
    here = os.dup(folder)
    try:
        for word in folders:
            below = os.open(word, _FOLDER | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
        return os.open(last, flags, dir_fd=here)
    finally:
        os.close(here)
