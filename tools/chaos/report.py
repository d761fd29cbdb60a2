"""What is printed: how it goes, on a terminal; then a table of what was tried and what was lost."""

import os
import sys
from collections.abc import Sequence

from tools.chaos.stage import Row
from tools.chaos.upkeep import MIB
from tools.chaos.verdict import Outcome

HEADINGS = ("row", "tried", "served", "lost", "excused", "p99 quiet", "p99 then", "descriptors", "MiB", "s", "")


class Progress:
    """One line that is written over, where there is a terminal to see it; nothing elsewhere."""

    def __init__(self) -> None:
        self._is_seen = sys.stderr.isatty()

    def __call__(self, words: str) -> None:
        if self._is_seen:
            print(f"\r\x1b[K{words[:110]}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Leave nothing behind."""
        self("")


def table(outcomes: Sequence[Outcome], *, judge_latency: bool) -> str:
    """The rows, in columns as wide as they need to be; Markdown reads it, too."""
    lines = [HEADINGS, *(cells(each, judge_latency=judge_latency) for each in outcomes)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(HEADINGS))]
    rows = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    rows.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {row} |" for row in rows)


def cells(outcome: Outcome, *, judge_latency: bool) -> tuple[str, ...]:
    """One row's."""
    before, after = outcome.before, outcome.after
    kept = before is not None and after is not None
    good = not outcome.complaints(judge_latency=judge_latency)
    return (
        outcome.name,
        outcome.tried,
        f"{outcome.served:,}",
        str(len(outcome.losses)),
        str(outcome.excused),
        _ms(outcome.quiet),
        _ms(outcome.loaded),
        f"{before.descriptors} → {after.descriptors}" if kept and before and after else "",
        f"{before.memory / MIB:.0f} → {after.memory / MIB:.0f}" if kept and before and after else "",
        f"{outcome.seconds:.0f}",
        "good" if good else "BAD",
    )


def _ms(found: dict[str, float]) -> str:
    return f"{found['p99']:.1f} ms" if found else ""


def complaints(outcomes: Sequence[Outcome], *, judge_latency: bool) -> list[str]:
    """Every goal that was missed, as a sentence with its row."""
    return [f"{each.name}: {text}" for each in outcomes for text in each.complaints(judge_latency=judge_latency)]


def surroundings() -> str:
    """What else this machine does: the figures depend on it."""
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    return f"load average {load}, {os.cpu_count()} cores"


def listed(rows: Sequence[Row]) -> str:
    """What there is to try."""
    return "\n".join(f"{row.name:<13}{row.title}" for row in rows)
