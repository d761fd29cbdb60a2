"""From snapshots to what a person reads: rates, trails of the last minute, a line for each connection. No terminal."""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Snapshot = Mapping[str, Any]

# Looks that a sparkline shows.
TRAIL = 40

_BLOCKS = "▁▂▃▄▅▆▇█"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def octets(count: float | None) -> str:
    """`1.5 KiB`; a question mark for what nobody knows."""
    if count is None:
        return "?"
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.1f} {_UNITS[unit]}" if unit and count < 10 else f"{count:.0f} {_UNITS[unit]}"


def number(value: float) -> str:
    """`12,345`; with a digit behind the point below ten."""
    return f"{value:.1f}" if 0 < value < 10 and value != int(value) else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """`0.2 ms`, `250 ms`, `4.2 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`."""
    if seconds < 1:
        return f"{seconds * 1000:.{1 if seconds < 0.01 else 0}f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    large, small, _ = next(each for each in _CLOCK if seconds < each[2])
    whole = int(seconds)
    return f"{whole // large[0]} {large[1]} {whole % large[0] // small[0]} {small[1]}"


_SECOND, _MINUTE, _HOUR, _DAY = (1, "s"), (60, "min"), (3600, "h"), (86_400, "d")
_CLOCK = ((_MINUTE, _SECOND, 3600), (_HOUR, _MINUTE, 86_400), (_DAY, _HOUR, math.inf))


def sparkline(values: Iterable[float]) -> str:
    """A character for each value, as tall as its share of the largest."""
    shown = list(values)
    most = max(shown, default=0.0)
    if most <= 0:
        return _BLOCKS[0] * len(shown)
    return "".join(_BLOCKS[min(len(_BLOCKS) - 1, int(value / most * len(_BLOCKS)))] for value in shown)


def total(snapshot: Snapshot, name: str) -> float | None:
    """A metric over all its labels; None where there is none of that name."""
    values: list[float] = [sample[2] for sample in snapshot["metrics"] if sample[0] == name]
    return float(sum(values)) if values else None


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure to show.

    Attributes:
        title: its name.
        metric: where it comes from.
        rate: whether its change a second counts, and not its value.
        write: how it is written.
    """

    title: str
    metric: str
    rate: bool = False
    write: Any = number


FIGURES = (
    Figure(title="open", metric="portside_connections_open"),
    Figure(title="new/s", metric="portside_connections_opened_total", rate=True),
    Figure(title="requests/s", metric="portside_http_requests_total", rate=True),
    Figure(title="in/s", metric="portside_received_bytes_total", rate=True, write=octets),
    Figure(title="out/s", metric="portside_sent_bytes_total", rate=True, write=octets),
    Figure(title="refused/s", metric="portside_connections_refused_total", rate=True),
    Figure(title="waiting", metric="portside_accept_queue_connections"),
    Figure(title="failures", metric="portside_handler_failures_total"),
    Figure(title="hub lag", metric="portside_hub_lag_seconds", write=duration),
    Figure(title="memory", metric="portside_process_resident_memory_bytes", write=octets),
)


class Trails:
    """The last looks at every figure."""

    def __init__(self) -> None:
        self._before: Snapshot | None = None
        self._kept: dict[str, deque[float]] = {}

    def add(self, snapshot: Snapshot) -> None:
        """Note one look."""
        for figure in FIGURES:
            value = self._value(figure, snapshot)
            if value is not None:
                self._kept.setdefault(figure.metric, deque(maxlen=TRAIL)).append(value)
        self._before = snapshot

    def _value(self, figure: Figure, snapshot: Snapshot) -> float | None:
        now = total(snapshot, figure.metric)
        if now is None or not figure.rate:
            return now
        if self._before is None:
            return 0.0
        seconds: float = max(0.1, snapshot["time"] - self._before["time"])
        return max(0.0, now - (total(self._before, figure.metric) or 0.0)) / seconds

    def rows(self) -> list[tuple[str, str, str]]:
        """Title, value and sparkline of each figure that there is."""
        return [
            (figure.title, figure.write(kept[-1]), sparkline(kept))
            for figure in FIGURES
            if (kept := self._kept.get(figure.metric))
        ]


def living(snapshot: Snapshot) -> list[Mapping[str, Any]]:
    """The processes that have answered."""
    return [process for process in snapshot["processes"] if "error" not in process]


def servers(snapshot: Snapshot) -> list[Mapping[str, Any]]:
    """Every server of every process."""
    return [server for process in living(snapshot) for server in process["servers"]]


def connections(snapshot: Snapshot) -> list[Mapping[str, Any]]:
    """Every connection that was told of, the oldest first."""
    told = [connection for server in servers(snapshot) for connection in server["connections"]]
    return sorted(told, key=lambda connection: -float(connection["age"]))


def headline(snapshot: Snapshot) -> str:
    """What is served and how it is, in a line."""
    processes = living(snapshot)
    if not processes:
        return "no process answers"
    states = ", ".join(sorted({process["state"] for process in processes}))
    endpoints = ", ".join(sorted({f"{server['endpoint']} ({server['engine']})" for server in servers(snapshot)}))
    count = f"{len(processes)} process" + ("es" if len(processes) > 1 else "")
    return f"{states} · {count}, up {duration(max(process['uptime'] for process in processes))} · {endpoints}"


COLUMNS = ("client", "age", "in", "out", "state", "handler")


def row(connection: Mapping[str, Any]) -> tuple[str, ...]:
    """The cells of one connection."""
    cells = (
        connection["peer"],
        duration(connection["age"]),
        octets(connection["received"]),
        octets(connection["sent"]),
        connection["state"],
        connection["at"],
    )
    return tuple(map(printable, cells))


def printable(text: str) -> str:
    """Without characters that a terminal obeys: a client may bind to any name."""
    return "".join(each if each.isprintable() else "?" for each in text)


def plain(snapshot: Snapshot, rows: list[tuple[str, str, str]]) -> str:
    """All of it as lines of text."""
    table = [COLUMNS, *map(row, connections(snapshot))]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in table
    ]
    figures = [f"{title:<12}{value:>12}" for title, value, _ in rows]
    return "\n".join([printable(headline(snapshot)), "", *figures, "", *lines])
