"""The command line: what can be said, and what each command's help shows.

Everything that can be told from the text alone is checked here, and is wrong use (exit code 2); what depends on the
system or on other files is the commands' business.
"""

import argparse
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from portside.cli import examples
from portside.cli.argument_types import (
    admin,
    count,
    endpoint,
    folder,
    handler_name,
    network,
    remote,
    seconds,
    size,
    some_seconds,
)
from portside.cli.policies import add_policy_options

if TYPE_CHECKING:
    pass

ENGINES = ("serial", "threads", "forks", "green", "async")
BALANCES = ("shared", "reuseport")
BLOCKING_ENGINES = tuple(each for each in ENGINES if each != "async")  # an application is no coroutine

# Of the four diagnostic services: what each does, and where it is told.
_DIAGNOSTICS = {
    "echo": ("send back what arrives", "RFC 862"),
    "time": ("tell the time, in words", "the daytime protocol, RFC 867"),
    "discard": ("throw away what arrives", "RFC 863"),
    "chargen": ("send printable characters", "RFC 864"),
}


def parser() -> ArgumentParser:
    """The parser of the whole command line; what it returns has a `run`, to be called with it."""
    top = ArgumentParser(
        prog="portside",
        description="Network servers from one handler class.",
        epilog=examples.COMMAND,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = top.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True, parser_class=_Command
    )
    _add_serve(commands)
    _add_http(commands)
    _add_wsgi(commands)
    _add_configured(commands)
    for name in _DIAGNOSTICS:
        _add_diagnostic(commands, name)
    _add_connect(commands)
    _add_ctl(commands)
    _add_top(commands)
    return top


class _Command(ArgumentParser):
    """A command whose options may stand anywhere, also between the handler and the endpoints.

    `ArgumentParser` takes positional arguments as they come together, and by then gives none to what may have none.
    """

    complete: Callable[[ArgumentParser], None] | None = None  # adds what takes time to find, when it is needed
    _is_asked = False  # `parse_known_intermixed_args` may ask `parse_known_args` in its turn

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._is_asked or self._subparsers is not None:  # which take what follows them as it comes
            return super().parse_known_args(args, namespace)
        if self.complete is not None:
            self.complete(self)
        self._is_asked = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_asked = False


class _Version(argparse.Action):
    def __call__(self, parser: ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"portside {version('portside')}")
        parser.exit()


def _add_serve(commands: Any) -> None:
    command = _command(commands, "serve", "serve a handler", examples.SERVE, _serve)
    command.add_argument("handler", metavar="MODULE:HANDLER", type=handler_name, help="what handles a request")
    _add_endpoints(command)
    command.add_argument(
        "--engine", choices=ENGINES, default="threads", help="how handlers run side by side (default: %(default)s)"
    )
    _add_serving_options(command)


def _add_http(commands: Any) -> None:
    command = _command(commands, "http", "serve the files of a folder over HTTP", examples.HTTP, _http)
    command.add_argument(
        "-d", "--directory", metavar="FOLDER", type=folder, default=".", help="what is served (default: this folder)"
    )
    command.add_argument("--cgi", action="store_true", help="run the scripts in its cgi-bin and htbin, too")
    _add_web_options(command)


def _add_wsgi(commands: Any) -> None:
    command = _command(commands, "wsgi", "serve a WSGI application over HTTP", examples.WSGI, _wsgi)
    command.add_argument("application", metavar="MODULE:APP", type=handler_name, help="what answers a request")
    _add_web_options(command)


def _add_web_options(command: ArgumentParser) -> None:
    command.add_argument(
        "endpoints",
        metavar="ENDPOINT",
        nargs="*",
        default=[],
        type=endpoint,
        help="where to listen: see `portside --help` (default: 8000)",
    )
    command.add_argument(
        "--engine",
        choices=BLOCKING_ENGINES,
        default="threads",
        help="how answers are made side by side (default: %(default)s)",
    )
    command.add_argument("--access-log", metavar="FILE", help="write a line for each request; - is standard output")
    command.add_argument(
        "--log-form",
        choices=("common", "combined", "json"),
        default="combined",
        help="what those lines look like (default: %(default)s)",
    )
    _add_serving_options(command)


def _add_configured(commands: Any) -> None:
    """`run` and `check`, whose options are those of the file."""
    purposes = {"run": "serve what a file says", "check": "say what is wrong with a file, and what a start would do"}
    for name, purpose in purposes.items():
        command: Any = _command(commands, name, purpose, examples.CONFIGURED.format(name=name), _configured)
        command.add_argument("file", metavar="FILE", nargs="?", help="TOML (default: portside.toml)")
        command.complete = _add_options


def _add_options(command: ArgumentParser) -> None:
    from portside.cli.configured import add_options

    add_options(command)


def _add_diagnostic(commands: Any, name: str) -> None:
    purpose, source = _DIAGNOSTICS[name]
    shown = examples.DIAGNOSTIC.format(name=name)
    command = _command(commands, name, f"{purpose} ({source})", shown, _diagnose)
    _add_endpoints(command)
    _add_serving_options(command)


def _add_connect(commands: Any) -> None:
    command = _command(commands, "connect", "talk to a server from a terminal or in a pipe", examples.CONNECT, _connect)
    command.add_argument("endpoint", metavar="ENDPOINT", type=remote, help="where the server is")
    command.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=some_seconds,
        help="give up when nothing happens for so long (default: never)",
    )
    trust = command.add_mutually_exclusive_group()
    trust.add_argument("--ca", metavar="FILE", help="tls://: trust servers that these certificates (PEM) vouch for")
    trust.add_argument("--insecure", action="store_true", help="tls://: do not check who the server is")
    command.add_argument("--server-name", metavar="NAME", help="tls://: who the server is, where it is not its host")
    command.add_argument("--crlf", action="store_true", help="end lines that are sent with CRLF")
    command.add_argument(
        "--wait",
        metavar="SECONDS",
        type=seconds,
        default=1.0,
        help="datagrams: how long to wait for answers after the input's end (default: %(default)g)",
    )


def _add_ctl(commands: Any) -> None:
    command = _command(commands, "ctl", "give a command to a service that runs", examples.CTL, _ctl)
    _add_admin_endpoint(command)
    words = command.add_subparsers(title="what to do", metavar="COMMAND", dest="do", required=True)
    snapshot = words.add_parser("snapshot", help="what is served, and every open connection")
    snapshot.add_argument("--limit", metavar="N", type=count, default=1000, help="connections told of, at most")
    for word, purpose in _WORDS.items():
        words.add_parser(word, help=purpose)
    drain = words.add_parser("drain", help="end the service: accept nobody any more, let handlers finish")
    drain.add_argument("--seconds", type=seconds, help="how long they may take (default: as the service says)")
    close = words.add_parser("close", help="cut one connection")
    close.add_argument("id", metavar="ID", help="its id, as a snapshot tells it")
    ban = words.add_parser("ban", help="keep a host out, and cut what it has open")
    ban.add_argument("host", metavar="HOST", help="its address")
    ban.add_argument("--seconds", type=some_seconds, default=600.0, help="how long (default: %(default)g)")


# Of `portside ctl`: the words that stand alone.
_WORDS = {
    "metrics": "the counts, as Prometheus reads them",
    "stacks": "where every handler stands",
    "health": "whether every process answers and accepts",
    "pause": "accept nobody until further notice; handlers go on",
    "resume": "accept again",
}


def _add_top(commands: Any) -> None:
    command = _command(commands, "top", "watch a service that runs", examples.TOP, _top)
    _add_admin_endpoint(command)
    command.add_argument(
        "--interval", metavar="SECONDS", type=some_seconds, default=1.0, help="between looks (default: %(default)g)"
    )


def _add_admin_endpoint(command: ArgumentParser) -> None:
    command.add_argument("admin", metavar="ADMIN", type=remote, help="the service's admin endpoint, see --admin")


def _command(commands: Any, name: str, purpose: str, epilog: str, run: Callable[[Namespace], None]) -> ArgumentParser:
    command: ArgumentParser = commands.add_parser(
        name,
        help=purpose,
        description=f"{purpose[0].upper()}{purpose[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def _add_endpoints(command: ArgumentParser) -> None:
    command.add_argument(
        "endpoints",
        metavar="ENDPOINT",
        nargs="*" if "LISTEN_FDS" in os.environ else "+",  # systemd has sockets for us
        type=endpoint,
        help="where to listen: see `portside --help`",
    )


def _add_serving_options(command: ArgumentParser) -> None:
    command.add_argument(
        "--tls",
        metavar="CERT[,KEY]",
        help="encrypt connections with this certificate chain (PEM) and key; `dev` makes a self-signed certificate",
    )
    command.add_argument(
        "--max-handlers",
        metavar="N",
        type=count,
        help="handlers at once, at each endpoint; further clients wait (default: 10000 threads or tasks, 40 processes)",
    )
    command.add_argument(
        "--drain",
        metavar="SECONDS",
        type=seconds,
        default=30.0,
        help="time for handlers to finish at the end (default: %(default)g)",
    )
    command.add_argument(
        "--admin",
        metavar="ENDPOINT",
        type=admin,
        help="where metrics, health, a page and commands are: a loopback port, or a Unix socket (gets mode 600)",
    )
    command.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="what lines of the log look like (default: %(default)s)",
    )
    command.add_argument(
        "--proxy-protocol",
        metavar="NETWORK",
        action="append",
        type=network,
        help="clients come through proxies in this network (may be given again), which say who they are; nobody else "
        "is served",
    )
    add_policy_options(command, count=count, seconds=some_seconds)
    _add_worker_options(command)
    loudness = command.add_mutually_exclusive_group()
    loudness.add_argument("-v", "--verbose", action="store_true", help="tell of every connection, too")
    loudness.add_argument("-q", "--quiet", action="store_true", help="tell of nothing but errors")


def _add_worker_options(command: ArgumentParser) -> None:
    command.add_argument(
        "--workers", metavar="N", type=count, help="serve in N processes below a supervisor (default: in this process)"
    )
    command.add_argument(
        "--balance",
        choices=BALANCES,
        help="one queue of clients for all workers, or one for each, dealt out by the kernel (default: shared)",
    )
    command.add_argument(
        "--max-connections-per-worker", metavar="N", type=count, help="replace a worker after so many connections"
    )
    command.add_argument(
        "--max-memory", metavar="BYTES", type=size, help="replace a worker with so much memory; 512M and 2G will do"
    )
    command.add_argument("--user", metavar="USER", help="whose rights to keep once the endpoints are bound")
    command.add_argument("--group", metavar="GROUP", help="and which group's (default: the user's)")


# What the commands do


def _serve(options: Namespace) -> None:
    from portside.cli.serving import serve

    serve(options)


def _http(options: Namespace) -> None:
    from portside.cli.folder import serve_folder

    serve_folder(options)


def _wsgi(options: Namespace) -> None:
    from portside.cli.web import serve_application

    serve_application(options)


def _configured(options: Namespace) -> None:
    from portside.cli import configured

    {"run": configured.run, "check": configured.check}[options.command](options)


def _diagnose(options: Namespace) -> None:
    from portside.cli.serving import diagnose

    diagnose(options)


def _connect(options: Namespace) -> None:
    from portside.cli.conversation import connect

    connect(options)


def _ctl(options: Namespace) -> None:
    from portside.cli.ctl import control

    control(options)


def _top(options: Namespace) -> None:
    from portside.cli.top import watch

    watch(options)
