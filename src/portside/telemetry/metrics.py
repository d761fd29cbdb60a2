"""Metrics by Prometheus' conventions: a table of what there is, and who counts it.

A process counts in a `Meter` and gives a snapshot, which is plain JSON: a list of samples `[name, labels, value]`.
Snapshots of several processes are added up by whoever reads them (see `exposition`), so that no process writes into a
file or a memory of another's, and the hot path knows nothing of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from portside.telemetry import events
from portside.telemetry.bus import subscribe
from portside.telemetry.notes import together
from portside.telemetry.tally import Tally

Sample = list[Any]  # [name, {label: value}, number or histogram]: JSON has no tuples


@dataclass(frozen=True, kw_only=True)
class Family:
    """One metric.

    Attributes:
        kind: "counter", "gauge" or "histogram".
        labels: what tells its samples apart.
        help: what it is, in a sentence; a line of the exposition.
        merge: how the samples of several processes become one: "sum" or "max".
    """

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ("endpoint",)
    merge: Literal["sum", "max"] = "sum"


FAMILIES: Mapping[str, Family] = {
    "portside_connections_open": Family(kind="gauge", help="Connections that are open."),
    "portside_connections_opened_total": Family(kind="counter", help="Connections that were accepted."),
    "portside_connections_closed_total": Family(
        kind="counter", labels=("endpoint", "reason"), help="Connections that have ended, by CloseReason."
    ),
    "portside_connections_refused_total": Family(
        kind="counter",
        labels=("endpoint", "reason"),
        help="Clients that were turned away before a handler saw them, by RefusalReason.",
    ),
    "portside_received_bytes_total": Family(kind="counter", help="Bytes that TCP connections received."),
    "portside_sent_bytes_total": Family(kind="counter", help="Bytes that TCP connections sent."),
    "portside_handler_seconds": Family(
        kind="histogram", help="Seconds from a connection's accept to its close: what its handler took."
    ),
    "portside_handlers_running": Family(kind="gauge", help="Handlers that run beside the accept loop."),
    "portside_handler_failures_total": Family(
        kind="counter", help="Handlers that raised: bugs, not clients that left."
    ),
    "portside_accepting": Family(
        kind="gauge", help="Accept loops that accept; less than portside_processes while one is paused or drains."
    ),
    "portside_accept_pauses_total": Family(
        kind="counter", help="Times that accepting stopped for want of descriptors or memory."
    ),
    "portside_accept_queue_connections": Family(
        kind="gauge", help="Connections that wait in the system's queue to be accepted (TCP)."
    ),
    "portside_accept_queue_limit_connections": Family(
        kind="gauge", help="Connections that the system's queue holds at most (TCP)."
    ),
    "portside_hub_lag_seconds": Family(
        kind="gauge", merge="max", help="How late the hub or event loop came to a call, just now; the worst process."
    ),
    "portside_hub_blocked_total": Family(
        kind="counter", help="Times that a green handler kept the hub for longer than hub_patience."
    ),
    "portside_http_requests_total": Family(
        kind="counter",
        labels=("endpoint", "method", "status"),
        help="HTTP requests that were answered, by method and class of status.",
    ),
    "portside_http_request_seconds": Family(
        kind="histogram", help="Seconds from an HTTP request's first line to the end of its answer."
    ),
    "portside_datagrams_truncated_total": Family(
        kind="counter", help="Datagrams that were longer than max_packet_size."
    ),
    "portside_datagrams_unsent_total": Family(kind="counter", help="Answers that could not be sent as a datagram."),
    "portside_child_crashes_total": Family(
        kind="counter", help="Handlers' processes (engine forks) that ended in another way than by returning."
    ),
    "portside_worker_restarts_total": Family(
        kind="counter", labels=(), help="Worker processes that were started in the place of one that had ended."
    ),
    "portside_processes": Family(kind="gauge", labels=(), help="Processes that serve."),
    "portside_process_cpu_seconds_total": Family(
        kind="counter", labels=(), help="Processor time of the processes that serve, user and system."
    ),
    "portside_process_resident_memory_bytes": Family(
        kind="gauge", labels=(), help="Resident memory of the processes that serve."
    ),
    "portside_process_open_fds": Family(
        kind="gauge", labels=(), help="Open file descriptors of the processes that serve."
    ),
}

# Rare events, each counted by name where it happens; those with a reason by that, too.
COUNTED: Mapping[type[events.Event], str] = {
    events.ConnectionRefused: "portside_connections_refused_total",
    events.HandlerFailed: "portside_handler_failures_total",
    events.AcceptPaused: "portside_accept_pauses_total",
    events.HubBlocked: "portside_hub_blocked_total",
    events.DatagramTruncated: "portside_datagrams_truncated_total",
    events.DatagramUnsent: "portside_datagrams_unsent_total",
    events.WorkerExited: "portside_child_crashes_total",
}


class Meter:
    """Counts what the servers of a process do: a tally for each, and a subscription of rare events.

    Resource handling: a subscription, and a pipe for each server, from construction to `close()`.
    """

    def __init__(self) -> None:
        self._tallies: dict[object, tuple[str, Tally]] = {}
        self._subscription = subscribe(self._count, *COUNTED)

    def watch(self, server: Any, endpoint: str) -> Tally:
        """Count what a server does from now on.

        Args:
            server: a server object; what other servers of the process do is not counted.
            endpoint: its name, a label of its samples.
        """
        tally = Tally(server._portside.transport.notes)
        self._tallies[server] = (endpoint, tally)
        server._portside.transport.tally = tally
        return tally

    def snapshot(self) -> list[Sample]:
        """What was counted so far, as samples."""
        return [sample for endpoint, tally in list(self._tallies.values()) for sample in _samples(endpoint, tally)]

    def close(self) -> None:
        """Count no more; a second call does nothing."""
        self._subscription.cancel()
        for server, (_, tally) in self._tallies.items():
            _take_away(server, tally)
            tally.close()
        self._tallies.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _count(self, event: events.Event) -> None:
        found = self._tallies.get(event.server)
        if found is not None:
            found[1].count_event(COUNTED[type(event)], reason_text(getattr(event, "reason", "")))


def reason_text(reason: Any) -> str:
    """A reason as a label says it: `client_left`."""
    return getattr(reason, "name", str(reason)).lower()


def _take_away(server: Any, tally: Tally) -> None:
    if server._portside.transport.tally is tally:
        server._portside.transport.tally = None


def _samples(endpoint: str, tally: Tally) -> list[Sample]:
    """Every sample of one server that is a count."""
    tally.settle()
    here = {"endpoint": endpoint}
    ended = {reason: notes.read() for reason, notes in list(tally.endings.items())}
    found: list[Sample] = [
        ["portside_connections_opened_total", here, tally.opened],
        ["portside_received_bytes_total", here, sum(each.received for each in ended.values())],
        ["portside_sent_bytes_total", here, sum(each.sent for each in ended.values())],
        ["portside_handler_seconds", here, together(ended.values()).snapshot()],
    ]
    for reason, noted in ended.items():
        if count := sum(noted.counts):
            found.append(["portside_connections_closed_total", here | {"reason": reason_text(reason)}, count])
    for (name, reason), count in list(tally.events.items()):
        found.append([name, here | ({"reason": reason} if reason else {}), count])
    return found + _requests(here, tally)


def _requests(here: dict[str, str], tally: Tally) -> list[Sample]:
    """Samples of HTTP, where there was any."""
    answered = {kind: notes.read() for kind, notes in list(tally.durations.items())}
    found = [
        ["portside_http_requests_total", here | {"method": method, "status": f"{status // 100}xx"}, sum(noted.counts)]
        for (method, status), noted in answered.items()
    ]
    return [*found, ["portside_http_request_seconds", here, together(answered.values()).snapshot()]] if found else []
