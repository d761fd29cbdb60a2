"""Runs the interpreter's own tests with modules of the standard library replaced.

    python tests/stdlib/run.py --face socketserver=portside.socketserver test_socketserver test_logging

The replacement is in place before anything that depends on the module is imported. Ends with 0 if every test passed;
with anything else if one failed, if none ran, or after `--seconds`, when the stacks of all threads are printed.
"""

import argparse
import faulthandler
import importlib
import sys
import unittest
from collections.abc import Iterator
from types import ModuleType


def main() -> int:
    """Replace, load and run what the command line says."""
    options = _options()
    # Ends the process by itself; unlike a Timer it needs no thread, which the tests would count as a leak.
    faulthandler.dump_traceback_later(options.seconds, exit=True)
    faces = dict(pair.split("=") for pair in options.faces)
    ours = {standard: replace(standard, name) for standard, name in faces.items()}
    vars(importlib.import_module("test.support")).update(verbose=0)
    if options.green:
        put_green_for_threads(ours["socketserver"])
    suite = unittest.defaultTestLoader.loadTestsFromNames([f"test.{name}" for name in options.tests])
    suite = unittest.TestSuite(test for test in each_of(suite) if test.id() not in options.without)
    _demand_in_place(ours)
    passed = _run(suite)
    _demand_in_place(ours)
    return 0 if passed else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="a run that takes longer has failed (default 300)")
    parser.add_argument("--face", dest="faces", action="append", default=[], help="STANDARD=REPLACEMENT, repeatable")
    parser.add_argument("--green", action="store_true", help="give the Threading classes' names to the Green ones")
    parser.add_argument("--without", action="append", default=[], help="the id of a test to leave out, repeatable")
    parser.add_argument("tests", nargs="+", help="modules of the package `test`")
    return parser.parse_args()


def replace(standard: str, name: str) -> ModuleType:
    """Make `import STANDARD` give the module of that name from now on."""
    ours = importlib.import_module(name)
    original = sys.modules.get(standard)
    sys.modules[standard] = ours
    package, _, attribute = standard.rpartition(".")
    if package:
        setattr(importlib.import_module(package), attribute, ours)
    if original is not None:
        _forget_users(original, ours)
    _relabel(ours, standard)
    return ours


def put_green_for_threads(face: ModuleType) -> None:
    """The green engine under the threading engine's names."""
    for name in [name for name in face.__all__ if name.startswith("Threading")]:
        setattr(face, name, getattr(face, name.replace("Threading", "Green")))


def each_of(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    """Every test of a suite."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from each_of(test)
        else:
            yield test


def _forget_users(original: ModuleType, ours: ModuleType) -> None:
    """Have modules that took names from the original import them anew."""
    own = [value for value in vars(original).values() if getattr(value, "__module__", None) == original.__name__]
    taken = {id(value) for value in [original, *own]}
    for name, module in list(sys.modules.items()):
        is_user = not taken.isdisjoint(map(id, vars(module).values())) and not name.startswith("portside")
        if is_user and module not in (original, ours):
            del sys.modules[name]


def _relabel(ours: ModuleType, standard: str) -> None:
    """Say of our public names what `test_all` expects of the module that it imports: that they are defined there."""
    for name in getattr(ours, "__all__", ()):
        if getattr(getattr(ours, name), "__module__", "").startswith("portside"):
            getattr(ours, name).__module__ = standard


def _run(suite: unittest.TestSuite) -> bool:
    temp_cwd = importlib.import_module("test.support.os_helper").temp_cwd
    with temp_cwd(quiet=True):
        result = unittest.TextTestRunner(verbosity=1).run(suite)
    return result.wasSuccessful() and result.testsRun > len(result.skipped)


def _demand_in_place(ours: dict[str, ModuleType]) -> None:
    for standard, module in ours.items():
        if sys.modules[standard] is not module:
            sys.exit(f"{standard} is not {module.__name__} any more, so these tests prove nothing")


if __name__ == "__main__":
    sys.exit(main())
