"""Logs as JSON: a line a record, whatever is in it."""

import json
import logging
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside import telemetry
from portside.telemetry import CloseReason
from portside.telemetry.jsonlog import JSONFormatter, attach_json, rfc3339
from portside.telemetry.logging import attach
from tests.test_telemetry import ACTIVITIES, TROUBLES

CLIENT = ("127.0.0.1", 5)


class Lines(logging.Handler):
    """Keeps what it is given, as JSON reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JSONFormatter())
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        assert "\n" not in text
        self.lines.append(json.loads(text))


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    logger, handler = logging.getLogger("portside"), Lines()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler.lines
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


def test_an_event_is_told_with_its_fields(lines: list[dict[str, Any]]) -> None:
    event = telemetry.ConnectionClosed(
        server=None, client_address=CLIENT, bytes_in=3, bytes_out=None, seconds=1.5, reason=CloseReason.CUT
    )
    with attach(verbose=True):
        telemetry.emit(event)
    [line] = lines
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "DEBUG",
        "logger": "portside",
        "message": "127.0.0.1:5 closed after 1.500 s: cut, 3 B in, ? out",
        "event": "ConnectionClosed",
        "client_address": "127.0.0.1:5",
        "bytes_in": 3,
        "bytes_out": None,
        "seconds": 1.5,
        "reason": "cut",
        "error": None,
    }


@pytest.mark.parametrize("event", [each[0] for each in [*TROUBLES, *ACTIVITIES]])
def test_every_event_has_its_line(event: telemetry.Event, lines: list[dict[str, Any]]) -> None:
    with attach(verbose=True):
        telemetry.emit(event)
    assert [line["event"] for line in lines] == [type(event).__name__]


def test_an_exception_is_told_with_its_traceback(lines: list[dict[str, Any]]) -> None:
    try:
        raise LookupError("no cheese")
    except LookupError as error:
        telemetry.emit(telemetry.HandlerFailed(server=None, client_address=CLIENT, error=error))
    [line] = lines
    assert line["error"] == "LookupError('no cheese')"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("LookupError: no cheese")


def test_what_a_program_adds_is_told(lines: list[dict[str, Any]]) -> None:
    logging.getLogger("portside.mine").warning("%s is %d", "it", 5, extra={"order": 7, "who": {"name": "Ada"}})
    [line] = lines
    assert (line["message"], line["logger"], line["order"], line["who"]) == (
        "it is 5",
        "portside.mine",
        7,
        {"name": "Ada"},
    )


def test_what_json_cannot_say_is_told_as_text(lines: list[dict[str, Any]]) -> None:
    logging.getLogger("portside").warning(
        "odd",
        extra={
            "odd": {
                1,
            },
            "stack": sys,
        },
    )
    [line] = lines
    assert line["odd"] == "{1}"


@given(st.text())
def test_no_text_breaks_the_line(text: str) -> None:
    record = logging.makeLogRecord({"msg": text, "levelname": "INFO"})
    written = JSONFormatter().format(record)
    assert json.loads(written)["message"] == text
    assert written.splitlines() == [written]


def test_times() -> None:
    assert rfc3339(0.25) == "1970-01-01T00:00:00.250Z"
    assert rfc3339(1_785_000_000) == "2026-07-25T17:20:00.000Z"


def test_a_logger_that_has_a_handler_keeps_to_it() -> None:
    logger = logging.getLogger("portside.tests.json")
    first, second = attach_json([logger.name]), attach_json([logger.name])
    assert logger.handlers == [first]
    logger.removeHandler(first)
    assert second is not first
