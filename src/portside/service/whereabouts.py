"""Where the handler of each connection stands: stacks of threads, greenlets and tasks, found by what they handle.

Whoever handles a connection has it in a local variable called `request`, since that is what the hooks call it; a stack
belongs to the connection whose request it holds.
"""

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from portside.core.hub import Task

Stack = list[FrameType]  # the innermost frame last

# Frames told of a stack: enough to see what a handler does, few enough for a table of a thousand connections.
DEEPEST = 12

_OURS = str(Path(__file__).resolve().parent.parent)
_STANDARD = str(Path(os.__file__).parent)


def stacks(servers: Iterable[Any]) -> dict[int, Stack]:
    """The stack of every handler, by the identity of its request; those of forked children are not ours to see."""
    found: dict[int, Stack] = {}
    for stack in [*_of_threads(), *_of_greenlets(), *(each for server in servers for each in _of_tasks(server))]:
        found |= dict.fromkeys(_requests(stack), stack)
    return found


def _of_threads() -> Iterator[Stack]:
    for frame in _running().values():
        yield _outwards(frame)


def _running() -> dict[int, FrameType]:
    own = threading.get_ident()
    return {thread: frame for thread, frame in sys._current_frames().items() if thread != own}


def _of_greenlets() -> Iterator[Stack]:
    compiled: Any = sys.modules.get("portside.core.hub")  # where nobody has imported it, there are none
    for hub in [] if compiled is None else list(compiled._every_hub):
        for task in hub.tasks():
            yield _outwards(task.outer_frame) + _outwards(_frame_of(task, hub.thread))


def _frame_of(task: "Task", thread: int) -> FrameType | None:
    """The innermost. A task that runs has none of its own: it is on its thread's stack, and told as such.

    Unless it runs in a greenlet that has nothing else to do: then only its own one knows what it handles.
    """
    return _running().get(thread) if task.frame is None and task.outer_frame is not None else task.frame


def _of_tasks(server: Any) -> Iterator[Stack]:
    tasks: Any = getattr(server._portside.engine, "tasks", tuple)
    for task in tasks():
        yield list(_awaiting(task))


def _awaiting(task: "asyncio.Task[Any]") -> Iterator[FrameType]:
    """The frames of a coroutine and of all that it waits for, the outermost first."""
    awaited: Any = task.get_coro()
    while awaited is not None:
        kind = next((kind for kind in ("cr", "gi") if hasattr(awaited, f"{kind}_frame")), None)
        if kind is None:
            awaited = _unwrapped(awaited)
            continue
        if (frame := getattr(awaited, f"{kind}_frame")) is None:
            return
        yield frame
        awaited = getattr(awaited, "cr_await" if kind == "cr" else "gi_yieldfrom")


def _unwrapped(awaited: Any) -> Any:
    """The coroutine in what its `__await__` has returned, which has no name for it; None for a future."""
    inside = gc.get_referents(awaited) if type(awaited).__name__ == "coroutine_wrapper" else []
    return next(iter(inside), None)


def _outwards(frame: FrameType | None) -> Stack:
    frames: Stack = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def _requests(stack: Stack) -> set[int]:
    """What the frames handle: one connection, although a gate (TLS) may have put another object in its place."""
    ours = (frame for frame in stack if "request" in frame.f_code.co_varnames and _is_ours(frame))
    return {id(request) for frame in ours if (request := frame.f_locals.get("request")) is not None}


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_OURS)


def _is_standard(frame: FrameType) -> bool:
    path = frame.f_code.co_filename
    return path.startswith((_STANDARD, "<frozen")) and "site-packages" not in path


def described(stack: Stack) -> dict[str, Any]:
    """A stack as JSON has it.

    Returns:
        `at`, the innermost line of the program's own, neither Portside's nor the standard library's; and `stack`, the
        lines from the first of Portside's, the innermost last.
    """
    handler = _handlers(stack)
    theirs = [frame for frame in handler if not (_is_ours(frame) or _is_standard(frame))]
    innermost = (theirs or stack)[-1:]
    return {"at": "".join(map(_line, innermost)), "stack": [_line(frame) for frame in handler[-DEEPEST:]]}


def _handlers(stack: Stack) -> Stack:
    """Without what is below the first frame of ours: there the program has called `serve`, or a thread has begun."""
    first = next((place for place, frame in enumerate(stack) if _is_ours(frame)), 0)
    return stack[first:]


def _line(frame: FrameType) -> str:
    return f"{_short(frame.f_code.co_filename)}:{frame.f_lineno} {frame.f_code.co_name}"


def _short(path: str) -> str:
    """The last two parts of a path: which file it is, without where it is installed."""
    return "/".join(Path(path).parts[-2:])
