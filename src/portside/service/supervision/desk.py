"""Commands to a whole service: what the supervisor does itself, whom it asks, and what it keeps of the answers.

All of it in the supervisor's loop. A drain is the supervisor's, who would else fill the places of workers that drain.
"""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from portside.service.control import Refused, ban_seconds, drain_seconds
from portside.service.supervision.asking import Questions, Reply
from portside.service.supervision.crew import Crew
from portside.service.supervision.roster import Roster
from portside.service.supervision.standing import StandingOrders
from portside.telemetry.exposition import Ledger
from portside.telemetry.metrics import Sample

Done = Callable[[list[Reply]], object]

# Commands for those, too, that drain and still have connections.
_TO_ALL = frozenset({"snapshot", "metrics", "stacks", "close", "ban"})


class Desk:
    """Where commands to the service arrive.

    Args:
        roster: who works.
        crew: the workers.
        drain: begins to end the service, with the seconds that handlers have; None is what the service says.

    Attributes:
        questions: what workers have been asked.
        standing: what later workers have to know.
        ledger: what workers have counted that have ended.
        restarts: workers that were started in the place of one that had ended.
    """

    def __init__(self, roster: Roster, crew: Crew, drain: Callable[[float | None], object]) -> None:
        self.questions = Questions()
        self.standing = StandingOrders()
        self.ledger = Ledger()
        self.restarts = 0
        self._roster, self._crew, self._drain = roster, crew, drain
        self._name = f"supervisor-{os.getpid()}-{time.time():.6f}"
        self._told: dict[int, tuple[str, list[Sample]]] = {}

    def take(self, command: Mapping[str, Any], timeout: float, done: Done) -> None:
        """Have a command carried out.

        Args:
            command: a JSON object.
            timeout: seconds that workers have.
            done: called once, with one reply a process.
        """
        word = command.get("do")
        if word == "drain":
            done([self._end(command)])
            return
        pids = self._roster.serving_pids() if word in _TO_ALL else self._roster.ready_pids()
        number = self.questions.ask(
            pids, time.monotonic() + timeout, lambda replies: done(self._completed(command, replies))
        )
        for pid in pids:
            self._crew.tell(pid, ask=number, command=command)

    def greet(self, pid: int, since: float) -> None:
        """Tell a worker that has just become ready what has changed since it was made."""
        for command in self.standing.since(since):
            self._crew.tell(pid, ask=0, command=command)

    def note(self, pid: int, reply: Reply) -> None:
        """Remember what a worker has counted, as far as it says."""
        match reply:
            case {"process": str(name), "metrics": list(samples)}:
                self._told[pid] = name, samples

    def bury(self, pid: int) -> tuple[str, list[Sample]] | None:
        """A worker has ended; returns its name and what it told last, where it had told anything."""
        self.questions.gone(pid)
        last = self._told.pop(pid, None)
        if last is not None:
            self.ledger.retire(*last)
        return last

    def _end(self, command: Mapping[str, Any]) -> Reply:
        try:
            self._drain(drain_seconds(command))
        except Refused as refused:
            return {"pid": os.getpid(), "error": str(refused)}
        return {"pid": os.getpid(), "state": "draining"}

    def _completed(self, command: Mapping[str, Any], replies: list[Reply]) -> list[Reply]:
        """The workers' replies, and the supervisor's where it knows something itself."""
        for reply in replies:
            self.note(reply["pid"], reply)
        if any("error" not in reply for reply in replies):
            self._keep(command)
        own = self._own(command.get("do"))
        return replies if own is None else [*replies, {"pid": os.getpid(), **own}]

    def _keep(self, command: Mapping[str, Any]) -> None:
        match command:
            case {"do": "pause" | "resume" as word}:
                self.standing.pause(word == "pause")
            case {"do": "ban", "host": str(host)}:
                self.standing.ban(host, ban_seconds(command))

    def _own(self, word: object) -> Reply | None:
        if word == "health":
            return {"ready": self._roster.complete and not self._roster.stopping}
        if word not in ("metrics", "snapshot"):
            return None
        restarts: Sample = ["portside_worker_restarts_total", {}, self.restarts]
        workers = self._roster.described(time.monotonic())
        return {"process": self._name, "metrics": [restarts], "workers": workers}
