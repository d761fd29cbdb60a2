"""Files that a client sends: written under a name of their own, and given theirs when they are whole."""

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Final, Self

from portside.http.files.folders import PARTIAL

_PART: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE: Final = 0o666  # less the umask, as every program makes files

# A file system without hard links answers so (FAT, some that are mounted over a network).
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})

_NO_NAME: Final = (HTTPStatus.BAD_REQUEST, "this is no name for a file")
_REFUSALS: Final = {
    errno.EEXIST: (HTTPStatus.CONFLICT, "there is such a file already"),
    errno.EISDIR: (HTTPStatus.CONFLICT, "there is a folder of this name"),
    errno.ENOTEMPTY: (HTTPStatus.CONFLICT, "there is a folder of this name"),
    errno.ENOENT: (HTTPStatus.CONFLICT, "there is no such folder"),
    errno.ENOTDIR: (HTTPStatus.CONFLICT, "there is no such folder"),
    errno.EXDEV: (HTTPStatus.CONFLICT, "there is no such folder"),
    errno.ELOOP: (HTTPStatus.CONFLICT, "there is no such folder"),
    errno.EACCES: (HTTPStatus.FORBIDDEN, "the server may not write there"),
    errno.EPERM: (HTTPStatus.FORBIDDEN, "the server may not write there"),
    errno.EROFS: (HTTPStatus.FORBIDDEN, "the server may not write there"),
    errno.ENAMETOOLONG: (HTTPStatus.BAD_REQUEST, "the name is too long"),
    errno.EINVAL: _NO_NAME,
    errno.EFBIG: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the file is too large for the server's disk"),
    errno.ENOSPC: (HTTPStatus.INSUFFICIENT_STORAGE, "the server's disk is full"),
    errno.EDQUOT: (HTTPStatus.INSUFFICIENT_STORAGE, "the server's disk is full"),
    errno.EMFILE: (HTTPStatus.SERVICE_UNAVAILABLE, "the server is out of file descriptors"),
    errno.ENFILE: (HTTPStatus.SERVICE_UNAVAILABLE, "the server is out of file descriptors"),
}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_UNKNOWN: Final = (HTTPStatus.INTERNAL_SERVER_ERROR, "the file cannot be stored")


class UploadRefused(Exception):
    """An upload that is not stored; nothing of it is left.

    Args:
        status: what the client is answered.
        message: why, as a sentence without its full stop.
    """

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@contextmanager
def disk() -> Iterator[None]:
    """Translate what the file system refuses; only for calls that do not read from the client.

    Raises:
        UploadRefused: instead of OSError and ValueError.
    """
    try:
        yield
    except OSError as error:
        raise UploadRefused(*_REFUSALS.get(error.errno or 0, _UNKNOWN)) from error
    except ValueError as error:  # a null byte, or what the file system's encoding cannot hold
        raise UploadRefused(*_NO_NAME) from error


def plain_name(sent: bytes) -> str:
    """The name of a file in a form, without the folders that some browsers send before it.

    Raises:
        UploadRefused: it is no name for a file, or a hidden one.
    """
    name = os.fsdecode(sent).replace("\\", "/").rpartition("/")[2]
    if not name or name.startswith("."):
        raise UploadRefused(*_NO_NAME)
    check_name(name)
    return name


def check_name(name: str) -> None:
    """Check the name of a file to store.

    Raises:
        UploadRefused: it holds a control character, which would deceive whoever reads it in a terminal.
    """
    if _CONTROL.search(name):
        raise UploadRefused(*_NO_NAME)


class PartialFile:
    """A file that is being sent; a context manager that removes it unless `keep` was called.

    Args:
        folder: the descriptor of its folder, which stays the caller's.
        name: what it will be called.

    Raises:
        UploadRefused: it cannot be made.
    """

    def __init__(self, folder: int, name: str) -> None:
        self.name = name
        self._folder = folder
        self._part = PARTIAL + secrets.token_hex(8)
        with disk():
            self._descriptor: int | None = os.open(self._part, _PART, _MODE, dir_fd=folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()
        with suppress(OSError):  # it has its name by now
            os.unlink(self._part, dir_fd=self._folder)

    def write(self, data: bytes | memoryview) -> None:
        """Append data.

        Raises:
            UploadRefused: the disk is full, or what else `disk` translates.
        """
        done = 0
        with disk(), memoryview(data) as view:
            while self._descriptor is not None and done < len(view):
                done += os.write(self._descriptor, view[done:])

    def finish(self) -> os.stat_result:
        """There is no more data: close the file; returns its status.

        Raises:
            UploadRefused: what was written does not fit after all.
        """
        with disk():
            self._close()
            return os.stat(self._part, dir_fd=self._folder)

    def keep(self, *, overwrite: bool) -> None:
        """Give the file its name, at once and whole.

        Args:
            overwrite: replace a file of that name; a symbolic link is replaced, and not what it leads to.

        Raises:
            UploadRefused: there is one already, or a folder, or the name is impossible.
        """
        with disk():
            if not overwrite:
                self._reserve()
            else:
                self._rename()

    def _reserve(self) -> None:
        try:
            os.link(self._part, self.name, src_dir_fd=self._folder, dst_dir_fd=self._folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # Made empty first, the name is ours, and what it is renamed over cannot be another's.
            os.close(os.open(self.name, _PART, _MODE, dir_fd=self._folder))
            self._rename()

    def _rename(self) -> None:
        os.rename(self._part, self.name, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)
