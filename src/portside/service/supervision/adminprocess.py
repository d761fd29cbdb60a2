"""The admin endpoint of a service with workers: a small process of its own, which asks the supervisor.

An HTTP server has threads, and a process that has threads does not fork safely: Python 3.12 warns of it. The supervisor
forks, so it cannot be the supervisor.
"""

import itertools
import os
import selectors
import signal
import socket
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NoReturn

from portside.drain import GRACE
from portside.engines.forks import flush_standard_streams
from portside.service.admin.console import Console
from portside.service.admin.options import Admin
from portside.service.admin.server import AdminServer
from portside.service.control import Command
from portside.service.supervision.asking import ANSWER_SECONDS, Reply
from portside.service.supervision.channel import Channel, Message
from portside.telemetry.exposition import Ledger

# All of them are for the supervisor, who says when this process ends: last.
_SUPERVISORS = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2),
    *(signal.SIGTTIN, signal.SIGTTOU),
)


@dataclass(frozen=True, kw_only=True)
class AdminJob:
    """What the process is forked for.

    Attributes:
        admin: the endpoint.
        listeners: its socket.
        ledger: what was counted until now, by workers that have ended.
    """

    admin: Admin
    listeners: Sequence[socket.socket]
    ledger: Ledger


class SupervisedFleet:
    """All processes of the service, asked through the supervisor; safe for several threads.

    Args:
        channel: leads to the supervisor.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: dict[int, Future[list[Reply]]] = {}
        self._numbers = itertools.count(1)

    def ask(self, command: Command) -> list[Reply]:
        """Give a command to every process; one reply for each."""
        number = next(self._numbers)
        future = self._waiting[number] = Future()
        try:
            self._channel.send({"ask": number, "command": command})
            return future.result(ANSWER_SECONDS + GRACE)
        except (OSError, TimeoutError):
            return [{"pid": os.getppid(), "error": "the supervisor does not answer"}]
        finally:
            del self._waiting[number]

    def hear(self, number: object, replies: list[Reply]) -> None:
        """Replies have come; nobody may be waiting for them any more."""
        future = self._waiting.get(number) if isinstance(number, int) else None
        if future is not None:
            future.set_result(replies)


def live(make_job: Callable[[], AdminJob], channel: Channel) -> NoReturn:
    """The process's life, from the fork to its end; never returns into the supervisor's code.

    Args:
        make_job: says what to do, and closes what is the supervisor's.
        channel: its end of the channel to the supervisor.
    """
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in _SUPERVISORS:
            signal.signal(number, _nothing)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _serve(make_job(), channel)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        flush_standard_streams()
        os._exit(code)


def _nothing(*_: object) -> None:
    """In the place of a signal's default, which would end the process."""


def _serve(job: AdminJob, channel: Channel) -> None:
    """Until the supervisor says so, or is gone."""
    fleet = SupervisedFleet(channel)
    console = Console(fleet, job.ledger)
    with AdminServer(job.admin, console, job.listeners) as server, selectors.DefaultSelector() as selector:
        server.start()
        selector.register(channel, selectors.EVENT_READ)
        more = True
        while more:
            selector.select()
            messages, more = channel.arrived()
            for message in messages:
                more = _hear(message, fleet, console) and more


def _hear(message: Message, fleet: SupervisedFleet, console: Console) -> bool:
    """Do what a message says; False where it says that all is over."""
    match message:
        case {"answer": number, "replies": list(replies)}:
            fleet.hear(number, replies)
        case {"retired": str(name), "metrics": list(last)}:
            console.retire(name, last)
        case {"stop": True}:
            return False
    return True
