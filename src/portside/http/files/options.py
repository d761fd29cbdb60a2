"""What a file server may be told about how it serves."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

MIB: Final = 1024**2

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_UNSAFE: Final = re.compile(r"[\0\r\n]")  # what would begin another field, or another response
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s?#]+")


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """How files are served; every default serves a folder as the standard library does, only safer and faster.

    Args:
        follow_symlinks: follow symbolic links out of the folder (python/cpython#132142). Links that stay inside are
            followed in any case.
        hide_dot_files: answer 404 for every name that begins with a dot, and leave it out of listings; `.well-known`
            is excepted (RFC 8615).
        listings: show the contents of folders without an index page; else such a folder is answered with 404.
        compress: send `.br`, `.zst` and `.gz` neighbours of a file that are no older than it, or pack text with zstd or
            gzip while sending, to clients that accept it.
        gzip_limit: bytes of the largest file that is packed while sending, with zstd as with gzip: it is held in
            memory, and each MiB takes about 5 ms with zstd, 20 ms with gzip. 0 for none.
        cache_control: the value of Cache-Control by the pattern of the URL's path, as `fnmatch` reads it; the first
            that matches counts: `{"/assets/*": "max-age=31536000, immutable", "*": "no-cache"}`.
        headers: further header fields of every answer, errors included.
        cors_origins: the origins whose pages may read the answers (CORS), such as "https://app.example"; "*" is any.
        uploads: take files by PUT, and by POST with a form or the plain content. Whoever can connect can then write
            into the folder.
        upload_limit: bytes of the largest request that uploads; more is answered with 413.
        overwrite: let an upload replace a file; else it is answered with 409.

    Raises:
        ValueError: an option holds what it cannot.
    """

    follow_symlinks: bool = False
    hide_dot_files: bool = False
    listings: bool = True
    compress: bool = True
    gzip_limit: int = MIB  # as large as the largest scripts that pages load; larger files want a neighbour
    cache_control: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    headers: tuple[tuple[str, str], ...] = ()
    cors_origins: tuple[str, ...] = ()
    uploads: bool = False
    upload_limit: int = 100 * MIB  # a video of a minute from a phone; a disk takes a while to fill
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name in ("gzip_limit", "upload_limit"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is a number of bytes, 0 or more, and not {getattr(self, name)}")
        for pattern, value in self.cache_control.items():
            _check_value(f"cache_control[{pattern!r}]", value)
        for header, value in self.headers:
            if not _TOKEN.fullmatch(header):
                raise ValueError(f"headers holds {header!r}, which is no name of a header field")
            _check_value(f"headers: {header}", value)
        for origin in self.cors_origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(f'cors_origins holds {origin!r}; write "*" or an origin such as "https://app.example"')


def _check_value(option: str, value: str) -> None:
    if _UNSAFE.search(value):
        raise ValueError(f"{option} is {value!r}; a header field holds no line break and no null byte")
