"""`python -m tools.chaos`: play the rows, print the table; exit code 0 only when every goal holds."""

import argparse
import signal
import sys
import time

from tools.chaos import report
from tools.chaos.rows import ROWS
from tools.chaos.stage import Scene, play

EXAMPLES = """examples:
  python -m tools.chaos                              everything, under ten minutes
  python -m tools.chaos --list                       what there is to try
  python -m tools.chaos --only kills --only reloads  two rows
  python -m tools.chaos --scale 0.01                 everything in small; latencies are not judged
  python -m tools.chaos --engine threads --scale 0.1

Exit codes: 0 when every goal holds, 1 when one does not, 2 when the command line cannot be.
Normal clients may lose nothing but what ran inside a killed worker (the column "excused").
"""

JUDGED_FROM = 0.5  # scale; smaller attacks are over before a 99th percentile says anything


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.chaos",
        description="Attack a service, kill it and reload it, beside normal clients whose every answer is checked.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [row.name for row in ROWS]
    parser.add_argument("--only", action="append", metavar="ROW", choices=names, help="this row; may be repeated")
    parser.add_argument("--scale", type=_scale, default=1.0, help="how much of each row's size, up to 1 (default: 1)")
    parser.add_argument(
        "--engine", choices=("green", "threads"), default="green", help="the service's (default: green)"
    )
    parser.add_argument("--list", action="store_true", help="list the rows, and end")
    return parser.parse_args(arguments)


def _scale(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value


def main(arguments: list[str] | None = None) -> int:
    """Play what is asked for; returns the exit code."""
    options = parse(arguments)
    if options.list:
        print(report.listed(ROWS))
        return 0
    progress = report.Progress()
    scene = Scene(engine=options.engine, scale=options.scale, progress=progress)
    print(f"engine {scene.engine}, scale {scene.scale:g}, {report.surroundings()}", flush=True)
    began = time.monotonic()
    outcomes = [play(row, scene) for row in ROWS if not options.only or row.name in options.only]
    progress.clear()
    judged = scene.scale >= JUDGED_FROM
    print(report.table(outcomes, judge_latency=judged))
    print(f"{time.monotonic() - began:.0f} s, {report.surroundings()}")
    missed = report.complaints(outcomes, judge_latency=judged)
    for each in missed:
        print(f"missed: {each}")
    print("every goal holds" if not missed else f"{len(missed)} goals missed")
    return 1 if missed else 0


def _unwind(number: int, _: object) -> None:
    """SIGTERM ends every process that was started, as Ctrl-C does."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _unwind)
    sys.exit(main())
