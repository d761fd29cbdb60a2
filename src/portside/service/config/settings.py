"""What a file says besides a `Service`: what is served, the access log, and the log."""

from dataclasses import dataclass
from typing import Literal

from portside.http.cgi.options import CGIOptions
from portside.http.files.options import FileOptions
from portside.http.limits import HTTPLimits

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What is served: one of the first three.

    Attributes:
        handler: a handler class, or a callable of its three arguments, as "module:Name". Modules are looked for in the
            current directory first.
        wsgi: a WSGI application (PEP 3333), as "module:app", served over HTTP.
        folder: path of a folder whose files are served over HTTP.
        cgi: run the scripts in the folder's cgi-bin and htbin, too.

    Raises:
        ValueError: it is none of the three, or several.
    """

    handler: str | None = None
    wsgi: str | None = None
    folder: str | None = None
    cgi: bool = False

    def __post_init__(self) -> None:
        said = [name for name in CHOICES if getattr(self, name) is not None]
        if len(said) != 1:
            found = f"{' and '.join(said)} exclude each other" if said else "nothing says what is served"
            raise ValueError(f"{found}: give one of {', '.join(CHOICES)}")
        if self.cgi and self.folder is None:
            raise ValueError("cgi = true is for a folder: give folder, too")
        for name in ("handler", "wsgi"):
            if (value := getattr(self, name)) is not None and not is_name(value):
                raise ValueError(f'{value!r} is not accepted; accepted is "module:Name", as in "shout:Shout"')

    @property
    def name(self) -> str:
        """How it is announced."""
        named = self.handler or self.wsgi
        return named.partition(":")[2] if named else str(self.folder)


# What may be served: one of these.
CHOICES = ("handler", "wsgi", "folder")


def is_name(text: str) -> bool:
    """Whether this is a module, a colon and a name in it."""
    module, colon, name = text.partition(":")
    return bool(colon) and all(part.isidentifier() for part in [*module.split("."), *name.split(".")])


@dataclass(frozen=True, kw_only=True)
class Web:
    """How HTTP is spoken: each is an attribute of the handler under the same name, which keeps what nobody says here.

    Attributes:
        http_limits: how much an HTTP client may send, and how long it may take; of a folder, an application, or a
            handler that speaks HTTP.
        file_options: how files are served, and whether uploads are taken; of a folder, or a handler that serves files.
        cgi_options: what a script is allowed, and what it sees; where `cgi` is true, or of a handler that runs scripts.
    """

    http_limits: HTTPLimits
    file_options: FileOptions
    cgi_options: CGIOptions


@dataclass(frozen=True, kw_only=True)
class RequestLog:
    """A line for each HTTP request.

    Attributes:
        file: path of the file to which lines are appended; "-" is standard output.
        form: what a line looks like.
    """

    file: str
    form: Literal["common", "combined", "json"] = "combined"


@dataclass(frozen=True, kw_only=True)
class Log:
    """What is told of the whole process, on standard error.

    Attributes:
        level: how much: "warning" is trouble, "info" adds starts, drains and refusals, "debug" every connection;
            "error" is trouble that loses something, and announces nothing.
        format: lines for people, or a JSON object a line.
    """

    level: Level = "warning"
    format: Literal["text", "json"] = "text"


@dataclass(frozen=True, kw_only=True)
class Common:
    """What is one for the whole process, however many services there are.

    Attributes:
        access_log: a line for each HTTP request, of all services; left out, none.
        logging: what is told of the process.
    """

    access_log: RequestLog | None = None
    logging: Log | None = None
