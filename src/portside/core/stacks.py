"""Where every task stands: what to print when a server hangs."""

import reprlib
import signal
import sys
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from portside.core.hub import Hub, Task

# Arguments are shown in part: the beginning of a socket's text has its addresses.
_shorten = reprlib.Repr()
_shorten.maxother = _shorten.maxstring = 160


def dump(file: TextIO | None = None) -> None:
    """Print the stack of every green task of this process; from any thread, also while a hub is blocked.

    Args:
        file: where to; None is `sys.stderr`.
    """
    text = "".join(f"{line}\n" for hub in _hubs() for line in _described(hub))
    print(text or "no green tasks\n", end="", file=file or sys.stderr, flush=True)


def dump_on_signal(number: int | None = None) -> None:
    """Print the stack of every green task whenever this process gets a signal: `kill -USR1 PID`.

    From the main thread only; a handler that the program had for the signal is replaced.

    Args:
        number: the signal; None is SIGUSR1.
    """
    signal.signal(signal.SIGUSR1 if number is None else number, lambda _number, _frame: dump())


def _hubs() -> "list[Hub]":
    compiled: Any = sys.modules.get("portside.core.hub")  # where nobody has imported it, there are no tasks
    return [] if compiled is None else list(compiled._every_hub)


def _described(hub: "Hub") -> Iterator[str]:
    tasks = hub.tasks()
    if tasks:
        yield f"hub of thread {hub.thread}, {'asleep' if hub.idle else 'at work'}: {len(tasks)} tasks"
    for task in tasks:
        yield ""
        yield f"{_call(task)}, {_state(hub, task)}:"
        yield from _lines(task.outer_frame)
        yield from _lines(_frame(hub, task))


def _call(task: "Task") -> str:
    """What the task was asked to do."""
    function, arguments = task.function, task.arguments or ()
    name = getattr(function, "__qualname__", None) or _shorten.repr(function)
    return f"{name}({', '.join(map(_shorten.repr, arguments))})"


def _state(hub: "Hub", task: "Task") -> str:
    if task.is_parked:
        return "waiting"
    if task is hub.current:
        return "running"
    return "not begun" if task.frame is None else "ready"


def _frame(hub: "Hub", task: "Task") -> FrameType | None:
    """The innermost frame. The last task that began to wait is still on its thread's stack, as a running one is."""
    return task.frame or (sys._current_frames().get(hub.thread) if task is hub.current else None)


def _lines(frame: FrameType | None) -> Iterator[str]:
    for entry in traceback.format_stack(frame) if frame else ():
        yield entry.rstrip("\n")
