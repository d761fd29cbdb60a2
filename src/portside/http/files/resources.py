"""From a path to what is there: a file in the coding that the client likes best, or a folder."""

import errno
import os
import stat
import time
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final, NamedTuple

from portside.http.files.conditions import ETag, Validators
from portside.http.files.encodings import PACKED_FROM, Coding, accepted, is_compressible, packable
from portside.http.files.tree import READ, Tree

# Seconds within which a file may change again without a trace in its time of modification. Linux stamps files with the
# time of its last tick, which come at 100 a second or more; a file system that keeps no fractions may be as coarse as
# FAT, whose clock moves every 2 s.
TICK: Final = 0.02
COARSE_TICK: Final = 2.0

_FOLDER: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_MISSING: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class Resource(NamedTuple):
    """What was found at a path, opened.

    Args:
        descriptor: the holder's to close.
        path: where it was found.
        status: of the descriptor.
        content_type: its type.
        coding: that its content is in, or is to be put in; None as it is.
        is_raw: its content has yet to be put into that coding.
    """

    descriptor: int
    path: str
    status: os.stat_result
    content_type: str = ""
    coding: Coding | None = None
    is_raw: bool = False

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder; else it is a regular file."""
        return stat.S_ISDIR(self.status.st_mode)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)


def find(tree: Tree, path: str) -> Resource:
    """Open what is at a path.

    Raises:
        OSError: it cannot be opened; ENOENT where it is neither a file nor a folder, such as a named pipe.
        ValueError: the path holds a null byte.
    """
    try:
        return _regular(tree.open(path), path)
    except PermissionError as error:
        try:  # a folder that cannot be listed may be passed through: its index page may be readable
            return _regular(tree.open(path, _FOLDER), path)
        except OSError:
            raise error from None


def _regular(descriptor: int, path: str) -> Resource:
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise FileNotFoundError(errno.ENOENT, "this is neither a file nor a folder", path)
    except BaseException:
        os.close(descriptor)
        raise
    return Resource(descriptor, path, status)


def find_file(tree: Tree, path: str) -> Resource | None:
    """The same for a file; None where there is none, a folder of that name included.

    Raises:
        OSError: it is there and cannot be opened.
        ValueError: the path holds a null byte.
    """
    try:
        found = _regular(tree.open(path, READ), path)
    except OSError as error:
        if error.errno in _MISSING:
            return None
        raise
    if found.is_folder:
        found.close()
        return None
    return found


def find_index(tree: Tree, folder: str, names: Iterable[str]) -> Resource | None:
    """The first of these names that is a file in the folder; None where none is.

    Raises:
        OSError: one is there and cannot be opened.
        ValueError: a name holds a null byte.
    """
    candidates = (find_file(tree, os.path.join(folder, name)) for name in names)
    return next((found for found in candidates if found), None)


def negotiate(tree: Tree, plain: Resource, fields: Mapping[str, str], *, gzip_limit: int) -> Resource:
    """Pick the coding that a file is sent in.

    A neighbour that was coded beforehand is taken where it is no older than the file, the one that the client likes
    best; else a text of moderate size is to be packed, in zstd or gzip. A part of a file is only sent as it is, or from
    a neighbour.

    Args:
        tree: where the file is from.
        plain: the file; it and its neighbours are closed unless they are what is returned.
        fields: the request's header fields, under their names in small letters.
        gzip_limit: bytes of the largest file that is to be packed.
    """
    if "accept-encoding" not in fields or not is_compressible(plain.content_type):
        return plain
    codings = accepted(fields["accept-encoding"])
    for coding in codings:
        if neighbour := _neighbour(tree, plain, coding):
            plain.close()
            return neighbour
    is_worth_it = "range" not in fields and PACKED_FROM <= plain.status.st_size <= gzip_limit
    packing = packable(codings) if is_worth_it else None
    return plain._replace(coding=packing, is_raw=True) if packing else plain


def _neighbour(tree: Tree, plain: Resource, coding: Coding) -> Resource | None:
    try:
        found = find_file(tree, plain.path + coding.suffix)
    except OSError:  # the file itself can be read, so the client gets that
        return None
    if found and found.status.st_mtime_ns < plain.status.st_mtime_ns:
        found.close()
        return None
    return found._replace(content_type=plain.content_type, coding=coding) if found else None


def validators(status: os.stat_result, coding: Coding | None = None, *, now: float | None = None) -> Validators:
    """What tells this state of a file from another.

    Args:
        status: the file's.
        coding: that its content is sent in; each has a tag of its own, as its bytes are others.
        now: seconds since the epoch; the clock's where it is None.
    """
    now = time.time() if now is None else now
    suffix = f"-{coding.name}" if coding else ""
    tick = TICK if status.st_mtime_ns % 10**9 else COARSE_TICK
    # Where it may still change in the same tick of the file system's clock, its bytes are not vouched for.
    etag = ETag(f"{status.st_mtime_ns:x}-{status.st_size:x}{suffix}", weak=abs(now - status.st_mtime) < tick)
    return Validators(etag, int(min(status.st_mtime, now)))  # no later than the answer (RFC 9110, section 8.8.2.1)


def status_of(error: OSError | ValueError) -> HTTPStatus:
    """The status for a file that could not be opened: it is not there, unless the system has run out of something."""
    if isinstance(error, OSError) and error.errno in _EXHAUSTED:
        return HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.NOT_FOUND
