"""What the command line takes where it asks for something: a text is read, or it is said what would be accepted."""

import math
import os
from argparse import ArgumentTypeError
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from portside.endpoints import Endpoint


def endpoint(text: str) -> "Endpoint":
    """Where to listen, or whom to talk to."""
    from portside.endpoints import Endpoint, EndpointError

    try:
        return Endpoint.parse(text)
    except EndpointError as error:
        raise ArgumentTypeError(str(error)) from error


def remote(text: str) -> "Endpoint":
    """Whom to talk to."""
    found = endpoint(text)
    if found.scheme in ("fd", "systemd"):
        raise ArgumentTypeError(f"{found} is a socket already: name a server's endpoint, as in tcp://127.0.0.1:9000")
    return found


def handler_name(text: str) -> Sequence[str]:
    """A handler: its module, and its name there."""
    module, colon, name = text.partition(":")
    if not (colon and all(part.isidentifier() for part in [*module.split("."), *name.split(".")])):
        raise ArgumentTypeError(f"{text!r} is no handler: write a module, a colon and a name in it, as in shout:Shout")
    return module, name


def folder(text: str) -> str:
    """A folder that exists."""
    if not os.path.isdir(text):
        raise ArgumentTypeError(f"{text!r} is not accepted; accepted is a folder that exists")
    return text


def network(text: str) -> str:
    """A network, as it was written."""
    from portside.policy.proxy_protocol import ProxyProtocol

    try:
        ProxyProtocol(trusted=[text])
    except ValueError as error:
        wanted = "a network such as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7"
        raise ArgumentTypeError(f"{text!r} is not accepted; accepted is {wanted}") from error
    return text


def rule(text: str) -> str:
    """A network that is let in or kept out, as it was written."""
    from portside.policy.hosts import network

    try:
        network(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error
    return text


def count(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not accepted; accepted is a whole number from 1 on")
    return int(text)


def size(text: str) -> int:
    """A number of bytes; as in a file, and with the letters that `dd` and `docker` know."""
    from portside.service.config.kinds import kind_of

    wanted = f"{text}iB" if text[-1:] in ("K", "M", "G") else text
    return int(_read(kind_of("max_memory", int), wanted, 1, "a number of bytes, as 536870912, 512M or 2G"))


def seconds(text: str) -> float:
    """A number of seconds, 0 or more; as in a file."""
    from portside.service.config.kinds import kind_of

    return float(_read(kind_of("drain", float), text, 0, "a number of seconds, 0 or more, as 30, 0.5, 500ms or 5min"))


def _read(kind: Any, text: str, least: float, accepted: str) -> float:
    """A number of a kind of the configuration's."""
    try:
        found: float = kind.of_text(text)
        if least <= found < math.inf:
            return found
    except ValueError:
        pass
    raise ArgumentTypeError(f"{text!r} is not accepted; accepted is {accepted}")


def some_seconds(text: str) -> float:
    """A number of seconds above 0."""
    some = seconds(text)
    if not some:
        raise ArgumentTypeError(f"{text!r} is not accepted; accepted is a number of seconds above 0")
    return some
