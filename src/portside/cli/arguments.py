"""The command line: what can be said, and what each command's help shows.

Everything that can be told from the text alone is checked here, and is wrong use (exit code 2); what depends on the
system or on other files is the commands' business.
"""

import argparse
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from portside.cli import examples
from portside.cli.argument_types import count, endpoint, handler_name, remote, seconds, some_seconds
from portside.cli.flags import BLOCKING_ENGINES, ENGINES, FOLDER, WEB, add, add_serving_options

# Of the four diagnostic services: what each does, where it is told, and its name in portside.apps.diagnostics.
_DIAGNOSTICS = {
    "echo": ("send back what arrives", "RFC 862", "ECHO"),
    "time": ("tell the time, in words", "the daytime protocol, RFC 867", "DAYTIME"),
    "discard": ("throw away what arrives", "RFC 863", "DISCARD"),
    "chargen": ("send printable characters", "RFC 864", "CHARGEN"),
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

    Attributes:
        complete: adds what takes time to find, when it is needed.
        hides: what it adds is not part of the help, and is needed only where an option is not known without.
        implies: what was meant by words of which some were left out.
    """

    complete: Callable[[ArgumentParser], None] | None = None
    hides: bool = False
    implies: Callable[[list[str]], list[str]] | None = None
    _is_asked = False  # `parse_known_intermixed_args` may ask `parse_known_args` in its turn

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.implies is not None:
            args = self.implies(args)
        if self._is_asked or self._subparsers is not None:  # which take what follows them as it comes
            return super().parse_known_args(args, namespace)
        if self.complete is not None and not (self.hides and all(map(self._knows, args or ()))):
            self.complete(self)
            self.complete = None
        self._is_asked = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_asked = False

    def _knows(self, word: str) -> bool:
        return not word.startswith("--") or word.partition("=")[0] in self._option_string_actions


class _Version(argparse.Action):
    def __call__(self, parser: ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"portside {version('portside')}")
        parser.exit()


def _add_serve(commands: Any) -> None:
    command = _command(commands, "serve", "serve a handler", examples.SERVE, _serve)
    command.add_argument("handler", metavar="MODULE:HANDLER", type=handler_name, help="what handles a request")
    _add_endpoints(command)
    _add_serving_options(command)


def _add_http(commands: Any) -> None:
    command = _command(commands, "http", "serve the files of a folder over HTTP", examples.HTTP, _http)
    add(command, FOLDER)
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
        help=f"{_WHERE} (default: 8000) [{_ENDPOINTS}]",
    )
    add(command, WEB)
    _add_serving_options(command, BLOCKING_ENGINES)


def _add_serving_options(command: Any, engines: Iterable[str] = ENGINES) -> None:
    add_serving_options(command, engines)
    command.complete, command.hides = _add_every_option, True


def _add_every_option(command: ArgumentParser) -> None:
    from portside.cli.given import add_every_option

    add_every_option(command)


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
    purpose, source, _ = _DIAGNOSTICS[name]
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
    _add_admin_endpoint(command, before=("snapshot", *_WORDS, "drain", "close", "ban"))
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


def _add_admin_endpoint(command: Any, before: Sequence[str] = ()) -> None:
    """Whom to ask; where nobody says it, the endpoint at which a service of this environment would have it.

    Args:
        command: which asks.
        before: what it stands before, if anything does.
    """
    words = f"the service's admin endpoint, see --admin (default: [{_ADMIN[0]}])"
    found = next((os.environ[name] for name in _ADMIN if os.environ.get(name)), None)
    optional: dict[str, Any] = {"nargs": "?", "default": found} if found and not before else {}
    command.add_argument("admin", metavar="ADMIN", type=remote, help=words, **optional)
    if found and before:  # what stands first may be either of the two
        command.implies = lambda args: [found, *args] if args and args[0] in before else args


# Variables that say where a service's admin endpoint is to be.
_ADMIN = ("PORTSIDE_ADMIN", "PORTSIDE_ADMIN__ENDPOINT")


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
        nargs="*" if {"LISTEN_FDS", _ENDPOINTS} & {*os.environ} else "+",  # systemd has sockets for us
        type=endpoint,
        help=f"{_WHERE} [{_ENDPOINTS}]",
    )


_WHERE = "where to listen: see `portside --help`"
_ENDPOINTS = "PORTSIDE_ENDPOINTS"


# What the commands do


def _serve(options: Namespace) -> None:
    from portside.cli.serving import serve

    serve(options, {"handler": ":".join(options.handler)})


def _http(options: Namespace) -> None:
    from portside.cli.serving import serve_folder

    serve_folder(options)


def _wsgi(options: Namespace) -> None:
    from portside.cli.serving import serve

    serve(options, {"wsgi": ":".join(options.application)})


def _configured(options: Namespace) -> None:
    from portside.cli import configured

    {"run": configured.run, "check": configured.check}[options.command](options)


def _diagnose(options: Namespace) -> None:
    from portside.cli.serving import serve

    *_, name = _DIAGNOSTICS[options.command]
    serve(options, {"handler": f"portside.apps.diagnostics:{name}"}, title=options.command)


def _connect(options: Namespace) -> None:
    from portside.cli.conversation import connect

    connect(options)


def _ctl(options: Namespace) -> None:
    from portside.cli.ctl import control

    control(options)


def _top(options: Namespace) -> None:
    from portside.cli.top import watch

    watch(options)
