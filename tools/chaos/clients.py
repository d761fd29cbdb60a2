"""Normal clients, in a process of their own: they begin conversations, check every answer, and tell what was lost.

    python -m tools.chaos.clients '{"manner": {"port": 9000}, "rate": 200, "at_once": 64}'

The standard input takes one command a line: `pause` begins no more conversations,
`mark` goes on, in a new phase of which latencies are told apart; its end lets the conversations that there are come to
theirs. A line of JSON on the standard output says every fifth of a second how
many there were, and the last one everything.
"""

import json
import os
import resource
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from tools.chaos.conversations import Conversation, Loop, Manner

TELL_SECONDS = 0.2
LOSSES_TOLD = 2_000  # the others are only counted


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A conversation that went wrong.

    Attributes:
        pid: the process that had greeted; 0 where none had.
        began, ended: when, in seconds of the monotonic clock, which is the same for all processes.
        stage: what was waited for.
        error: what came instead.
    """

    pid: int
    began: float
    ended: float
    stage: str
    error: str


class Clients:
    """All of them, in one loop.

    Args:
        manner: how they behave.
        rate: conversations begun a second; 0 for as many as `at_once` allows.
        at_once: conversations at a time, at most.
    """

    def __init__(self, *, manner: dict[str, Any], rate: float = 200.0, at_once: int = 64) -> None:
        self._manner = Manner(**manner)
        self._rate = rate
        self._at_once = at_once
        self._loop = Loop()
        self._loop.watch(0)
        os.set_blocking(0, False)
        self._over = self._paused = False
        self._begun = 0
        self._since = self._told = time.monotonic()
        self._paced = 0
        self.served = self.lost = 0
        self.losses: list[Loss] = []
        self.phases: list[array[float]] = [array("d")]

    def run(self) -> None:
        """Until the standard input ends, and all conversations have."""
        while not self._over or self._loop.open:
            self._begin()
            for conversation, error in self._loop.turn(self._seconds()):
                self._count(conversation, error)
            self._obey()
            self._tell()
        print(json.dumps(self.result()), flush=True)

    def result(self) -> dict[str, Any]:
        """Everything."""
        return {
            "served": self.served,
            "lost": self.lost,
            "losses": [asdict(each) for each in self.losses],
            "phases": [percentiles(each) for each in self.phases],
        }

    def _begin(self) -> None:
        while not self._paused and len(self._loop.open) < self._at_once and self._due():
            self._begun += 1
            self._paced += 1
            self._loop.begin(Conversation(self._manner, self._begun))

    def _due(self) -> bool:
        """Whether another one may begin; what was missed by more than a second is not made up for."""
        if not self._rate:
            return True
        now = time.monotonic()
        if self._paced / self._rate < now - self._since - 1:
            self._since, self._paced = now, 0
        return self._paced / self._rate <= now - self._since

    def _seconds(self) -> float:
        if not self._rate or self._paused or len(self._loop.open) >= self._at_once:
            return TELL_SECONDS
        return min(TELL_SECONDS, max(0.0, self._since + self._paced / self._rate - time.monotonic()))

    def _count(self, conversation: Conversation, error: Exception | None) -> None:
        self.phases[-1].extend(conversation.latencies)
        if error is None:
            self.served += 1
            return
        self.lost += 1
        if len(self.losses) < LOSSES_TOLD:
            began, ended = conversation.began, time.monotonic()
            loss = Loss(pid=conversation.pid, began=began, ended=ended, stage=conversation.stage, error=repr(error))
            self.losses.append(loss)

    def _obey(self) -> None:
        try:
            said = os.read(0, 4096)
        except BlockingIOError:
            return
        if not said and not self._over:
            self._over = True
            self._loop.ignore(0)
        for command in said.split() or [b"pause"]:
            self._COMMANDS[command](self)

    def _pause(self) -> None:
        self._paused = True
        for each in self._loop.open:
            each.leaving = True

    def _mark(self) -> None:
        self.phases.append(array("d"))
        self._paused = False

    _COMMANDS: ClassVar[dict[bytes, Callable[["Clients"], None]]] = {b"pause": _pause, b"mark": _mark}

    def _at_rest(self) -> bool:
        return self._paused and not self._loop.open

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told >= TELL_SECONDS:
            self._told = now
            greeted = sum(1 for each in self._loop.open if each.pid)
            told = {"served": self.served, "lost": self.lost, "greeted": greeted, "at_rest": self._at_rest()}
            print(json.dumps(told), flush=True)


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """The middle, the 99th of a hundred and the longest, in milliseconds."""
    ordered = sorted(seconds) or [0.0]
    chosen = {"p50": len(ordered) // 2, "p99": len(ordered) * 99 // 100, "longest": len(ordered) - 1}
    return {name: ordered[number] * 1000 for name, number in chosen.items()}


def raise_descriptors() -> int:
    """As many as this process may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


if __name__ == "__main__":
    raise_descriptors()
    Clients(**json.loads(sys.argv[1])).run()
