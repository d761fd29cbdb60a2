"""The fixtures of every suite that runs over all engines."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from portside.engines.asynchronous import new_event_loop
from tests.engines.instruments import Gate, Journal
from tests.engines.kit import KITS, Kit


@pytest.fixture(scope="session", autouse=True)
def warm() -> None:
    """The first loop of uvloop's opens a pipe that the process keeps."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(asyncio.sleep(0))


@pytest.fixture(params=KITS, ids=str)
def kit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kit:
    """Each engine in turn."""
    chosen = request.param
    assert isinstance(chosen, Kit)
    if chosen.hides:
        monkeypatch.setitem(sys.modules, chosen.hides, None)
    return chosen


@pytest.fixture
def journal() -> Iterator[Journal]:
    """A journal, which hears of every event of telemetry."""
    with closing(Journal()) as journal, journal.listen():
        yield journal


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate; it opens at the latest when the test is over."""
    with closing(Gate()) as gate:
        yield gate
