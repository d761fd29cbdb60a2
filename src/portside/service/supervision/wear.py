"""When a worker has had its share: it counts connections, looks at its memory, and says so once."""

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from portside.service.workers import Workers
from portside.telemetry import ConnectionOpened, Subscription, subscribe

# Seconds between two looks at the memory: a leak takes minutes.
LOOK_SECONDS = 1.0

# How much more than the limit a worker takes, at most, as a share of it: workers that started together must not be
# replaced together (gunicorn's max_requests_jitter).
JITTER = 0.1

_STATM = Path("/proc/self/statm")  # pages: size, resident, shared, ... (proc(5))


class Wear:
    """Watches its own process, within a `with` block.

    Args:
        limits: what a worker may have.
        worn: called once with the reason, in whichever thread has noticed.
    """

    def __init__(self, limits: Workers, worn: Callable[[str], object]) -> None:
        self._limits = limits
        self._worn = worn
        self._told = False
        self._count = 0
        self._most = _with_jitter(limits.max_connections_per_worker)
        self._subscription: Subscription | None = None
        self._over = threading.Event()

    def __enter__(self) -> Self:
        if self._most is not None:
            self._subscription = subscribe(self._opened, ConnectionOpened)
        if self._limits.max_memory is not None and _STATM.exists():
            threading.Thread(target=self._watch_memory, name="portside-memory", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._subscription is not None:
            self._subscription.cancel()

    def _opened(self, _: ConnectionOpened) -> None:
        self._count += 1
        if self._most is not None and self._count >= self._most:
            self._tell(f"it has served {self._count} connections")

    def _watch_memory(self) -> None:
        most = self._limits.max_memory or 0
        while not self._over.wait(LOOK_SECONDS):
            if (used := own_memory()) > most:
                self._tell(f"it has {used / 1024**2:.0f} MiB of memory")
                return

    def _tell(self, reason: str) -> None:
        if not self._told:
            self._told = True
            self._worn(reason)


def own_memory() -> int:
    """Bytes of this process's memory that it shares with nobody, roughly: resident less shared pages."""
    _, resident, shared, *_ = map(int, _STATM.read_text(encoding="ascii").split())
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def _with_jitter(limit: int | None) -> int | None:
    return None if limit is None else limit + random.randint(0, int(limit * JITTER))
