"""Runs a fuzzer: the inputs are led by coverage where atheris is installed, else random, the same for the same --seed.

A finding ends the run with a traceback and the input that led to it.
"""

import argparse
import importlib
import inspect
import random
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import FunctionType, ModuleType
from typing import Any

BATCH = 100  # inputs between two looks at the clock


def run(
    check: Callable[[Any], object],
    made_up: Callable[[random.Random], Any],
    *,
    led_by: tuple[ModuleType, ...] = (),
    from_bytes: Callable[[bytes], Any] = bytes,
) -> None:
    """Read the command line, and try inputs for as long as it says.

    Args:
        check: raises for an input that breaks the contract.
        made_up: makes a random input.
        led_by: the modules whose coverage leads to new inputs; none where it cannot, as in compiled ones.
        from_bytes: makes an input of the bytes that atheris found.
    """
    options = _options()
    if led_by and find_spec("atheris"):
        _guided(lambda data: check(from_bytes(data)), led_by, options.seconds)
    else:
        if led_by:
            sys.stderr.write("atheris is not installed (pip install atheris): the inputs are random, not guided\n")
        count = _unguided(lambda source: check(made_up(source)), random.Random(options.seed), options.seconds)
        sys.stdout.write(f"{count} inputs kept the contract (seed {options.seed})\n")


def _options() -> argparse.Namespace:
    about = str(sys.modules["__main__"].__doc__).partition("\n")[0]
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to run (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs (default: %(default)s)")
    return parser.parse_args()


def _guided(check: Callable[[bytes], object], modules: tuple[ModuleType, ...], seconds: float) -> None:
    """Let atheris search for inputs that reach new code; ends the process."""
    atheris = importlib.import_module("atheris")
    for module in modules:
        for function in _functions_of(module):
            atheris.instrument_func(function)
    atheris.Setup([sys.argv[0], f"-max_total_time={max(1, int(seconds))}", "-max_len=6000"], check)
    atheris.Fuzz()


def _functions_of(module: ModuleType) -> Iterator[FunctionType]:
    """The functions and methods that a module defines; those that dataclasses generate are not of interest."""
    classes = [kind for _, kind in inspect.getmembers(module, inspect.isclass)]
    members = (function for holder in (module, *classes) for _, function in inspect.getmembers(holder))
    own = (member for member in members if isinstance(member, FunctionType))
    yield from {function for function in own if function.__code__.co_filename == module.__file__}


def _unguided(try_one: Callable[[random.Random], object], source: random.Random, seconds: float) -> int:
    """Try random inputs until the time is over; returns how many."""
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for _ in range(BATCH):
            try_one(source)
        count += BATCH
    return count
