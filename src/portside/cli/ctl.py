"""`portside ctl`: a command to a service that runs, for scripts."""

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping

from portside.cli.failure import Failure
from portside.cli.remote import Remote

# What a command of the service takes from the command line.
_ARGUMENTS: Mapping[str, tuple[str, ...]] = {"drain": ("seconds",), "close": ("id",), "ban": ("host", "seconds")}


def control(options: Namespace) -> None:
    """Do what the command line says, and print what the service replies.

    Raises:
        Failure: the service refuses; `Unreachable` where nobody answers.
    """
    remote = Remote(options.admin)
    if options.do in _TELLING:
        print(_TELLING[options.do](remote, options))
        return
    command = {"do": options.do} | {name: getattr(options, name) for name in _ARGUMENTS.get(options.do, ())}
    print(_json(remote.command(command)))


def _health(remote: Remote, _: Namespace) -> str:
    health = remote.health()
    if all(health.values()):
        return _json(health)
    print(_json(health), flush=True)
    raise Failure("not every process answers" if not health["healthy"] else "not every endpoint accepts clients")


_TELLING: Mapping[str, Callable[[Remote, Namespace], str]] = {
    "snapshot": lambda remote, options: _json(remote.snapshot(options.limit)),
    "stacks": lambda remote, _: _json(remote.tell("/api/stacks")),
    "metrics": lambda remote, _: remote.metrics().rstrip("\n"),
    "health": _health,
}


def _json(content: object) -> str:
    """For a person's eyes on a terminal, one line for a program."""
    return json.dumps(content, indent=2 if sys.stdout.isatty() else None)
