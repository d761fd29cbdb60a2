"""Fuzz what gives a service orders: any bytes are answered, or end their own connection; nothing else happens.

    python -m fuzz.fuzz_control --seconds 60

An input goes to the admin endpoint as a request, to the commands as JSON, and to a supervisor's channel as messages.
"""

import json
import random
import socket
from contextlib import suppress
from typing import Any

from fuzz._runner import run
from portside.endpoints import Endpoint
from portside.framing import LengthPrefixed
from portside.handlers import StreamRequestHandler
from portside.http.servers import HTTPServer
from portside.policy.access import Access
from portside.service import control
from portside.service.admin import console, guard, handler
from portside.service.admin.console import Console
from portside.service.admin.handler import AdminHandler
from portside.service.admin.options import Admin
from portside.service.bound import Bound
from portside.service.control import COMMANDS, Control
from portside.service.description import Service
from portside.service.supervision import channel
from portside.service.supervision.channel import Channel

PATHS = (
    "/",
    "/metrics",
    "/healthz",
    "/readyz",
    "/api/snapshot",
    "/api/stacks",
    "/api/commands",
    "/api/commands",
    "/x",
    "*",
    "http://[z]/",
)
QUERIES = (
    "",
    "",
    "?limit=1",
    "?limit=-1",
    "?limit=%D9%A3",
    "?limit=99999999999",
    "?stacks=0",
    "?limit=1&limit=x",
    "?&=;[",
)
FIELDS = (
    *("Host: localhost", "Host: localhost", "Host: evil", "Host: [::1]:9", "Host: [", "Content-Type: application/json"),
    *("Content-Type: application/json", "Origin: http://localhost", "Origin: null", "Sec-Fetch-Site: cross-site"),
)
WORDS = ("do", "id", "host", "seconds", "limit", "stacks", "x", "")
VALUES: tuple[Any, ...] = (
    *sorted(COMMANDS),
    None,
    True,
    -1,
    0,
    1e308,
    float("nan"),
    10**400,
    "127.0.0.1",
    "::/0",
    "\udc80",
    "\0",
    [],
    {},
)
DEEP = b"[" * 100_000
NOISE = 0.2  # share of inputs with a byte changed

BOUND = Bound(Service(handler=StreamRequestHandler, endpoints=(Endpoint.parse("tcp://127.0.0.1:0"),), access=Access()))
CONTROL = Control(BOUND)
SERVER = HTTPServer(("127.0.0.1", 0), AdminHandler, bind_and_activate=False)
ADMIN = {"console": Console(CONTROL), "admin": Admin.parse("tcp://127.0.0.1:0")}


def check(data: bytes) -> None:
    """Try one input in all three places."""
    ask(data)
    body = data.rpartition(b"\r\n\r\n")[2]
    with suppress(ValueError, RecursionError):
        reply = CONTROL.handle(json.loads(body))
        json.dumps(reply)
        if "pid" not in reply:
            raise AssertionError(f"{reply!r} answers {body!r}")
    for message in (body, data, LengthPrefixed().encode(body)):
        heard(message)


def ask(data: bytes) -> None:
    """Send bytes to the admin endpoint; its handler is not to fail but by its client's doing."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            AdminHandler(ours, ("127.0.0.1", 1), SERVER, **ADMIN)


def heard(data: bytes) -> None:
    """What arrives at a channel: objects, and whether more can come."""
    ours, theirs = socket.socketpair()
    theirs.sendall(data)
    theirs.close()
    end = Channel(ours)
    try:
        while True:
            messages, more = end.arrived()
            if not all(isinstance(message, dict) for message in messages):
                raise AssertionError(f"{messages!r} of {data!r}")
            if not more:
                return
    finally:
        end.close()


def made_up(source: random.Random) -> bytes:
    """A request with a command, now and then with noise."""
    body = command(source)
    method = source.choice(("GET", "POST", "POST", "HEAD", "PUT"))
    line = f"{method} {source.choice(PATHS)}{source.choice(QUERIES)} HTTP/1.1"
    fields = [*source.sample(FIELDS, source.randrange(4)), f"Content-Length: {len(body)}"]
    data = bytearray("\r\n".join((line, *fields, "", "")).encode() + body)
    while source.random() < NOISE:
        place = source.randrange(len(data))
        data[place : place + source.randrange(2)] = source.randbytes(1)
    return bytes(data)


def command(source: random.Random) -> bytes:
    """A command with values that fit now and then; seldom something else in JSON."""
    if source.random() < 0.02:
        return DEEP[: source.choice((10, 60_000, 100_000))]
    words = {source.choice(WORDS): source.choice(VALUES) for _ in range(source.randrange(4))}
    return json.dumps({"do": source.choice(sorted(COMMANDS)), **words}).encode()


if __name__ == "__main__":
    run(check, made_up, led_by=(channel, control, console, guard, handler))
