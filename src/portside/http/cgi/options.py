"""What a CGI script is allowed: one dataclass, each field with its unit and the reason of its default."""

import math
from dataclasses import dataclass, field, fields

# What programs need to run at all, in any language; everything else of the server's environment is its own business
# (secrets are kept there). The last line is Windows'.
ENVIRONMENT = (
    *("PATH", "TZ", "LANG", "LANGUAGE", "LC_*", "TMPDIR"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("SYSTEMROOT", "WINDIR", "COMSPEC", "PATHEXT", "TEMP", "TMP"),
)


@dataclass(frozen=True, kw_only=True)
class CGIOptions:
    """Limits of a script, and what it sees.

    Attributes:
        seconds: how long a script may run, its client's slowness included; 600, since a large download over a slow
            line is no fault.
        silence: seconds it may write nothing; 60 as Apache's `Timeout` and nginx's `fastcgi_read_timeout`.
        grace: seconds between the polite end (SIGTERM) and the certain one (SIGKILL) of one that took too long; 2,
            time to remove a temporary file.
        head: bytes of the head of its answer; 64 KiB, what clients accept of a head.
        output: bytes of the body of its answer; 1 GiB, above what a page or an export has.
        input: bytes of a request body; 1 GiB, because one that comes in chunks is kept on disk until its length is
            known.
        environment: names of the server's environment variables that it sees, `*` for any characters; `("*",)` passes
            everything on, as the standard library does.
        redirects: answers `Location: /path` in a row that are followed here; 10 as Apache's `LimitInternalRecursion`.
        user: whom scripts of a server of root's run as; "root" or None leaves them root's rights.
        own_directory: run it in its own directory, as RFC 3875 (7.2) advises; False is the server's current one, which
            scripts written for the standard library expect.

    Raises:
        ValueError: a limit is no number above 0.
    """

    seconds: float = 600.0
    silence: float = 60.0
    grace: float = 2.0
    head: int = 65_536
    output: int = 1 << 30
    input: int = 1 << 30
    environment: tuple[str, ...] = field(default=ENVIRONMENT)
    redirects: int = 10
    user: str | None = "nobody"
    own_directory: bool = False

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, int | float) and not isinstance(value, bool) and not 0 < value <= math.inf:
                raise ValueError(f"{each.name}={value!r} must be a number above 0")
