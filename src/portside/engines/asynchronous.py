"""The async engine: a handler is a coroutine, for handlers that use asyncio's libraries.

The loop (uvloop's where that is installed) watches the acceptor's own descriptor, so that accepting, pausing and
stopping are the same code as everywhere else, one turn at a time.
"""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ClassVar

from portside.acceptor import Acceptor
from portside.dispatcher import Dispatcher
from portside.latecomers import Latecomers
from portside.lifecycle import Run
from portside.roles import Engine
from portside.telemetry import DrainFinished, DrainStarted, emit

if TYPE_CHECKING:
    from portside.servers import BaseServer as _Server
else:
    _Server = object


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Uvloop's loop where it is installed, asyncio's otherwise."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class AsyncEngine(Engine):
    """The tasks of one server, in the event loop of each of its runs."""

    name = "async"
    holds_up_loop = False

    def __init__(self, server: Any, dispatcher: Dispatcher) -> None:
        super().__init__(server, dispatcher)
        self._tasks: set[asyncio.Task[None]] = set()
        self._running_loop: asyncio.AbstractEventLoop | None = None  # while it serves

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in a task of the running loop, or without one to its end in a loop of its own."""
        try:
            task = asyncio.get_running_loop().create_task(work)
        except RuntimeError:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(work)
        else:
            self._tasks.add(task)
            task.add_done_callback(self._finished)

    def loop(self, run: Run, acceptor: Acceptor, timeout: float | None) -> None:
        """An event loop that takes a turn whenever there is something to see to."""
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(self._serve(run, acceptor, timeout))

    def has_room(self) -> bool:
        """True while there are fewer tasks than `max_tasks`."""
        return len(self._tasks) < int(self.server.max_tasks)

    def at_work(self) -> int:
        """Tasks."""
        return len(self._tasks)

    def tasks(self) -> list[asyncio.Task[None]]:
        """The handlers' tasks."""
        return list(self._tasks)

    def post(self, call: Callable[[], object]) -> bool:
        """Have the event loop make a call."""
        try:
            if self._running_loop is not None:
                self._running_loop.call_soon_threadsafe(call)
                return True
        except RuntimeError:
            pass  # it was closed just now
        return False

    async def _serve(self, run: Run, acceptor: Acceptor, timeout: float | None) -> None:
        self._running_loop = asyncio.get_running_loop()
        turns = _Turns(
            acceptor, lambda: self.dispatcher.turn(run, acceptor, 0), lambda: self.dispatcher.sooner(timeout)
        )
        await turns.until(lambda: run.stopping)
        latecomers = self.dispatcher.leave(run, acceptor)
        await self._end_tasks(self.server.drain_timeout if run.drain is None else run.drain, latecomers)
        self._running_loop = None

    async def _end_tasks(self, seconds: float, latecomers: Latecomers) -> None:
        """A drain in the handlers' own loop, which ends after it."""
        running = len(self._own_tasks()) + len(latecomers)
        if running:
            emit(DrainStarted(server=self.server, running=running, seconds=seconds))
            drain = self.dispatcher.new_drain(lambda: len(self._own_tasks()), seconds, latecomers)
            await drain.run_async()
            emit(DrainFinished(server=self.server, cut=drain.cut, abandoned=len(self._own_tasks())))
        remaining = self._own_tasks()
        for task in remaining:
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)

    def _own_tasks(self) -> list[asyncio.Task[None]]:
        loop = asyncio.get_running_loop()
        return [task for task in self._tasks if task.get_loop() is loop]

    def _finished(self, task: asyncio.Task[None]) -> None:
        was_full = not self.has_room()
        self._tasks.discard(task)
        if was_full:
            self.dispatcher.lifecycle.wake()


class AsyncMixIn(_Server):
    """Mix-in: each request is handled in a coroutine of one event loop, which `serve_forever` runs.

    `RequestHandlerClass(...)`, and so `finish_request`, returns an awaitable: an `AsyncRequestHandler`, or the
    coroutine of an `async def` function with the same parameters. An override of `finish_request` returns what it got.

    When the accept loop has ended, `serve_forever` goes on until the handlers have: they live in its event loop. It
    waits for them as a drain does, `drain_timeout` seconds where `shutdown()` names no other time.

    Attributes:
        max_tasks: handlers that run at once; further clients wait in the system's queue. 10,000 is what the project
            promises.
    """

    max_tasks: int = 10_000
    _portside_engine: ClassVar[type[Engine]] = AsyncEngine

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle the request in a task of the running loop, or without one to its end in a loop of its own."""
        engine = self._portside.engine
        assert isinstance(engine, AsyncEngine)
        engine.start(self.process_request_task(request, client_address))

    async def process_request_task(self, request: Any, client_address: Any) -> None:
        """What a handler's task does: finish the request, report what it raises, close it."""
        if self._portside.gates:
            passage = await self._portside.admit_async(request, client_address)
            if not passage.admitted:
                return
            request, client_address = passage.request, passage.client_address
        try:
            await _checked(self.finish_request(request, client_address))
        except (Exception, SystemExit) as error:  # sys.exit would end the event loop, and with it every client
            self._portside.failed(request, client_address, error)
        finally:
            self.shutdown_request(request)

    def server_close(self) -> None:
        """Close the listener, and wait until `serve_forever` has ended its handlers."""
        super().server_close()
        self._portside.await_drained(self.drain_timeout)


class _Turns:
    """Takes a turn of the accept loop when the acceptor has something, a pause is over, or `interval()` has passed."""

    def __init__(self, acceptor: Acceptor, turn: Callable[[], None], interval: Callable[[], float | None]) -> None:
        self._acceptor = acceptor
        self._turn = turn
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._outcome: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None

    async def until(self, done: Callable[[], bool]) -> None:
        """Return when `done()` is true after a turn; raises what a turn raises."""
        self._done = done
        self._loop.add_reader(self._acceptor.fileno(), self._take)
        try:
            self._take()
            await self._outcome
        finally:
            self._loop.remove_reader(self._acceptor.fileno())
            if self._timer is not None:
                self._timer.cancel()

    def _take(self) -> None:
        if self._outcome.done():
            return
        try:
            self._turn()
        except BaseException as error:
            self._outcome.set_exception(error)
            return
        if self._done():
            self._outcome.set_result(None)
        else:
            self._schedule()

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        interval = self._interval()
        waits = [each for each in (self._acceptor.remaining(),) if each] + ([] if interval is None else [interval])
        self._timer = self._loop.call_later(min(waits), self._take) if waits else None


async def _checked(outcome: Any) -> None:
    if not inspect.isawaitable(outcome):
        raise TypeError(
            f"the async engine needs an awaitable, RequestHandlerClass returned {outcome!r}: derive the handler from "
            "portside.AsyncStreamRequestHandler and write `async def handle(self)`, or choose engine='threads'"
        )
    await outcome
