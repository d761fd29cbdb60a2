"""What a row has cost, and whether that is allowed: the goals are here."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tools.chaos.clients import Loss
from tools.chaos.upkeep import MIB, Upkeep

# The goal of issue 5: under attack, 99 answers of 100 come within three times what they take in quiet.
TIMES_THE_QUIET = 3.0

# Milliseconds that nobody is blamed for: on a machine whose cores the clients, the attackers and the service share, a
# process waits as long for its turn now and then (a few of the scheduler's slices, and a garbage collection).
FLOOR_MS = 50.0

# What a process may have more of memory than before, or than after a first attack of the same kind: an allocator keeps
# pages that its last tenants have broken up. Ten thousand connections are 80 MB; a leak of a third of them would show.
SLACK_PER_PROCESS = 8 * MIB


@dataclass(kw_only=True)
class Outcome:
    """One row, played.

    Attributes:
        name: of the row.
        tried: what was done, in numbers.
        served: conversations of normal clients that went as they should.
        losses: those that did not, and may not be excused.
        excused: how many others did not.
        quiet, loaded: 50th and 99th percentile of a hundred and the longest, in milliseconds, before and during.
        before, after: what the service held.
        high_water: bytes of memory after a first attack, which its allocator may keep; 0 where there was one
            attack only.
        seconds: how long it took.
        broken: further goals that were missed, as sentences.
    """

    name: str
    tried: str = ""
    served: int = 0
    losses: list[Loss] = field(default_factory=list)
    excused: int = 0
    quiet: dict[str, float] = field(default_factory=dict)
    loaded: dict[str, float] = field(default_factory=dict)
    before: Upkeep | None = None
    after: Upkeep | None = None
    high_water: int = 0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    def complaints(self, *, judge_latency: bool) -> list[str]:
        """Every goal that was missed; none is good."""
        latency = [*_too_slow(self)] if judge_latency else []
        return [*self.broken, *_lost(self), *_kept(self), *latency]


Excuse = Callable[[Loss], bool]


def sort_out(outcome: Outcome, losses: list[Loss], excuse: Excuse) -> None:
    """Part what a row allows from what is lost."""
    outcome.losses = [each for each in losses if not excuse(each)]
    outcome.excused = len(losses) - len(outcome.losses)


def _lost(outcome: Outcome) -> list[str]:
    if not outcome.losses:
        return []
    first = outcome.losses[0]
    count = len(outcome.losses)
    return [f"{count} conversations were lost, the first while it waited for its {first.stage}: {first.error}"]


def _kept(outcome: Outcome) -> list[str]:
    before, after = outcome.before, outcome.after
    if before is None or after is None:
        return []
    found = []
    if after.descriptors > before.descriptors:
        found.append(f"{after.descriptors - before.descriptors} descriptors were not given back")
    allowed = max(before.memory, outcome.high_water)
    if after.memory > allowed + SLACK_PER_PROCESS * before.processes:
        found.append(f"{(after.memory - allowed) / MIB:.0f} MiB were not given back")
    return found


def allowed_ms(outcome: Outcome) -> float:
    """How long 99 answers of 100 may take under attack, in milliseconds."""
    return max(FLOOR_MS, TIMES_THE_QUIET * outcome.quiet["p99"])


def _too_slow(outcome: Outcome) -> list[str]:
    if not outcome.loaded or outcome.loaded["p99"] <= allowed_ms(outcome):
        return []
    return [f"99 answers of 100 took up to {outcome.loaded['p99']:.0f} ms; allowed are {allowed_ms(outcome):.0f} ms"]
