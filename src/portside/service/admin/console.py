"""What the admin endpoint tells and does, without HTTP: questions to the fleet, and the answers put together."""

import threading
import time
from collections.abc import Mapping
from typing import Any

from portside.service.control import ACTIONS, Command, Fleet, Reply
from portside.telemetry.exposition import Ledger, exposition
from portside.telemetry.metrics import Sample


class Console:
    """Asks all processes of a service, and adds up what they say; safe for several threads.

    A process that serves nobody itself (a supervisor) may reply with metrics alone: its name and they are all it needs.

    Args:
        fleet: the processes.
        ledger: what was counted before, by processes that have ended; the console's from now on.
    """

    def __init__(self, fleet: Fleet, ledger: Ledger | None = None) -> None:
        self._fleet = fleet
        self._ledger = ledger or Ledger()
        self._lock = threading.Lock()

    def retire(self, name: str, last: list[Sample]) -> None:
        """A process has ended, and this is what it told last."""
        with self._lock:
            self._ledger.retire(name, last)

    def metrics(self) -> str:
        """The metrics of all processes together, those of ended ones included, as Prometheus reads them."""
        return exposition(self._add_up(self._fleet.ask({"do": "metrics"})))

    def health(self) -> tuple[bool, bool]:
        """Whether every process answers, and whether every one is ready to accept clients."""
        replies = self._fleet.ask({"do": "health"})
        alive = bool(replies) and not any("error" in reply for reply in replies)
        return alive, alive and all(reply.get("ready", True) for reply in replies)

    def snapshot(self, limit: int, *, stacks: bool) -> Reply:
        """All processes, their servers and open connections, what a supervisor knows of workers, and all metrics.

        Args:
            limit: connections told of each server, the oldest first.
            stacks: whether to tell where their handlers stand.
        """
        replies = self._fleet.ask({"do": "snapshot", "limit": limit, "stacks": stacks})
        totals = self._add_up(replies)
        told = [reply for reply in replies if "servers" in reply or "error" in reply]
        processes = [{name: value for name, value in reply.items() if name != "metrics"} for reply in told]
        workers = [worker for reply in replies for worker in reply.get("workers", ())]
        return {"time": time.time(), "processes": processes, "workers": workers, "metrics": totals}

    def stacks(self) -> Reply:
        """Where every handler stands."""
        return {"processes": self._fleet.ask({"do": "stacks"})}

    def command(self, command: Any) -> tuple[bool, Reply]:
        """Give a command that changes something.

        Returns:
            Whether any process has carried it out, and what each has replied.
        """
        word = command.get("do") if isinstance(command, Mapping) else None
        if not isinstance(word, str) or word not in ACTIONS:
            return False, {"error": f"do={word!r} is none of {', '.join(sorted(ACTIONS))}"}
        replies = self._fleet.ask(command)
        done = any(_is_done(command, reply) for reply in replies)
        return done, {"replies": replies} | ({} if done else {"error": _complaint(command, replies)})

    def _add_up(self, replies: list[Reply]) -> list[Sample]:
        told = {reply["process"]: reply["metrics"] for reply in replies if "metrics" in reply}
        with self._lock:
            return self._ledger.take(told)


def _is_done(command: Command, reply: Reply) -> bool:
    return "error" not in reply and not (command["do"] == "close" and not reply.get("closed"))


def _complaint(command: Command, replies: list[Reply]) -> str:
    said = sorted({reply["error"] for reply in replies if "error" in reply})
    if not said and command["do"] == "close":
        return f"no connection has the id {command.get('id')!r} any more"
    return "; ".join(said) or "nobody serves"
