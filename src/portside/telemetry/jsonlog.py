"""Logs as JSON: a line a record, with the fields of the event that it tells of.

    {"time": "2026-02-01T12:00:00.250Z", "level": "INFO", "logger": "portside", "message": "127.0.0.1:5 was turned away:
    denied", "event": "ConnectionRefused", "client_address": "127.0.0.1:5", "reason": "denied"}

Any logger's records can be written so; those of Portside's events have the event's fields beside the sentence.
"""

import dataclasses
import json
import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from portside.addresses import address_text
from portside.telemetry.events import Event

# Fields of events that are no text for a log: an object with every header that a client has sent.
_LEFT_OUT = ("headers",)

_ADDRESSES = ("client_address", "address")

# What a record has by itself; whatever else it has was given as `extra`.
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "portside_event"}


class JSONFormatter(logging.Formatter):
    """Writes a record as one line of JSON, its time as RFC 3339 has it, in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = {
            "time": rfc3339(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **dict(_fields(getattr(record, "portside_event", None))),
            **{name: value for name, value in vars(record).items() if name not in _USUAL},
            **dict(self._traces(record)),
        }
        return json.dumps(line, default=str)

    def _traces(self, record: logging.LogRecord) -> Iterator[tuple[str, str]]:
        if record.exc_info and record.exc_info[0] is not None:
            yield "exception", self.formatException(record.exc_info)
        if record.stack_info:
            yield "stack_info", self.formatStack(record.stack_info)


def rfc3339(seconds: float) -> str:
    """A time of the clock, in UTC with milliseconds: `2026-02-01T12:00:00.250Z` (RFC 3339, section 5.6)."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(event: Event | None) -> Iterator[tuple[str, Any]]:
    if event is None:
        return
    yield "event", type(event).__name__
    server_address = getattr(event.server, "server_address", None)
    if server_address is not None:
        yield "server", address_text(server_address)
    for field in dataclasses.fields(event):
        if field.name != "server" and field.name not in _LEFT_OUT:
            yield field.name, _plain(field.name, getattr(event, field.name))


def _plain(name: str, value: Any) -> Any:
    """A field as JSON has it."""
    match value:
        case _ if name in _ADDRESSES:
            return address_text(value)
        case Enum():
            return value.value
        case BaseException():
            return repr(value)
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)


def attach_json(loggers: Iterable[str] = ("",)) -> logging.Handler:
    """Have loggers write JSON to stderr; nothing else that they did changes.

    Args:
        loggers: their names; the root logger where nobody says otherwise. One that has a handler already keeps to it,
            as `logging.basicConfig` leaves a program alone that has configured its own.

    Returns:
        The handler, which can be removed again.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter())
    for name in loggers:
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(handler)
    return handler
