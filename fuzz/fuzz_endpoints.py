"""Fuzz ``Endpoint.parse``: any text gives an endpoint that round-trips, or EndpointError; nothing else.

``python fuzz/fuzz_endpoints.py --seconds 60`` uses atheris where it is installed, else seeded random texts; a text that
breaks the contract ends the run with its traceback. ``--seed N`` repeats a random run.
"""

import argparse
import importlib
import random
import sys
import time
from importlib.util import find_spec

from portside.endpoints import Endpoint, EndpointError

# What endpoints are made of, and what breaks parsers: texts of nothing but noise would fail at the scheme.
PIECES = [
    *["tcp:", "udp:", "unix:", "unixgram:", "fd:", "//", "[", "]", "::1", "fe80::1%eth0", "127.0.0.1", "0x7f.1", "a.b"],
    *[
        "?mode=",
        "?backlog=",
        "&reuse_port=",
        "660",
        "0",
        "65535",
        "99999999999",
        "%41",
        "%",
        "%2F",
        "%FF",
        "@",
        "#",
        ":",
    ],
    *["\0", " ", "\n", "é", "٣", "\udcc3", "\ud800", "\u2028", "x" * 300],
]
LONGEST = 8  # pieces in a text
NOISE = 0.3  # share of texts with a strange character: most stay nearly right, and get far into the parser
BATCH = 1000  # texts between two looks at the clock


def check(text: str) -> None:
    """Hold one text against the contract."""
    try:
        endpoint = Endpoint.parse(text)
    except EndpointError:
        return
    if Endpoint.parse(str(endpoint)) != endpoint:
        raise AssertionError(f"{text!r} became {endpoint!r}, and its text {str(endpoint)!r} something else")


def check_bytes(data: bytes) -> None:
    """Hold what bytes spell against the contract; bytes that are no UTF-8 become surrogates, as in sys.argv."""
    check(data.decode("utf-8", "surrogateescape"))


def random_text(source: random.Random) -> str:
    """Pieces in any order, now and then with one character out of all that exist."""
    pieces = source.choices(PIECES, k=source.randint(1, LONGEST))
    if source.random() < NOISE:
        pieces.insert(source.randint(0, len(pieces)), chr(source.randrange(sys.maxunicode)))
    return "".join(pieces)


def run_random(seconds: float, seed: int) -> int:
    """Try random texts for a while; returns how many."""
    source = random.Random(seed)
    deadline = time.monotonic() + seconds
    count = 0
    while time.monotonic() < deadline:
        for _ in range(BATCH):
            check(random_text(source))
        count += BATCH
    return count


def run_atheris(seconds: float) -> None:
    """Let atheris look for texts, guided by coverage; it ends the process by itself."""
    atheris = importlib.import_module("atheris")
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-max_total_time={int(seconds)}"], check_bytes)
    atheris.Fuzz()


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to run (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="start of the random texts (default: 0)")
    options = parser.parse_args()
    if find_spec("atheris"):
        run_atheris(options.seconds)
    else:
        count = run_random(options.seconds, options.seed)
        sys.stdout.write(f"{count} random texts kept the contract (seed {options.seed})\n")


if __name__ == "__main__":
    main()
