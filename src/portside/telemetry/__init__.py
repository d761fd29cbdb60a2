"""What happened: events, and who listens to them.

The core emits plain dataclasses and never logs or prints. Logging is the first subscriber, and every other (metrics,
traces, a test) subscribes in the same way:

    from portside import telemetry

    with telemetry.subscribe(print, telemetry.ConnectionOpened, telemetry.ConnectionClosed):
        ...
"""

from portside.telemetry.bus import Subscription, emit, subscribe
from portside.telemetry.events import (
    AcceptPaused,
    AcceptResumed,
    CloseReason,
    ConnectionClosed,
    ConnectionOpened,
    ConnectionRefused,
    DatagramTruncated,
    DatagramUnsent,
    DrainFinished,
    DrainStarted,
    Event,
    HandlerFailed,
    HandOverFailed,
    HandOverFinished,
    HandOverStarted,
    HeaderLookup,
    HubBlocked,
    ProcessRole,
    RefusalReason,
    ReloadFailed,
    ReloadFinished,
    ReloadStarted,
    RequestServed,
    ScriptFailed,
    ServerStarted,
    ServerStopped,
    WorkerExited,
    WorkerFailed,
    WorkerReady,
    WorkerRestarted,
    WorkerStarted,
    WorkerWorn,
)

__all__ = [
    "AcceptPaused",
    "AcceptResumed",
    "CloseReason",
    "ConnectionClosed",
    "ConnectionOpened",
    "ConnectionRefused",
    "DatagramTruncated",
    "DatagramUnsent",
    "DrainFinished",
    "DrainStarted",
    "Event",
    "HandOverFailed",
    "HandOverFinished",
    "HandOverStarted",
    "HandlerFailed",
    "HeaderLookup",
    "HubBlocked",
    "ProcessRole",
    "RefusalReason",
    "ReloadFailed",
    "ReloadFinished",
    "ReloadStarted",
    "RequestServed",
    "ScriptFailed",
    "ServerStarted",
    "ServerStopped",
    "Subscription",
    "WorkerExited",
    "WorkerFailed",
    "WorkerReady",
    "WorkerRestarted",
    "WorkerStarted",
    "WorkerWorn",
    "emit",
    "subscribe",
]
