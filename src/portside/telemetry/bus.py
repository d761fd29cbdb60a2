"""Who listens to which event: subscribe, emit.

The registry is the event classes themselves (see `events`), for the whole process: every event names its server, so
that a subscriber of one server's events compares `event.server`.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any, Self

from portside.telemetry.events import Event

_changes = threading.Lock()  # subscribing is rare; emitting reads an immutable tuple and takes no lock


class Subscription:
    """What `subscribe` returns: `cancel()` it, or use it as a context manager."""

    def __init__(self, subscriber: Callable[[Any], None], types: tuple[type[Event], ...]) -> None:
        self._subscriber = subscriber
        self._types = types

    def cancel(self) -> None:
        """Stop the events; a second call does nothing."""
        with _changes:
            for event_type in self._types:
                kept = list(event_type.subscribers)
                kept.remove(self._subscriber)
                event_type.subscribers = tuple(kept)
            self._types = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.cancel()


def subscribe(subscriber: Callable[[Any], None], *types: type[Event]) -> Subscription:
    """Call `subscriber(event)` for every event of the types given (all types where none is given).

    The call happens in the thread, and for the forks engine in the process, where the event happened; a subscriber
    that may be called from several threads must expect that. What it raises is logged and goes no further.

    Args:
        subscriber: any callable of one argument.
        types: event classes of `portside.telemetry`.

    Returns:
        A `Subscription`, for `cancel()` or a `with` statement.
    """
    chosen = types or tuple(Event.__subclasses__())
    with _changes:
        for event_type in chosen:
            event_type.subscribers = (*event_type.subscribers, subscriber)
    return Subscription(subscriber, chosen)


def emit(event: Event) -> None:
    """Give `event` to its subscribers. A subscriber's exception is logged: watching must not end what is watched."""
    for subscriber in event.subscribers:
        try:
            subscriber(event)
        except Exception:
            logging.getLogger("portside.telemetry").exception("a telemetry subscriber raised on %r", event)
