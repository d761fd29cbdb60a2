"""Green servers inside asyncio's, uvloop's and gevent's loops: they serve, drain, wake, fail and idle there."""

import asyncio
import contextlib
import contextvars
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

import portside
from portside.core.driving import AsyncioDriver, driven_by, driver_here
from portside.service.embedding import AsyncioEmbedded
from tests.conftest import DEADLINE
from tests.core.places import hub
from tests.engines import fixtures

uvloop = pytest.importorskip("uvloop")

pytestmark = pytest.mark.usefixtures("no_leaks")

warm = fixtures.warm

ANYWHERE = "tcp://127.0.0.1:0"
VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="empty")
Loop = Callable[[Coroutine[Any, Any, Any]], Any]


def with_asyncio(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(main, 2 * DEADLINE))


def with_uvloop(main: Coroutine[Any, Any, Any]) -> Any:
    return uvloop.run(asyncio.wait_for(main, 2 * DEADLINE))


loops = pytest.mark.parametrize("run", [with_asyncio, with_uvloop])


class Shout(portside.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


class Answer(portside.BaseRequestHandler):
    """Answers with what a function of no arguments returns, called in the handler."""

    function: Callable[[], Any]

    def handle(self) -> None:
        self.request.sendall(repr(self.function()).encode())


async def connected(server: AsyncioEmbedded) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*server.servers[0].server_address)


async def left(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def said(server: AsyncioEmbedded) -> str:
    """All that a server says to somebody who says nothing."""
    reader, writer = await connected(server)
    try:
        return (await reader.read()).decode()
    finally:
        await left(writer)


def answered(run: Loop, function: Callable[[], Any]) -> str:
    """What a function makes of being called in a handler of an embedded server."""

    async def main() -> str:
        async with portside.embed(Answer, ANYWHERE, handler_args={"function": function}) as server:
            return await said(server)

    return str(run(main()))


def in_a_task(run: Loop, script: Callable[[AsyncioDriver], Awaitable[Any]]) -> Any:
    """Run a coroutine function beside a hub that its loop drives."""

    async def main() -> Any:
        driver = driven_by(AsyncioDriver, asyncio.get_running_loop())
        assert isinstance(driver, AsyncioDriver)
        try:
            return await script(driver)
        finally:
            driver.leave()

    return run(main())


async def over(task: Any) -> Any:
    """Wait until a green task has ended; returns its value."""
    async with asyncio.timeout(DEADLINE):
        while task.is_alive():
            await asyncio.sleep(0.001)
    return task.value


# Serving


@loops
def test_handlers_run_beside_coroutines(run: Loop) -> None:
    async def main() -> list[bytes]:
        async with portside.embed(Shout, ANYWHERE) as server:
            assert server.endpoint.address[1] != 0
            pairs = [await connected(server) for _ in range(20)]
            for number, (_, writer) in enumerate(pairs):
                writer.write(b"hello %d\n" % number)
            answers = [await reader.readline() for reader, _ in pairs]
            for _, writer in pairs:
                await left(writer)
            return answers

    assert run(main()) == [b"HELLO %d\n" % number for number in range(20)]


@loops
def test_several_services_in_one_loop(run: Loop) -> None:
    async def main() -> list[str]:
        first = portside.embed(Answer, ANYWHERE, handler_args={"function": lambda: 1})
        second = portside.embed(Answer, ANYWHERE, ANYWHERE, handler_args={"function": lambda: 2})
        async with first as one:
            async with second as two:
                assert len(two.endpoints) == 2
                before = await said(two)
            return [before, await said(one)]

    assert run(main()) == ["2", "1"]
    assert driver_here() is None


def test_one_loop_after_another() -> None:
    for run in (with_asyncio, with_uvloop, with_asyncio):
        assert answered(run, lambda: 1) == "1"


def test_a_loop_that_is_closed_without_a_word() -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(entered())
    loop.close()
    assert answered(with_asyncio, lambda: 1) == "1"


async def entered() -> None:
    driven_by(AsyncioDriver, asyncio.get_running_loop())


@loops
def test_datagrams(run: Loop) -> None:
    class Echo(portside.DatagramRequestHandler):
        def handle(self) -> None:
            portside.sleep(0.001)
            self.wfile.write(self.rfile.read())

    async def main() -> bytes:
        async with portside.embed(Echo, "udp://127.0.0.1:0") as server:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.setblocking(False)
                client.connect(server.servers[0].server_address)
                client.send(b"hello")
                return await asyncio.wait_for(readable(client), DEADLINE)

    assert run(main()) == b"hello"


async def readable(sock: socket.socket) -> bytes:
    loop, found = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sock, found.set)
    try:
        await found.wait()
    finally:
        loop.remove_reader(sock)
    return sock.recv(100)


# The end


@loops
def test_the_loop_goes_on_during_a_drain(run: Loop) -> None:
    async def main() -> bytes:
        finish = portside.Event()
        begun = asyncio.Event()

        def handler(request: socket.socket, *_: object) -> None:
            begun.set()
            finish.wait()
            request.sendall(b"the last word")

        async with portside.embed(handler, ANYWHERE) as server:
            reader, writer = await connected(server)
            await begun.wait()
            asyncio.get_running_loop().call_later(0.01, finish.set)
        answer = await reader.read()
        await left(writer)
        return answer

    assert run(main()) == b"the last word"


@loops
def test_who_does_not_end_in_time_is_cut(run: Loop) -> None:
    async def main() -> bytes:
        async with portside.embed(Shout, ANYWHERE) as server:
            reader, writer = await connected(server)
            writer.write(b"hello\n")
            await reader.readline()
            await server.stop(drain=0)
            await server.stop()
            rest = await reader.read()
            await left(writer)
            return rest

    assert run(main()) == b""


@loops
def test_a_stop_that_is_cancelled_ends_all_at_once(run: Loop) -> None:
    async def main() -> None:
        async with portside.embed(lambda *_: portside.Event().wait(), ANYWHERE, drain=DEADLINE * 10) as server:
            _, writer = await connected(server)
            stopping = asyncio.create_task(server.stop())
            await asyncio.sleep(0)
            stopping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stopping
            await left(writer)
        assert driver_here() is None

    run(main())


@loops
def test_a_handler_may_ask_for_the_end(run: Loop) -> None:
    async def main() -> str:
        def function() -> None:
            server.request_stop()

        async with portside.embed(Answer, ANYWHERE, handler_args={"function": function}) as server:
            answer = await said(server)
            await asyncio.wait_for(server.wait(), DEADLINE)
            return answer

    assert run(main()) == "None"


@loops
def test_what_ends_a_server_is_raised(run: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with portside.embed(Shout, ANYWHERE) as server:

            def fail() -> None:
                raise LookupError("a bug")

            monkeypatch.setattr(server.servers[0], "service_actions", fail)
            _, writer = await connected(server)
            try:
                await asyncio.wait_for(server.wait(), DEADLINE)
            finally:
                await left(writer)

    with pytest.raises(LookupError, match="a bug"):
        run(main())


@loops
def test_tasks_that_are_left_are_killed(run: Loop) -> None:
    ended = []

    def linger() -> None:
        try:
            portside.Event().wait()
        finally:
            ended.append(True)

    async def main() -> None:
        async with portside.embed(Shout, ANYWHERE):
            portside.spawn(linger)
            await asyncio.sleep(0.01)

    run(main())
    assert ended == [True]


def test_a_signal_handler_of_the_loop_outlives_the_servers() -> None:
    async def main() -> None:
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        async with portside.embed(Shout, ANYWHERE) as server:
            await asyncio.sleep(0.01)
            loop.add_signal_handler(signal.SIGUSR2, came.set)
            await server.stop()
        os.kill(os.getpid(), signal.SIGUSR2)
        await asyncio.wait_for(came.wait(), DEADLINE)
        loop.remove_signal_handler(signal.SIGUSR2)

    with_asyncio(main())


# Turns


@loops
def test_an_idle_hub_takes_no_turns(run: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    turns, turn = [0], AsyncioDriver.turn

    def counted(driver: AsyncioDriver) -> None:
        turns[0] += 1
        turn(driver)

    monkeypatch.setattr(AsyncioDriver, "turn", counted)

    async def main() -> None:
        async with portside.embed(Shout, ANYWHERE) as server, asyncio.timeout(DEADLINE):
            reader, writer = await connected(server)
            writer.write(b"hello\n")
            await reader.readline()
            before = -1
            while before != turns[0]:  # a loop that spins never comes to rest
                before = turns[0]
                await asyncio.sleep(0.05)
            await left(writer)

    run(main())


@loops
def test_deadlines_fall_due(run: Loop) -> None:
    async def script(driver: AsyncioDriver) -> list[Any]:
        def short() -> str:
            portside.sleep(0.002)
            return "slept"

        def struck() -> str:
            with pytest.raises(TimeoutError), portside.timeout(0.001):
                portside.Event().wait()
            return "struck"

        def passed() -> bool:
            return portside.Event().wait(0.003)

        tasks = [driver.spawn(each) for each in (passed, short, struck)]
        return [await over(task) for task in tasks]

    assert in_a_task(run, script) == [False, "slept", "struck"]


@loops
def test_threads_wake_tasks(run: Loop) -> None:
    async def script(driver: AsyncioDriver) -> int:
        event, woken = portside.Event(), []
        tasks = [driver.spawn(lambda: woken.append(event.wait(DEADLINE))) for _ in range(5)]
        await asyncio.sleep(0.01)
        threading.Thread(target=event.set).start()
        for task in tasks:
            await over(task)
        return sum(woken)

    assert in_a_task(run, script) == 5


@loops
def test_a_callback_of_the_loop_wakes_tasks(run: Loop) -> None:
    async def script(driver: AsyncioDriver) -> bool:
        event = portside.Event()
        task = driver.spawn(lambda: event.wait(DEADLINE))
        await asyncio.sleep(0.01)
        event.set()
        return bool(await over(task))

    assert in_a_task(run, script) is True


@loops
def test_many_tasks_get_their_turns(run: Loop) -> None:
    async def script(driver: AsyncioDriver) -> list[int]:
        def count() -> int:
            for _ in range(100):
                hub.give_way()
            return 100

        tasks = [driver.spawn(count) for _ in range(100)]
        return [await over(task) for task in tasks]

    assert in_a_task(run, script) == [100] * 100


@loops
def test_what_another_threads_wish_raises_is_told_and_the_loop_goes_on(
    run: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)

    async def script(driver: AsyncioDriver) -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        threading.Thread(target=driver.hub.call_from_thread, args=(fail,)).start()
        async with asyncio.timeout(DEADLINE):
            while not told:
                await asyncio.sleep(0.001)
        return await over(driver.spawn(lambda: "goes on"))

    def fail() -> None:
        raise LookupError("a bug")

    assert in_a_task(run, script) == "goes on"


def test_an_interrupt_ends_the_loop() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    async def script(driver: AsyncioDriver) -> None:
        driver.spawn(interrupt)
        await asyncio.sleep(DEADLINE)

    with pytest.raises(KeyboardInterrupt):
        in_a_task(asyncio.run, script)
    assert driver_here() is None


# spawn


def test_spawn_in_a_handlers_task() -> None:
    def main() -> Any:
        VARIABLE.set("the caller's")
        task = portside.spawn(lambda *args, **kwargs: (args, kwargs, VARIABLE.get()), 1, two=2)
        return task.result(DEADLINE)

    assert hub.run(main) == ((1,), {"two": 2}, "the caller's")


@loops
def test_spawn_from_a_callback(run: Loop) -> None:
    async def script(driver: AsyncioDriver) -> Any:
        found: list[Any] = []
        asyncio.get_running_loop().call_soon(lambda: found.append(portside.spawn(hub.current_task)))
        await asyncio.sleep(0)
        assert driver.hub.tasks() or not found[0].is_alive()
        return await over(found[0]) is found[0]

    assert in_a_task(run, script) is True


def test_spawn_elsewhere() -> None:
    with pytest.raises(RuntimeError, match="needs a hub that runs"):
        portside.spawn(print)


# await_


@loops
def test_a_handler_awaits_a_coroutine(run: Loop) -> None:
    async def work() -> tuple[str, bool]:
        await asyncio.sleep(0.001)
        return VARIABLE.get(), asyncio.current_task() is not None

    def handler() -> Any:
        VARIABLE.set("the handler's")
        return portside.await_(work())

    assert answered(run, handler) == repr(("the handler's", True))


@loops
def test_a_handler_awaits_a_future(run: Loop) -> None:
    def handler() -> Any:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_later(0.001, future.set_result, 5)
        return portside.await_(future), portside.await_(future)

    assert answered(run, handler) == "(5, 5)"


@loops
@pytest.mark.parametrize("error", [LookupError, asyncio.CancelledError])
def test_what_a_coroutine_raises_is_raised(run: Loop, error: type[BaseException]) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise error

    def handler() -> str:
        with pytest.raises(error):
            portside.await_(fail())
        return "raised"

    assert answered(run, handler) == repr("raised")


@loops
def test_a_timeout_cancels_the_coroutine(run: Loop) -> None:
    async def main() -> None:
        cancelled = asyncio.Event()

        async def work() -> None:
            try:
                await asyncio.sleep(DEADLINE)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        def handler(*_: object) -> None:
            with pytest.raises(TimeoutError), portside.timeout(0.001):
                portside.await_(work())

        async with portside.embed(handler, ANYWHERE) as server:
            await said(server)
            await asyncio.wait_for(cancelled.wait(), DEADLINE)

    run(main())


def test_await_elsewhere() -> None:
    async def never() -> None:
        raise AssertionError("this does not run")

    for call, text in (
        (lambda: portside.await_(never()), "is for green handlers"),
        (lambda: hub.run(portside.await_, never()), "needs an asyncio loop that drives the hub"),
    ):
        with pytest.raises(RuntimeError, match=text):
            call()


@loops
def test_what_cannot_be_awaited(run: Loop) -> None:
    wrong: Any = 5

    def handler() -> str:
        with pytest.raises(TypeError):
            portside.await_(wrong)
        return "refused"

    assert answered(run, handler) == repr("refused")


# What is wrong


def test_embedding_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="no endpoint was given"):
        portside.embed(Shout)
    with pytest.raises(RuntimeError, match="needs a running asyncio loop"):
        portside.embed(Shout, ANYWHERE).__aenter__().send(None)

    async def synchronously() -> None:
        with portside.embed(Shout, ANYWHERE):
            raise AssertionError("this is not reached")

    with pytest.raises(RuntimeError, match="in a coroutine write `async with"):
        with_asyncio(synchronously())


def test_embedding_in_a_green_handler() -> None:
    async def inside() -> None:
        async with portside.embed(Shout, ANYWHERE):
            raise AssertionError("this is not reached")

    with pytest.raises(RuntimeError, match=r"this is a green handler: use portside\.start"):
        hub.run(asyncio.run, inside())


def test_two_loops_in_one_thread() -> None:
    async def main() -> None:
        async with portside.embed(Shout, ANYWHERE):
            with pytest.raises(RuntimeError, match=r"another loop \(asyncio\) drives the hub of this thread"):
                driven_by(AsyncioDriver, object())

    with_asyncio(main())


def test_an_endpoint_that_is_taken() -> None:
    async def main() -> None:
        async with portside.embed(Shout, ANYWHERE) as server, portside.embed(Shout, server.endpoint):
            raise AssertionError("this is not reached")

    with pytest.raises(OSError, match="in use"):
        with_asyncio(main())
    assert driver_here() is None
