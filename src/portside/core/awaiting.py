"""Coroutines from green handlers: `await_`."""

import asyncio
import inspect
from collections.abc import Awaitable
from typing import TypeVar

from portside.core.driving import AsyncioDriver, driver_here
from portside.core.waiting import new_waiter, running_hub

T = TypeVar("T")


def await_(awaitable: Awaitable[T]) -> T:
    """Wait in a green handler for a coroutine, a future or another awaitable of the asyncio loop that drives the hub.

    A coroutine runs in an `asyncio.Task` with a copy of the handler's context variables. It is cancelled when something
    is thrown at the handler meanwhile: a `timeout`, or a kill at the end of a drain.

    Returns:
        What the awaitable returns.

    Raises:
        BaseException: what the awaitable raises.
        RuntimeError: the caller is no green handler, or no asyncio loop drives its hub.
    """
    loop = _loop_for(awaitable)
    future = asyncio.ensure_future(awaitable, loop=loop)
    waiter = new_waiter()
    future.add_done_callback(lambda _: waiter.wake())
    try:
        waiter.wait(None)
    except BaseException:
        future.cancel()
        raise
    return future.result()


def _loop_for(awaitable: Awaitable[object]) -> asyncio.AbstractEventLoop:
    driver = driver_here()
    if running_hub() is None:
        complaint = "portside.await_() is for green handlers: in a coroutine write `await`, elsewhere asyncio.run()"
    elif not isinstance(driver, AsyncioDriver):
        complaint = (
            "portside.await_() needs an asyncio loop that drives the hub: serve with `async with portside.embed(...)`"
        )
    else:
        loop: asyncio.AbstractEventLoop = driver.loop
        return loop
    if inspect.iscoroutine(awaitable):
        awaitable.close()  # or it would be warned of that nobody awaited it
    raise RuntimeError(complaint)
