"""Where functions run side by side: in tasks of one hub, in threads, or each in a task of a hub of its own."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conftest import DEADLINE, wait_until

hub = pytest.importorskip("portside.core.hub", reason="the core is not compiled")

Functions = Callable[[], Any]
Place = Callable[..., list[Any]]


def in_tasks(*functions: Functions) -> list[Any]:
    """In tasks of one hub, the first one first."""

    def main() -> list[Any]:
        tasks = [hub.running_hub().spawn(function) for function in functions]
        return [task.result(DEADLINE) for task in tasks]

    results: list[Any] = hub.run(main)
    return results


def in_threads(*functions: Functions) -> list[Any]:
    """In threads."""
    with ThreadPoolExecutor(len(functions)) as threads:
        return [future.result(DEADLINE) for future in [threads.submit(function) for function in functions]]


def in_hubs(*functions: Functions) -> list[Any]:
    """In tasks of as many hubs, in as many threads."""
    with ThreadPoolExecutor(len(functions)) as threads:
        return [future.result(DEADLINE) for future in [threads.submit(hub.run, function) for function in functions]]


everywhere = pytest.mark.parametrize("place", [in_tasks, in_threads, in_hubs])


def until(condition: Callable[[], bool]) -> None:
    """Look until the condition holds, wherever; gives way to the other tasks meanwhile."""
    if hub.running_hub() is None:
        assert wait_until(condition, DEADLINE)
        return
    timer = hub.Timer(DEADLINE)
    try:
        while not condition():
            assert not timer.rang
            hub.sleep(0.001)
    finally:
        timer.cancel()
