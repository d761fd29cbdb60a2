"""Commands to a service that runs: JSON in, JSON out, for whatever carries them (an admin endpoint, a supervisor).

    {"do": "snapshot", "limit": 200, "stacks": true}    what is served, and every open connection
    {"do": "health"}                                    whether every endpoint accepts
    {"do": "metrics"}                                   the counts, as `portside.telemetry.metrics` has them
    {"do": "stacks"}                                    where every handler stands
    {"do": "pause"}, {"do": "resume"}                   accept nobody until further notice; accept again
    {"do": "drain", "seconds": 5}                       accept nobody any more, let handlers finish, end
    {"do": "close", "id": "..."}                        cut one connection
    {"do": "ban", "host": "192.0.2.1", "seconds": 600}  keep a host out, and cut what it has open

A reply names its process, `{"pid": 7, ...}`. What cannot be done is told in one sentence, `{"error": "..."}`.
"""

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from portside.addresses import address_text
from portside.service import gauges, whereabouts
from portside.telemetry.metrics import Meter

if TYPE_CHECKING:
    from portside.connections import Connection
    from portside.service.bound import Bound

Command = Mapping[str, Any]
Reply = dict[str, Any]
Answer = Callable[[Command], Reply]

# Connections that a snapshot tells of where nobody asks for another number: as many as somebody can read.
LISTED = 1000

# Seconds of a ban where nobody says: long enough to be rid of a client, short enough to be forgotten.
BAN_SECONDS = 600.0

_FOREVER = 10 * 365 * 86_400.0  # seconds; nobody means more


class Fleet(Protocol):
    """All processes of a service."""

    def ask(self, command: Command) -> list[Reply]:
        """Give a command to every process; one reply for each."""


@contextlib.contextmanager
def controlled(bound: "Bound") -> Iterator[Answer]:
    """What carries out commands here, until the block's end."""
    control = Control(bound)
    try:
        yield control.handle
    finally:
        control.close()


class Refused(Exception):
    """A command that cannot be carried out, and why, in a sentence."""


class Control:
    """Carries out commands in the process that serves.

    Args:
        bound: the servers; `Running`, an embedded service, or whatever has `servers`, `endpoints` and `request_stop`.

    Attributes:
        meter: counts what the servers do, from now on.

    Resource handling: the meter, until `close()`.
    """

    def __init__(self, bound: "Bound") -> None:
        self._bound = bound
        self._began = time.time()
        self._since = time.monotonic()
        self._draining = False
        self.meter = Meter()
        self._watched = list(zip(bound.servers, map(str, bound.endpoints), strict=True))
        for server, endpoint in self._watched:
            self.meter.watch(server, endpoint)

    def ask(self, command: Command) -> list[Reply]:
        """A single process is a fleet of one."""
        return [self.handle(command)]

    def handle(self, command: Command) -> Reply:
        """Carry out one command; never raises on account of what is in it."""
        try:
            return {"pid": os.getpid()} | _deed(command)(self, command)
        except Refused as refused:
            return {"pid": os.getpid(), "error": str(refused)}

    def close(self) -> None:
        """Count no more."""
        self.meter.close()

    # -- what there is --

    def snapshot(self, command: Command) -> Reply:
        """What is served, and by whom; every open connection, the oldest first."""
        limit = int(_number(command, "limit", LISTED, most=1e9))
        stacks = whereabouts.stacks(self._bound.servers) if command.get("stacks", True) else {}
        servers = []
        for server, endpoint in self._watched:
            servers.append(_server(server, endpoint) | self._connections(server, limit, stacks))
        return {
            "process": self._name,
            "started": self._began,
            "uptime": time.monotonic() - self._since,
            "state": self._state(),
            "ready": self.ready,
            "servers": servers,
            "metrics": self._samples(),
        }

    def _connections(self, server: Any, limit: int, stacks: Mapping[int, whereabouts.Stack]) -> Reply:
        machine = server._portside
        found = sorted(machine.connections.all(), key=lambda connection: connection.opened)
        return {"connections": [_connection(each, stacks) for each in found[: max(0, limit)]]}

    def metrics(self, _: Command) -> Reply:
        """The counts of this process."""
        return {"process": self._name, "metrics": self._samples()}

    def health(self, _: Command) -> Reply:
        """Whether this process lives, and accepts."""
        return {"state": self._state(), "ready": self.ready}

    def _samples(self) -> list[Any]:
        found = [*self.meter.snapshot(), *gauges.process_samples()]
        for server, endpoint in self._watched:
            found += gauges.samples(server, endpoint)
        return found

    def stacks(self, _: Command) -> Reply:
        """Where every handler stands."""
        found = whereabouts.stacks(self._bound.servers)
        return {
            "handlers": [
                {"id": identity(each), "peer": address_text(each.client_address)} | _whereabouts(each, found)
                for server, _ in self._watched
                for each in server._portside.connections.all()
            ]
        }

    @property
    def ready(self) -> bool:
        """Whether every endpoint accepts."""
        return all(map(gauges.is_serving, self._bound.servers))

    @property
    def _name(self) -> str:
        return f"{os.getpid()}-{self._began:.6f}"

    def _state(self) -> str:
        lifecycles = [server._portside.lifecycle for server in self._bound.servers]
        if self._draining or any(each.began and not each.running() for each in lifecycles):
            return "draining"
        if not all(each.began for each in lifecycles):
            return "starting"
        return "serving" if all(server._portside.accepting for server in self._bound.servers) else "paused"

    # -- what is to be done --

    def pause(self, _: Command) -> Reply:
        """Accept nobody until further notice."""
        return self._accept(False)

    def resume(self, _: Command) -> Reply:
        """Accept again."""
        return self._accept(True)

    def _accept(self, wanted: bool) -> Reply:
        for server in self._bound.servers:
            server._portside.accept(wanted)
        return {"state": self._state()}

    def drain(self, command: Command) -> Reply:
        """Accept nobody any more, let handlers finish, end."""
        seconds = drain_seconds(command)
        self._draining = True
        self._bound.request_stop(seconds)
        for server in self._bound.servers:
            if server._portside.engine.name == "serial":  # its handler holds up its loop: another thread has to drain
                threading.Thread(target=server.shutdown, kwargs={"drain": seconds}, daemon=True).start()
        return {"state": "draining"}

    def end(self, command: Command) -> Reply:
        """Cut one connection."""
        wanted = _text(command, "id", "the id of a connection, as a snapshot tells it")
        cut = [each for each in self._all() if identity(each) == wanted]
        for connection in cut:
            connection.cut()
        return {"closed": len(cut)}

    def ban(self, command: Command) -> Reply:
        """Keep a host out for a while, and cut what it has open."""
        host = _text(command, "host", "an address")
        seconds = ban_seconds(command)
        lists = {id(access): access for access in (getattr(each, "access", None) for each in self._bound.servers)}
        for access in filter(None, lists.values()):
            _ban(access, host, seconds)
        if not any(lists.values()):
            raise Refused("a host can only be banned from a server that has an access list: give it access=Access()")
        cut = [each for each in self._all() if _host(each.client_address) == host]
        for connection in cut:
            connection.cut()
        return {"banned": host, "seconds": seconds, "closed": len(cut)}

    def _all(self) -> Iterator["Connection"]:
        return (each for server in self._bound.servers for each in server._portside.connections.all())


_DEEDS: Mapping[str, Callable[[Control, Command], Reply]] = {
    "snapshot": Control.snapshot,
    "health": Control.health,
    "metrics": Control.metrics,
    "stacks": Control.stacks,
    "pause": Control.pause,
    "resume": Control.resume,
    "drain": Control.drain,
    "close": Control.end,
    "ban": Control.ban,
}

# Commands that change something, for whoever has to protect them.
ACTIONS = frozenset({"pause", "resume", "drain", "close", "ban"})
COMMANDS = frozenset(_DEEDS)


def drain_seconds(command: Command) -> float | None:
    """How long a drain may take, where the command says so.

    Raises:
        Refused: it says something else.
    """
    return None if command.get("seconds") is None else _number(command, "seconds", 0)


def ban_seconds(command: Command) -> float:
    """How long a ban lasts.

    Raises:
        Refused: the command says something that is no time.
    """
    return _number(command, "seconds", BAN_SECONDS)


def _deed(command: object) -> Callable[[Control, Command], Reply]:
    if not isinstance(command, Mapping):
        raise Refused('a command is an object such as {"do": "snapshot"}')
    word = command.get("do")
    if not isinstance(word, str) or word not in _DEEDS:
        raise Refused(f"do={word!r} is none of {', '.join(sorted(_DEEDS))}")
    return _DEEDS[word]


def _text(command: Command, name: str, accepted: str) -> str:
    value = command.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(f"{name}={value!r} is not accepted; accepted is {accepted}")
    return value


def _number(command: Command, name: str, default: float, *, most: float = _FOREVER) -> float:
    value = command.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most or math.isnan(value):
        raise Refused(f"{name}={value!r} is not accepted; accepted is a number from 0 to {most:.0f}")
    return float(value)


def _ban(access: Any, host: str, seconds: float) -> None:
    try:
        access.ban(host, seconds)
    except ValueError as error:
        raise Refused(str(error)) from error


def _host(address: object) -> str:
    return str(address[0]) if isinstance(address, tuple) and address else ""


def _server(server: Any, endpoint: str) -> Reply:
    machine = server._portside
    queue = gauges.accept_queue(server.socket)
    return {
        "endpoint": endpoint,
        "engine": machine.engine.name,
        "accepting": gauges.is_serving(server),
        "open": len(machine.connections),
        "running": machine.handlers(),
        "queue": None if queue is None else queue[0],
    }


def identity(connection: "Connection") -> str:
    """The name of a connection, in this process and no other, now and never again."""
    return f"{os.getpid():x}-{connection.key:x}-{int(connection.opened * 1e6):x}"


def _connection(connection: "Connection", stacks: Mapping[int, whereabouts.Stack]) -> Reply:
    received, sent = connection.bytes_both_ways()
    return {
        "id": identity(connection),
        "peer": address_text(connection.client_address),
        "host": _host(connection.client_address),
        "age": time.monotonic() - connection.opened,
        "received": received,
        "sent": sent,
        "state": _condition(connection),
    } | _whereabouts(connection, stacks)


def _condition(connection: "Connection") -> str:
    """What is known of a connection without asking its handler."""
    if connection.ending or connection.woken:
        return "ending"
    return "idle" if connection.idle else "open"


def _whereabouts(connection: "Connection", stacks: Mapping[int, whereabouts.Stack]) -> Reply:
    stack = stacks.get(connection.key)
    return {"at": "", "stack": []} if stack is None else whereabouts.described(stack)
