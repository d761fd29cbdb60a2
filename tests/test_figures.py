"""What a person reads of a snapshot: units, rates, trails."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.cli.figures import TRAIL, Trails, duration, headline, number, octets, plain, printable, row, sparkline


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (20_000, "20 KiB"), (5 << 40, "5.0 TiB"), (9 << 50, "9216 TiB")],
)
def test_octets(count: int, text: str) -> None:
    assert octets(count) == text


def test_octets_that_nobody_knows() -> None:
    assert octets(None) == "?"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0.0 ms"), (0.0001, "0.1 ms"), (0.25, "250 ms"), (59.94, "59.9 s"), (60, "1 min 0 s")),
        *((3599, "59 min 59 s"), (3600, "1 h 0 min"), (90_000, "1 d 1 h"), (9e6, "104 d 4 h")),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.5, "0.5"), (7, "7"), (12.6, "13"), (1234567, "1,234,567")])
def test_number(value: float, text: str) -> None:
    assert number(value) == text


@given(st.lists(st.floats(min_value=0, max_value=1e12)))
def test_sparkline_has_a_character_for_each(values: list[float]) -> None:
    drawn = sparkline(values)
    assert len(drawn) == len(values)
    if values and max(values) > 0:
        assert drawn[values.index(max(values))] == "█"


@given(st.text())
def test_nothing_that_a_terminal_obeys(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)


def snapshot(time: float, opened: int) -> dict[str, Any]:
    samples = [["portside_connections_opened_total", {"endpoint": each}, opened] for each in ("a", "b")]
    return {"time": time, "processes": [], "metrics": samples}


def test_rates() -> None:
    trails = Trails()
    for seconds, opened in ((0, 100), (2, 110), (3, 110), (4, 0)):
        trails.add(snapshot(seconds, opened))
    assert trails.rows() == [("new/s", "0", "▁█▁▁")]


def test_trails_have_a_length() -> None:
    trails = Trails()
    for look in range(2 * TRAIL):
        trails.add(snapshot(look, look))
    assert len(trails.rows()[0][2]) == TRAIL


def process(**fields: Any) -> dict[str, Any]:
    connection = {"peer": "a\x1b[2J", "age": 1.5, "received": None, "sent": 5, "state": "open", "at": "x.py:1 f"}
    server = {"endpoint": "tcp://127.0.0.1:1", "engine": "green", "connections": [connection]}
    return {"pid": 1, "state": "serving", "uptime": 5.0, "servers": [server], **fields}


def test_headline() -> None:
    told = {"processes": [process(), process(state="paused"), {"pid": 3, "error": "stuck"}]}
    assert headline(told) == "paused, serving · 2 processes, up 5.0 s · tcp://127.0.0.1:1 (green)"
    assert headline({"processes": []}) == "no process answers"


def test_a_row_cannot_move_the_cursor() -> None:
    assert row(process()["servers"][0]["connections"][0]) == ("a?[2J", "1.5 s", "?", "5 B", "open", "x.py:1 f")


def test_plain() -> None:
    text = plain({"processes": [process()]}, [("open", "1", "█")])
    assert text.splitlines()[2] == "open                   1"
    assert text.splitlines()[-1].split() == ["a?[2J", "1.5", "s", "?", "5", "B", "open", "x.py:1", "f"]
