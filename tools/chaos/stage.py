"""A row's stage: the service, normal clients beside it, attackers, and the order in which they come and go."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tools.chaos.clients import Loss
from tools.chaos.processes import PATIENCE, Process, Stuck, Told
from tools.chaos.service import Service, nap, settle
from tools.chaos.upkeep import Upkeep
from tools.chaos.verdict import Excuse, Outcome, sort_out

PER_ATTACKER = 5_000  # connections of one process: a quarter of the descriptors that a system commonly grants
WORKERS = 2  # the service's
LEAST_BULK = 5_000_000  # bytes of an answer that no buffer of the kernel's holds (tcp_wmem): its handler has to wait
RATE = 200.0  # conversations a second, where a row does not say otherwise: an even load that leaves room


@dataclass(frozen=True, kw_only=True)
class Scene:
    """How to play.

    Attributes:
        engine: the service's.
        scale: how much of a row's size, from above 0 to 1.
        progress: called with a few words now and then.
    """

    engine: str = "green"
    scale: float = 1.0
    progress: Callable[[str], object] = lambda _: None

    def count(self, full: int, least: int = 1) -> int:
        """So many, in proportion."""
        return max(least, round(full * self.scale))

    def seconds(self, full: float, least: float = 0.5) -> float:
        """So long, in proportion to a tenth of the scale at most: short plays are short."""
        return max(least, full * self.scale)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that is tried.

    Attributes:
        name: for the command line.
        title: what it is.
        play: does it.
        service: options of the service.
        manner: how normal clients behave.
        clients: how many of them, and how fast.
        prepare: makes what the service needs in an empty folder, for the length of a block; gives further options.
        quiet: conversations of the quiet run before it; six seconds at the usual rate.
        stays: normal clients stay, and ask again and again.
        ends: the service is gone at the end, so that there is nothing to give back.
        judges_latency: what the 99th percentile is says something.
    """

    name: str
    title: str
    play: Callable[["Stage"], None]
    service: Mapping[str, Any] = field(default_factory=dict)
    manner: Mapping[str, Any] = field(default_factory=dict)
    clients: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[Path], AbstractContextManager[Mapping[str, Any]]] = lambda _: contextlib.nullcontext({})
    quiet: int = 1_200
    stays: bool = False
    ends: bool = False
    judges_latency: bool = True


def _nothing_is_excused(_: Loss) -> bool:
    return False


class Stage:
    """What a row's `play` has at hand.

    Attributes:
        row: what is played.
        scene: how to play.
        service: the service under test.
        clients: the normal clients.
        outcome: what is found, for the row to add to.
        excuse: which losses the row allows.
        folder: for files, empty.
    """

    def __init__(
        self, row: "Row", scene: Scene, service: Service, clients: Process, outcome: Outcome, folder: Path
    ) -> None:
        self.row = row
        self.scene = scene
        self.service = service
        self.clients = clients
        self.outcome = outcome
        self.folder = folder
        self.excuse: Excuse = _nothing_is_excused

    def served(self) -> int:
        """How many conversations there have been."""
        return int(self.clients.told[-1]["served"]) if self.clients.told else 0

    def wait_served(self, count: int, seconds: float = PATIENCE) -> None:
        """Until there have been so many more."""
        goal = self.served() + count
        self.clients.wait(lambda: self.served() >= goal, f"{count} conversations", seconds)

    def tell(self, words: str) -> None:
        """Say how it goes."""
        self.scene.progress(f"{self.outcome.name}: {words}")

    @contextlib.contextmanager
    def attack(self, attack: str, count: int, **options: Any) -> Iterator["Attackers"]:
        """Attackers, as many processes as they need, until the block's end."""
        with contextlib.ExitStack() as stack:
            processes = []
            for number, share in enumerate(_shares(count)):
                wanted = {"attack": attack, "port": self.service.port, "hosts": f"127.2.{number}", "count": share}
                processes.append(stack.enter_context(Process("attacks", {**wanted, **options}, bare=True)))
            yield Attackers(processes)

    def last(self, seconds: float) -> None:
        """Let what is under way go on for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.tell(f"{left:.0f} s to go, {self.served():,} conversations served")
            nap(min(1.0, left))


class Attackers:
    """The processes of one attack."""

    def __init__(self, processes: list[Process]) -> None:
        self._processes = processes

    def wait_opened(self) -> None:
        """Until all connections have been opened."""
        for each in self._processes:
            each.wait(functools.partial(_is_under_way, each), "an attack to be under way")

    def wait_ended(self, count: int) -> None:
        """Until the service has ended so many."""
        for each in self._processes:
            each.wait(lambda: self.total("ended") >= count, f"{count} attackers to be ended")

    def total(self, what: str) -> int:
        """Of "opened", "ended" or "open" connections."""
        return sum(int(each.told[-1][what]) for each in self._processes if each.told)

    def finish(self) -> None:
        """Leave."""
        for each in self._processes:
            each.finish()


def _is_under_way(attacker: Process) -> bool:
    return bool(attacker.told) and bool(attacker.told[-1]["done"])


def _shares(count: int) -> list[int]:
    """Connections of each process."""
    processes = -(-count // PER_ATTACKER) if count <= 4 * PER_ATTACKER else 2
    return [count // processes + (number < count % processes) for number in range(processes)]


def play(row: Row, scene: Scene) -> Outcome:
    """Play one row; what goes wrong in it is in the outcome.

    Returns:
        What was tried, and what was lost.
    """
    outcome = Outcome(name=row.name)
    began = time.monotonic()
    with TemporaryDirectory() as folder:
        try:
            _play(row, scene, outcome, Path(folder))
        except Stuck as stuck:
            outcome.broken.append(str(stuck))
    outcome.seconds = time.monotonic() - began
    return outcome


def _play(row: Row, scene: Scene, outcome: Outcome, folder: Path) -> None:
    options = {"engine": scene.engine, "workers": WORKERS, **row.service}
    with (
        row.prepare(folder) as prepared,
        (folder / "errors").open("wb", buffering=0) as errors,
        Service({**options, **prepared}, errors) as service,
    ):
        manner = {"port": service.port, **row.manner}
        if "bulk" in manner:
            manner["bulk"] = scene.count(manner["bulk"], least=LEAST_BULK)
        crowd = {"rate": RATE, "at_once": 64, **row.clients}
        with Process("clients", {"manner": manner, **crowd}, bare=True) as clients:
            _perform(row, Stage(row, scene, service, clients, outcome, folder))
        if failed := service.of("HandlerFailed"):
            outcome.broken.append(f"{len(failed)} handlers raised, the first {failed[0]['error']}")


def _perform(row: Row, stage: Stage) -> None:
    stage.tell("quiet run")
    if stage.row.stays:
        stage.last(stage.scene.seconds(5.0))
    else:
        stage.wait_served(stage.scene.count(stage.row.quiet, least=20))
    stage.clients.say(b"pause")
    stage.clients.wait(lambda: stage.clients.told[-1]["at_rest"], "the quiet run to end")
    settle(lambda: _is_complete(stage.service), "the workers to be there")
    stage.outcome.before = Upkeep.of(stage.service)
    stage.clients.say(b"mark")
    row.play(stage)
    if row.ends:
        stage.outcome.before = None
    elif not row.stays:
        stage.tell("afterwards")
        stage.wait_served(stage.scene.count(200, least=5))
    _count_up(stage)
    if not row.ends:
        stage.tell("what was given back")
        _see_what_is_kept(stage)


def _count_up(stage: Stage) -> None:
    told: Told = stage.clients.finish()
    outcome = stage.outcome
    outcome.served = told["served"]
    outcome.quiet, outcome.loaded = told["phases"][0], told["phases"][1]
    sort_out(outcome, [Loss(**each) for each in told["losses"]], stage.excuse)
    if told["lost"] > len(told["losses"]):
        outcome.broken.append(f"{told['lost']} conversations were lost, more than can be told one by one")


def _see_what_is_kept(stage: Stage) -> None:
    before = stage.outcome.before
    assert before is not None
    with contextlib.suppress(Stuck):
        settle(lambda: _is_back(stage.service, before), "descriptors", 45.0)
    stage.outcome.after = Upkeep.of(stage.service)


def _is_complete(service: Service) -> bool:
    return len(service.processes()) == 1 + len(service.workers())


def _is_back(service: Service, before: Upkeep) -> bool:
    now = Upkeep.of(service)
    return now.processes == before.processes and now.descriptors <= before.descriptors
