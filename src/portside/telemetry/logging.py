"""Logging as a subscriber: one table says which event is told at which level and in which words.

`attach()` is called when `portside` is imported, so that a program which configures nothing still reads of its
handlers' bugs on stderr (the `logging` module's last resort), and one that configures logging gets records of the
logger `portside`. What is no trouble (connections, starts, drains) is told on request, `attach(verbose=True)`: it costs
a record a client, and an accept loop that logged while all is well could wait for a log handler which waits for that
very server (a program may send its logs to itself: the standard library's tests do).
"""

import logging
from collections.abc import Callable
from typing import Any

from portside.addresses import address_text
from portside.telemetry import events
from portside.telemetry.bus import Subscription, subscribe

_logger = logging.getLogger("portside")

# What the log calls a process.
_PROCESS = {
    events.ProcessRole.HANDLER: "the handler's process",
    events.ProcessRole.WORKER: "the worker",
    events.ProcessRole.ADMIN: "the admin endpoint's process",
}

_Row = tuple[int, Callable[[Any], str]]

TROUBLE: dict[type[events.Event], _Row] = {
    events.HandlerFailed: (
        logging.ERROR,
        lambda e: f"the handler of {address_text(e.client_address)} raised {e.error!r}",
    ),
    events.AcceptPaused: (
        logging.WARNING,
        lambda e: (
            f"accepting pauses for {e.seconds:.3g} s: {e.error} (raise the limit with `ulimit -n`, or serve fewer)"
        ),
    ),
    events.AcceptResumed: (logging.WARNING, lambda _: "accepting again"),
    events.HubBlocked: (
        logging.WARNING,
        lambda e: (
            f"a handler has kept everybody waiting for {e.seconds:.3g} s: have portside.offload(fn, ...) run what takes"
            f" so long in a thread, or choose engine='threads'. It is here:\n{e.stack.rstrip()}"
        ),
    ),
    events.DatagramUnsent: (
        logging.WARNING,
        lambda e: f"the answer to {address_text(e.client_address)} could not be sent: {e.error}",
    ),
    events.DatagramTruncated: (
        logging.WARNING,
        lambda e: f"a datagram from {address_text(e.client_address)} was cut at {e.limit} B (raise max_packet_size)",
    ),
    events.CertificateRejected: (
        logging.WARNING,
        lambda e: f"the certificates' files have changed and cannot be used, the ones before stay: {e.error}",
    ),
    events.WorkerExited: (logging.ERROR, lambda e: f"{_PROCESS[e.role]} {e.pid} ended with {e.exit_code}"),
    events.WorkerFailed: (logging.ERROR, lambda e: f"the worker {e.pid} could not start: {e.reason}"),
    events.WorkerRestarted: (
        logging.WARNING,
        lambda e: f"a worker is started in its place{f' in {e.seconds:.3g} s' if e.seconds else ''}",
    ),
    events.ReloadFailed: (
        logging.ERROR,
        lambda e: f"the reload has failed, and the workers that there were go on: {e.error}",
    ),
    events.HandOverFailed: (
        logging.ERROR,
        lambda e: f"the new version, process {e.pid}, has not taken over, and this one goes on: {e.error}",
    ),
}

ACTIVITY: dict[type[events.Event], _Row] = {
    events.ConnectionRefused: (
        logging.INFO,
        lambda e: f"{address_text(e.client_address)} was turned away: {e.reason}",
    ),
    events.DrainStarted: (logging.INFO, lambda e: f"draining {e.running} handlers, at most {e.seconds:.3g} s"),
    events.DrainFinished: (
        logging.INFO,
        lambda e: f"drained: {e.cut} connections cut, {e.abandoned} handlers abandoned",
    ),
    events.CertificateReloaded: (logging.INFO, lambda _: "new handshakes use the certificates' files as they are now"),
    events.WorkerStarted: (logging.INFO, lambda e: f"the worker {e.pid} starts"),
    events.WorkerReady: (logging.INFO, lambda e: f"the worker {e.pid} is ready after {e.seconds:.3g} s"),
    events.WorkerWorn: (logging.INFO, lambda e: f"the worker {e.pid} is replaced: {e.reason}"),
    events.ReloadStarted: (logging.INFO, lambda e: f"replacing {e.workers} workers, one by one"),
    events.ReloadFinished: (logging.INFO, lambda e: f"the workers were replaced in {e.seconds:.3g} s"),
    events.HandOverStarted: (logging.INFO, lambda e: f"the new version starts as process {e.pid}"),
    events.HandOverFinished: (logging.INFO, lambda e: f"the new version, process {e.pid}, has taken over"),
    events.ServerStarted: (logging.INFO, lambda e: f"serving at {address_text(e.address)}"),
    events.ServerStopped: (logging.INFO, lambda e: f"stopped serving at {address_text(e.address)}"),
    events.ScriptFailed: (logging.ERROR, lambda e: f"the CGI script {e.script!r} {_ending(e)}"),
    events.RequestServed: (
        logging.DEBUG,
        lambda e: (
            f"{address_text(e.client_address)} was answered {e.status} to {e.request_line!r} in {e.seconds:.3f} s, "
            f"{_count(e.bytes_out)}"
        ),
    ),
    events.ConnectionOpened: (logging.DEBUG, lambda e: f"{address_text(e.client_address)} connected"),
    events.ConnectionClosed: (
        logging.DEBUG,
        lambda e: (
            f"{address_text(e.client_address)} closed after {e.seconds:.3f} s: {e.reason}, "
            f"{_count(e.bytes_in)} in, {_count(e.bytes_out)} out"
        ),
    ),
}


def _count(octets: int | None) -> str:
    return "?" if octets is None else f"{octets} B"


def _ending(failed: events.ScriptFailed) -> str:
    """What there is to say of a script: why it is told of, how it ended, its last words."""
    ended = "" if failed.exit_code is None else f"ended with {failed.exit_code}"
    said = f"its last words: {failed.errors.strip()!r}" if failed.errors.strip() else ""
    return "; ".join(filter(None, (failed.reason, ended, said)))


def _log(event: events.Event) -> None:
    level, sentence = TROUBLE.get(type(event)) or ACTIVITY[type(event)]
    if _logger.isEnabledFor(level):
        error = event.error if isinstance(event, events.HandlerFailed) else None
        _logger.log(level, "%s", sentence(event), exc_info=error, extra={"portside_event": event})


def attach(*, verbose: bool = False) -> Subscription:
    """Log trouble; with `verbose`, what is no trouble instead: starts, drains, each connection.

    Returns:
        The subscription: `cancel()` it to silence Portside's logging altogether.
    """
    return subscribe(_log, *(ACTIVITY if verbose else TROUBLE))
