"""How many workers serve, and when one of them is replaced: configuration, checked in full before anything binds."""

import os
from dataclasses import dataclass
from typing import Any, Literal, get_args

Balance = Literal["shared", "reuseport"]


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The worker processes of a service.

    Attributes:
        count: how many at first; SIGTTIN and SIGTTOU change it. One is a worker with a supervisor: it is restarted
            when it crashes, and replaced in a reload.
        balance: "shared": all workers accept from one queue, so that a worker at work leaves clients to those that
            are not. "reuseport": TCP and UDP endpoints have a queue for each worker, and the kernel deals clients out
            by a hash of their address (Linux socket(7), SO_REUSEPORT); a client behind a busy worker waits for it.
        max_connections_per_worker: connections after which a worker is replaced by a fresh one, a little more for each
            in turn so that they do not go together; None is no limit. For programs that leak (gunicorn's max_requests).
        max_memory: bytes of memory of its own (resident, without what it shares) after which a worker is replaced;
            None is no limit. Linux only.
        start_timeout: seconds that a worker has to get ready; one that takes longer is taken to hang. 60 as systemd's
            and twice gunicorn's, for applications that load for long.

    Raises:
        ValueError: a field has a value that it cannot have.
    """

    count: int = 2
    balance: Balance = "shared"
    max_connections_per_worker: int | None = None
    max_memory: int | None = None
    start_timeout: float = 60.0

    def __post_init__(self) -> None:
        if not hasattr(os, "fork"):
            raise ValueError("workers need os.fork(), which this system lacks: leave them out")
        _check_count("workers", self.count)
        for name in ("max_connections_per_worker", "max_memory"):
            if getattr(self, name) is not None:
                _check_count(name, getattr(self, name))
        if self.balance not in get_args(Balance):
            raise ValueError(f"balance={self.balance!r} is none of {', '.join(map(repr, get_args(Balance)))}")
        if not (isinstance(self.start_timeout, int | float) and 0 < self.start_timeout <= _DAY):
            raise ValueError(f"start_timeout={self.start_timeout!r} must be a number of seconds above 0, a day at most")

    @classmethod
    def of(cls, wanted: Any) -> "Workers | None":
        """What `workers=` may be: a number, a `Workers`, or None for a service without a supervisor.

        Raises:
            ValueError: it is something else.
        """
        return wanted if wanted is None or isinstance(wanted, cls) else cls(count=wanted)


_DAY = 86_400.0


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not (isinstance(value, int) and value >= 1):
        raise ValueError(f"{name}={value!r} must be a whole number from 1 on")
