"""Tasks beside the handlers: `spawn`."""

import contextvars
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec

from portside.core.driving import driver_here
from portside.core.waiting import running_hub

if TYPE_CHECKING:
    from portside.core.hub import Task

P = ParamSpec("P")


def spawn(function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> "Task":
    """Run `function(*args, **kwargs)` in a task of its own, beside the handlers, from the next turn on.

    May be called in a green handler, and where `embed` serves in the same thread. The task has a copy of the caller's
    context variables. What it raises goes to `threading.excepthook`, unless somebody asks for its `result()`. A task
    that still runs when the hub ends is killed.

    Returns:
        The task: `join(timeout)`, `result(timeout)`, `kill()`, `is_alive()`.

    Raises:
        RuntimeError: no hub runs in this thread.
    """
    work = functools.partial(function, *args, **kwargs)
    hub, driver = running_hub(), driver_here()
    if hub is not None:
        return hub.spawn(work, context=contextvars.copy_context())
    if driver is not None:
        return driver.spawn(work)
    raise RuntimeError(
        "portside.spawn() needs a hub that runs: call it in a green handler, or where portside.embed() serves in the "
        "same thread; elsewhere start a thread"
    )
