"""The command line's options for limits and access: a table of those that most servers want."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from portside.policy.access import Access
    from portside.policy.limits import Limits


def add_policy_options(
    command: ArgumentParser, *, count: Callable[[str], int], seconds: Callable[[str], float]
) -> None:
    """The options, in a group of their own.

    Args:
        command: what they are for.
        count: takes a whole number from 1 on.
        seconds: takes a number of seconds above 0.
    """
    group = command.add_argument_group("who may come in, and for how long (each at each endpoint)")
    for flag, _, kind, words in _LIMITS:
        takes, metavar = (count, "N") if kind == "count" else (seconds, "SECONDS")
        group.add_argument(flag, metavar=metavar, type=takes, help=words)
    for flag, words in _NETWORKS.items():
        group.add_argument(flag, metavar="NETWORK", type=_network, action="append", default=[], help=words)
    group.add_argument("--no-limits", action="store_true", help="no limits at all, but for those named here")


# Flag, field of Limits, what it takes, help.
_LIMITS = (
    ("--max-connections", "connections", "count", "connections at once; more are refused (default: more wait)"),
    ("--per-host", "per_host", "count", "connections at once from one host (default: no limit)"),
    ("--rate-per-host", "rate_per_host", "count", "new connections a second from one host (default: no limit)"),
    (
        "--idle-timeout",
        "idle_seconds",
        "seconds",
        "end a connection on which nothing moves (default: after 3600)",
    ),
    ("--read-timeout", "read_seconds", "seconds", "how long to wait for a client's next byte (default: for ever)"),
    ("--write-timeout", "write_seconds", "seconds", "how long a client may take nothing (default: 60)"),
    ("--total-timeout", "total_seconds", "seconds", "how long a connection may last (default: for ever)"),
)

_NETWORKS = {
    "--allow": "let these clients in, and no others; may be given again: 10.0.0.0/8, 2001:db8::/32, 192.0.2.7",
    "--deny": "keep these clients out; of several networks, the most specific one decides",
}


def _network(text: str) -> str:
    from portside.policy.hosts import network

    try:
        network(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error
    return text


def limits_of(options: Namespace) -> "Limits | None":
    """The limits that the command line asks for; None for none at all."""
    from portside.policy.limits import NO_LIMITS, Limits

    given: dict[str, Any] = {
        field: value for flag, field, *_ in _LIMITS if (value := getattr(options, _name(flag))) is not None
    }
    if options.no_limits:
        return replace(NO_LIMITS, **given) if given else None
    return Limits(**given)


def access_of(options: Namespace) -> "Access":
    """The rules that the command line asks for."""
    from portside.policy.access import Access

    return Access(allow=options.allow, deny=options.deny)


def _name(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")
