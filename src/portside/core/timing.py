"""Time in a task: `sleep`, and `timeout` for a block."""

import time
from typing import Any, Self

from portside.core.waiting import compiled, running_hub


def sleep(seconds: float) -> None:
    """Wait for some seconds: in a green handler the others run meanwhile, elsewhere the thread sleeps.

    Raises:
        ValueError: the time is negative.
    """
    if running_hub() is None:
        time.sleep(seconds)
    elif seconds < 0:
        raise ValueError("sleep length must be non-negative")
    else:
        compiled().sleep(seconds)


class Timeout:
    """What `timeout` makes.

    Attributes:
        seconds: as given.
        expired: True once the time has passed: tells in an `except TimeoutError` whose it is.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._timer: Any = None

    @property
    def expired(self) -> bool:
        """True once the time has passed."""
        return self._timer is not None and bool(self._timer.rang)

    def __enter__(self) -> Self:
        if running_hub() is None:
            raise RuntimeError(
                "portside.timeout() works in green handlers only, for a thread that waits cannot be interrupted: give "
                "the operation itself a timeout, or choose engine='green'"
            )
        if self.seconds is not None:
            error = TimeoutError(f"the block took longer than its {self.seconds:g} s")
            self._timer = compiled().Timer(max(0.0, self.seconds), error)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()


def timeout(seconds: float | None) -> Timeout:
    """A block that may take so long: `with portside.timeout(5): ...` raises TimeoutError where the block waits then.

    Blocks may be nested; each has an exception of its own. A block that computes is not interrupted before it waits,
    and one that ends without another wait has ended well.

    Args:
        seconds: from the beginning of the block; None for no limit.

    Returns:
        A context manager, whose `expired` tells in an `except TimeoutError` whether the time was this block's.

    Raises:
        RuntimeError: at the block's beginning, outside of green handlers: a thread that waits cannot be interrupted.
    """
    return Timeout(seconds)
