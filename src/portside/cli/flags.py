"""The short names of options on the command line of `serve`, `http`, `wsgi` and the diagnostic services.

Each stands for an option of the one table that there is (`portside.service.config.options`), whose path it names: so a
variable of the environment can say the same, and its name is in the help. That table is not imported here: `--help`
does not wait for it.
"""

from argparse import ArgumentParser
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from portside.cli.argument_types import count, endpoint, folder, network, rule, seconds, size, some_seconds

ENGINES = ("serial", "threads", "forks", "green", "async")
BLOCKING_ENGINES = tuple(each for each in ENGINES if each != "async")  # an application is no coroutine


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One of them.

    Attributes:
        names: as they are written.
        path: the option's.
        words: what it means.
        default: what holds when nobody says it, in words; "" where `words` say it.
        takes: further arguments for `add_argument`.
    """

    names: tuple[str, ...]
    path: tuple[str, ...]
    words: str
    default: str = ""
    takes: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def key(self) -> str:
        """Under which its value is found."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """In the environment."""
        return "PORTSIDE_" + "__".join(self.path).upper()

    def add(self, group: Any) -> None:
        """Have a parser, or a group of one, take it."""
        default = f" (default: {self.default})" if self.default else ""
        words = f"{self.words}{default} [{self.variable}]"
        group.add_argument(*self.names, dest=self.key, default=None, help=words, **self.takes)


def add(group: Any, flags: Iterable[Flag]) -> None:
    """Have a parser, or a group of one, take several."""
    for each in flags:
        each.add(group)


def add_serving_options(command: ArgumentParser, engines: Iterable[str] = ENGINES) -> None:
    """What every command that serves takes.

    Args:
        command: which takes it.
        engines: those that it can have.
    """
    _engine(tuple(engines)).add(command)
    command.add_argument("--tls", metavar="CERT[,KEY]", help=_TLS)
    add(command, GENERAL)
    group = command.add_argument_group("who may come in, and for how long (each at each endpoint)")
    add(group, POLICIES)
    group.add_argument(
        "--no-limits", action="store_true", help="no limits at all, but for those named here [PORTSIDE_LIMITS=off]"
    )
    add(command.add_argument_group("workers, and their rights"), WORKERS)
    loudness = command.add_mutually_exclusive_group()
    for names, level, words in _LOUDNESS:
        loudness.add_argument(
            *names, dest=LEVEL, const=level, action="store_const", help=f"{words} [PORTSIDE_LOGGING__LEVEL={level}]"
        )


def _engine(engines: tuple[str, ...]) -> Flag:
    return Flag(
        names=("--engine",),
        path=("engine",),
        words="how handlers run side by side",
        default="threads",
        takes={"choices": engines},
    )


LEVEL = "logging.level"  # of which option -v and -q are values
_LOUDNESS = (
    (("-v", "--verbose"), "debug", "tell of every connection, too"),
    (("-q", "--quiet"), "error", "tell of nothing but errors"),
)

_TLS = (
    "encrypt connections with this certificate chain (PEM) and key; `dev` makes a self-signed certificate"
    " [PORTSIDE_TLS__CERT, PORTSIDE_TLS__KEY]"
)

_COUNT = {"metavar": "N", "type": count}
_SECONDS = {"metavar": "SECONDS", "type": some_seconds}
_NETWORK = {"metavar": "NETWORK", "type": rule, "action": "append"}

GENERAL = (
    Flag(
        names=("--max-handlers",),
        path=("max_handlers",),
        words="handlers at once, at each endpoint; further clients wait",
        default="10000 threads or tasks, 40 processes",
        takes=_COUNT,
    ),
    Flag(
        names=("--drain",),
        path=("drain",),
        words="time for handlers to finish at the end",
        default="30",
        takes={"metavar": "SECONDS", "type": seconds},
    ),
    Flag(
        names=("--admin",),
        path=("admin", "endpoint"),
        words="where metrics, health, a page and commands are: a loopback port, or a Unix socket (gets mode 600)",
        takes={"metavar": "ENDPOINT", "type": endpoint},
    ),
    Flag(
        names=("--log-format",),
        path=("logging", "format"),
        words="what lines of the log look like",
        default="text",
        takes={"choices": ("text", "json")},
    ),
    Flag(
        names=("--proxy-protocol",),
        path=("proxy_protocol", "trusted"),
        words="clients come through proxies in this network (may be given again), which say who they are; nobody else"
        " is served",
        takes={"metavar": "NETWORK", "type": network, "action": "append"},
    ),
)

POLICIES = (
    Flag(
        names=("--max-connections",),
        path=("limits", "connections"),
        words="connections at once; more are refused",
        default="more wait",
        takes=_COUNT,
    ),
    Flag(
        names=("--per-host",),
        path=("limits", "per_host"),
        words="connections at once from one host",
        default="no limit",
        takes=_COUNT,
    ),
    Flag(
        names=("--rate-per-host",),
        path=("limits", "rate_per_host"),
        words="new connections a second from one host",
        default="no limit",
        takes=_COUNT,
    ),
    Flag(
        names=("--idle-timeout",),
        path=("limits", "idle_seconds"),
        words="end a connection on which nothing moves",
        default="after 3600",
        takes=_SECONDS,
    ),
    Flag(
        names=("--read-timeout",),
        path=("limits", "read_seconds"),
        words="how long to wait for a client's next byte",
        default="for ever",
        takes=_SECONDS,
    ),
    Flag(
        names=("--write-timeout",),
        path=("limits", "write_seconds"),
        words="how long a client may take nothing",
        default="60",
        takes=_SECONDS,
    ),
    Flag(
        names=("--total-timeout",),
        path=("limits", "total_seconds"),
        words="how long a connection may last",
        default="for ever",
        takes=_SECONDS,
    ),
    Flag(
        names=("--allow",),
        path=("access", "allow"),
        words="let these clients in, and no others; may be given again: 10.0.0.0/8, 2001:db8::/32, 192.0.2.7",
        takes=_NETWORK,
    ),
    Flag(
        names=("--deny",),
        path=("access", "deny"),
        words="keep these clients out; of several networks, the most specific one decides",
        takes=_NETWORK,
    ),
)

WORKERS = (
    Flag(
        names=("--workers",),
        path=("workers", "count"),
        words="serve in N processes below a supervisor",
        default="in this process",
        takes=_COUNT,
    ),
    Flag(
        names=("--balance",),
        path=("workers", "balance"),
        words="one queue of clients for all workers, or one for each, dealt out by the kernel",
        default="shared",
        takes={"choices": ("shared", "reuseport")},
    ),
    Flag(
        names=("--max-connections-per-worker",),
        path=("workers", "max_connections_per_worker"),
        words="replace a worker after so many connections",
        takes=_COUNT,
    ),
    Flag(
        names=("--max-memory",),
        path=("workers", "max_memory"),
        words="replace a worker with so much memory; 512M and 2G will do",
        takes={"metavar": "BYTES", "type": size},
    ),
    Flag(
        names=("--user",),
        path=("user",),
        words="whose rights to keep once the endpoints are bound",
        takes={"metavar": "USER"},
    ),
    Flag(
        names=("--group",),
        path=("group",),
        words="and which group's",
        default="the user's",
        takes={"metavar": "GROUP"},
    ),
)

WEB = (
    Flag(
        names=("--access-log",),
        path=("access_log", "file"),
        words="write a line for each request; - is standard output",
        takes={"metavar": "FILE"},
    ),
    Flag(
        names=("--log-form",),
        path=("access_log", "form"),
        words="what those lines look like",
        default="combined",
        takes={"choices": ("common", "combined", "json")},
    ),
)

FOLDER = (
    Flag(
        names=("-d", "--directory"),
        path=("folder",),
        words="what is served",
        default="this folder",
        takes={"metavar": "FOLDER", "type": folder},
    ),
    Flag(
        names=("--cgi",),
        path=("cgi",),
        words="run the scripts in its cgi-bin and htbin, too",
        takes={"action": "store_const", "const": True},
    ),
    Flag(
        names=("--upload",),
        path=("file_options", "uploads"),
        words="take files, too: by a form on the folder's page, PUT and POST; whoever can connect can then write into"
        " the folder",
        takes={"action": "store_const", "const": True},
    ),
    Flag(
        names=("--upload-limit",),
        path=("file_options", "upload_limit"),
        words="the largest upload",
        default="100M",
        takes={"metavar": "BYTES", "type": size},
    ),
    Flag(
        names=("--overwrite",),
        path=("file_options", "overwrite"),
        words="let an upload replace a file",
        takes={"action": "store_const", "const": True},
    ),
    Flag(
        names=("-H", "--header"),
        path=("file_options", "headers"),
        words="a header field of every answer; may be given again",
        takes={"nargs": 2, "metavar": ("NAME", "VALUE"), "action": "append"},
    ),
    Flag(
        names=("--cors",),
        path=("file_options", "cors_origins"),
        words="let pages of this origin read the answers, as https://app.example; * is any; may be given again",
        takes={"metavar": "ORIGIN", "action": "append"},
    ),
)

FLAGS = (_engine(ENGINES), *GENERAL, *POLICIES, *WORKERS, *WEB, *FOLDER)
