"""Runs the interpreter's own tests of `socket` with green sockets in the place of its sockets.

    python tests/core/own_tests.py [--in-tasks]

Each test, and the client that it starts in a thread, runs in plain threads, or with `--in-tasks` in tasks of two hubs.
Ends with 0 if every test passed but those of DEVIATIONS, and those failed.
"""

import argparse
import faulthandler
import importlib
import socket
import sys
import unittest
from collections.abc import Callable, Iterator
from typing import Any

from portside.core import hub
from portside.core.sockets import GreenSocket

SECONDS = 240  # for all of them; they take about 30

# Names of tests, and why they fail.
DEVIATIONS = {
    "testReadAfterTimeout": "a file goes on after a timeout: what was received is kept",
    "testWriteNonBlocking": "a file without a buffer sends all that it is given, or raises",
    "test_name_closed_socketio": "the repr of a compiled file names its own class",
    "testSendtoErrors": "too few arguments are told in other words",
    "testSetBlocking": "the descriptor never blocks, whatever setblocking() says",
    "testSetBlocking_overflow": "the same",
    "test_SOCK_NONBLOCK": "the same",
    "test_setblocking_invalidfd": "setblocking() asks the kernel for nothing, so it finds out nothing",
}
# Names of tests that are not run.
APART = {
    "ThreadedVSOCKSocketStreamTest": "hangs where the kernel has VSOCK without a hypervisor, with any socket",
}
APART_IN_TASKS = {
    "Interrupted": "what a signal handler raises is for the caller of hub.run(), not for the task that waits",
    "interrupted": "the same",
}


def main() -> int:
    """Run them, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in-tasks", action="store_true")
    in_tasks = parser.parse_args().in_tasks
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    apart = APART | (APART_IN_TASKS if in_tasks else {})
    names = [test for test in each(suite(in_tasks)) if not any(name in test.id() for name in apart)]
    result = unittest.TextTestRunner(verbosity=1).run(unittest.TestSuite(names))
    failed = {test.id().rpartition(".")[2] for test, _ in [*result.failures, *result.errors]}
    print("failed:", *sorted(failed))
    return 0 if failed == set(DEVIATIONS) and result.testsRun > 2 * len(result.skipped) else 1


def suite(in_tasks: bool) -> unittest.TestSuite:
    """The interpreter's tests, with our sockets."""
    vars(importlib.import_module("test.support")).update(verbose=0)
    module: Any = importlib.import_module("test.test_socket")
    module.HOST = "127.0.0.1"  # looking a name up starts a thread, which the tests would count as a leak
    vars(socket).update(socket=GreenSocket)
    if in_tasks:
        module.ThreadableTest.clientRun = in_task(module.ThreadableTest.clientRun)
        case: Any = unittest.TestCase
        case.run = in_task(case.run)
    return unittest.defaultTestLoader.loadTestsFromModule(module)


def in_task(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, in a task of a hub of its own."""
    return lambda *arguments: hub.run(function, *arguments)


def each(tests: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    """The tests of a suite and of those in it."""
    for test in tests:
        if isinstance(test, unittest.TestSuite):
            yield from each(test)
        else:
            yield test


if __name__ == "__main__":
    sys.exit(main())
