"""The suite's own instruments: what they miss, every engine's tests would miss."""

import inspect
import os
from types import ModuleType

import pytest

from portside import telemetry
from tests.engines import blocking, coroutines
from tests.engines.instruments import Gate, Journal, by_process
from tests.engines.kit import KITS, SCHEMES

pytestmark = pytest.mark.usefixtures("no_leaks")


def scenarios(module: ModuleType) -> set[str]:
    return {name for name, value in vars(module).items() if inspect.getmodule(value) is module}


def test_both_kinds_of_handlers_know_the_same_scenarios() -> None:
    assert scenarios(blocking) == scenarios(coroutines)


def test_every_kit_serves_every_transport() -> None:
    assert [set(kit.servers) for kit in KITS] == [set(SCHEMES)] * len(KITS)


def test_journal_keeps_the_order_of_several_processes(journal: Journal) -> None:
    journal.note("first")
    if (child := os.fork()) == 0:
        journal.note("second")
        os._exit(0)
    os.waitpid(child, 0)
    journal.note("third", client_address=("127.0.0.1", 1))
    assert journal.next("third").client_address == ["127.0.0.1", 1]
    assert [entry.kind for entry in journal.all()] == ["first", "second", "third"]
    assert [(ours, len(entries)) for ours, entries in by_process(journal.all())] == [(True, 2), (False, 1)]


def test_journal_hears_events(journal: Journal) -> None:
    telemetry.emit(telemetry.HandlerFailed(server=None, client_address="", error=KeyError()))
    assert journal.next("HandlerFailed").fields == {"client_address": "", "error": "KeyError"}
    with pytest.raises(AttributeError):
        _ = journal.all()[0].reason


def test_gate_lets_everybody_pass_once_it_is_open(gate: Gate) -> None:
    gate.open()
    gate.wait()
    gate.wait()
