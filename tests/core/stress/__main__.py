"""The long form of the stress test: `python -m tests.core.stress --seconds 600`."""

import argparse
import random
import sys
import time

from tests.core.stress.running import Stress

FOREVER = 10**9  # conversations; the time ends a round


def main() -> int:
    """Rounds until the time is over; returns 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.core.stress", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long (default: %(default)s)")
    parser.add_argument("--round", type=float, default=20, help="seconds of a round (default: %(default)s)")
    parser.add_argument("--at-once", type=int, default=2000, help="clients at once (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.getrandbits(32), help="of everything that is drawn")
    options = parser.parse_args()
    print(f"--seed {options.seed} --at-once {options.at_once} --round {options.round:g}", flush=True)
    stress = Stress(options.seed, options.at_once)
    with stress.serving():
        failed = sum(tell(stress, options.round) for _ in range(max(1, round(options.seconds / options.round))))
    for (kind, end), count in sorted(stress.book.ends.items()):
        print(f"{kind:10} {end:24} {count:10,}")
    return int(failed > 0)


def tell(stress: Stress, seconds: float) -> bool:
    """One round, printed; returns whether anything was wrong."""
    start = time.monotonic()
    done = stress.round(FOREVER, seconds)
    rate = done.conversations / (time.monotonic() - start)
    print(f"{done.conversations:,} conversations, {rate:,.0f} a second; left: {done.left}", flush=True)
    for wrong in done.wrong:
        print(wrong, flush=True)
    return bool(done.wrong)


if __name__ == "__main__":
    sys.exit(main())
