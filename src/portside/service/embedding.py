"""Green servers inside a program that has an event loop already: asyncio's, uvloop's or gevent's."""

import asyncio
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from portside.core.driving import AsyncioDriver, Driver, GeventDriver, driven_by
from portside.core.waiting import running_hub
from portside.endpoints import Endpoint
from portside.engines.compiled import core
from portside.policy.access import Access
from portside.policy.limits import Limits
from portside.policy.proxy_protocol import ProxyProtocol
from portside.policy.tls import TLS, ContextTLS
from portside.servers import TCPServer
from portside.service.bound import Bound
from portside.service.description import LIMITS, Service

if TYPE_CHECKING:
    from portside.core.hub import Task


# What the servers stand on: in gevent's version a socket waits in gevent's hub, a thread is a greenlet, and a selector
# has no descriptor.
_NOT_PATCHED = ("socket", "ssl", "select", "selectors", "threading", "_thread")


class Embedded(Bound):
    """Servers whose accept loops and handlers are tasks of a hub that an event loop drives.

    Args:
        service: what is served.
        driver: the loop; this is a user of it, see `Driver.leave`.
        ended: called in the hub when the last server has ended, its drain included.
    """

    def __init__(self, service: Service, driver: Driver, ended: Callable[[], object]) -> None:
        super().__init__(service)
        self._driver: Driver | None = driver
        self._ended = ended
        self._serving = len(self.servers)
        self._tasks: list[Task] = [driver.spawn(functools.partial(self._serve, server)) for server in self.servers]

    def _serve(self, server: TCPServer) -> None:
        """One endpoint's loop. A service is one thing: when one endpoint ends, all do."""
        try:
            server.serve_forever()
        except Exception as error:
            self._error = error
        finally:
            self.request_stop()
            self._serving -= 1
            if not self._serving:
                self._ended()

    def _finish(self) -> None:
        """Give everything back; what still runs is killed."""
        driver, self._driver = self._driver, None
        if driver is not None:
            for task in self._tasks:
                task.kill()
            driver.ring()
            driver.leave()
            for server in self.servers:
                self._close(server)
        self._raise_error()


class AsyncioEmbedded(Embedded):
    """What `async with portside.embed(...)` gives."""

    def __init__(self, service: Service, driver: Driver) -> None:
        self._over = asyncio.Event()
        super().__init__(service, driver, self._over.set)

    async def wait(self) -> None:
        """Wait until the service has ended, by `request_stop()` or because a server failed.

        Raises:
            BaseException: whatever ended a server before it was asked to, once.
        """
        await self._over.wait()
        self._finish()

    async def stop(self, drain: float | None = None) -> None:
        """Stop accepting, drain, close, while the loop goes on. May be called again; cancelled, it ends all at once.

        Args:
            drain: seconds for handlers to finish; None is the service's own.

        Raises:
            BaseException: whatever ended a server before it was asked to, once.
        """
        self.request_stop(drain)
        try:
            await self._over.wait()
        except BaseException:
            self.force()
            raise
        finally:
            self._finish()


class GeventEmbedded(Embedded):
    """What `with portside.embed(...)` gives: `wait` and `stop` let gevent's other greenlets run."""

    def __init__(self, service: Service, driver: Driver) -> None:
        from gevent.event import Event

        self._over = Event()
        super().__init__(service, driver, self._over.set)

    def wait(self) -> None:
        """Wait until the service has ended, by `request_stop()` or because a server failed.

        Raises:
            BaseException: whatever ended a server before it was asked to, once.
            RuntimeError: a green handler calls, whom the end would have to wait for.
        """
        self._check_caller()
        self._over.wait()
        self._finish()

    def stop(self, drain: float | None = None) -> None:
        """Stop accepting, drain, close. May be called again; interrupted, it ends all at once.

        Args:
            drain: seconds for handlers to finish; None is the service's own.

        Raises:
            BaseException: whatever ended a server before it was asked to, once.
            RuntimeError: a green handler calls, whom the end would have to wait for.
        """
        self._check_caller()
        self.request_stop(drain)
        try:
            self._over.wait()
        except BaseException:
            self.force()
            raise
        finally:
            self._finish()

    @staticmethod
    def _check_caller() -> None:
        if running_hub() is not None:
            raise RuntimeError(
                "a green handler cannot wait for its own end: call request_stop(), which waits for nothing"
            )


class Embedding:
    """A service that is to be embedded: `async with` under asyncio, `with` under gevent."""

    def __init__(self, service: Service) -> None:
        core()
        self._service = service
        self._embedded: Any = None

    async def __aenter__(self) -> AsyncioEmbedded:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError as error:
            raise RuntimeError("`async with portside.embed(...)` needs a running asyncio loop") from error
        embedded: AsyncioEmbedded = self._enter(AsyncioEmbedded, AsyncioDriver, loop)
        return embedded

    async def __aexit__(self, *_: object) -> None:
        await self._embedded.stop()

    def __enter__(self) -> GeventEmbedded:
        embedded: GeventEmbedded = self._enter(GeventEmbedded, GeventDriver, _gevent_loop())
        return embedded

    def __exit__(self, *_: object) -> None:
        self._embedded.stop()

    def _enter(self, kind: Any, driver_kind: type[Driver], loop: Any) -> Any:
        if running_hub() is not None:
            raise RuntimeError(
                "portside.embed() serves in an event loop, and this is a green handler: use portside.start()"
            )
        driver = driven_by(driver_kind, loop)
        try:
            self._embedded = kind(self._service, driver)
        except BaseException:
            driver.leave()
            raise
        return self._embedded


def _gevent_loop() -> Any:
    """The hub of gevent's.

    Raises:
        RuntimeError: this is a program of asyncio's, one without gevent, or one in which gevent has changed too much.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise RuntimeError("in a coroutine write `async with portside.embed(...)`")
    try:
        import gevent
    except ImportError as error:
        raise RuntimeError(
            "`with portside.embed(...)` is for gevent's loop, and gevent is not installed: use `async with` in a "
            "coroutine, or portside.start()"
        ) from error
    _check_patches()
    return gevent.get_hub()


def _check_patches() -> None:
    from gevent import monkey

    patched = [name for name in _NOT_PATCHED if monkey.is_module_patched(name)]
    if patched:
        raise RuntimeError(
            f"gevent.monkey has patched {', '.join(patched)}, which green handlers need as they were: leave them out of"
            " the patch and call gevent.socket and gevent.sleep by name, or serve in a process of its own"
        )


def embed(
    handler: Any,
    *endpoints: str | int | Endpoint,
    max_handlers: int | None = None,
    drain: float = 30.0,
    handler_args: Mapping[str, Any] | None = None,
    proxy_protocol: ProxyProtocol | None = None,
    limits: Limits | None = LIMITS,
    access: Access | None = None,
    tls: TLS | ContextTLS | None = None,
) -> Embedding:
    """Serve with the green engine inside a running event loop, in its thread.

    `async with portside.embed(Echo, "tcp://127.0.0.1:0") as server: ...` in a coroutine of asyncio's or uvloop's loop;
    `with portside.embed(...) as server: ...` in a greenlet of gevent's. Clients can connect within the block; at its
    end the handlers are drained while the loop goes on.

    Args:
        handler: a handler class, or any callable of its three arguments, in blocking Python.
        endpoints: where: endpoint texts, ports of the loopback interface, or `Endpoint` objects.
        max_handlers: handlers at once, at each endpoint; None is 10,000.
        drain: seconds that handlers get to finish when the block ends.
        handler_args: keyword arguments for the handler.
        proxy_protocol: whether clients come through proxies that say who they are, and through which.
        limits: how many clients may come, how often, and how long they may stay; None for no limits.
        access: who may come in; None for everybody, until `server.access` is told otherwise.
        tls: how connections are encrypted.

    Returns:
        A context manager, which gives what `start` does: `endpoints`, `servers`, `request_stop`, `force`; and `stop`
        and `wait`, which under asyncio are coroutines.

    Raises:
        ValueError, TypeError: an argument cannot be; one sentence says which, and what is accepted.
        RuntimeError: the compiled core is missing; at the block's beginning, no loop runs, or another drives the hub.
        OSError: at the block's beginning, an endpoint cannot be bound; the message says what to do about it.
    """
    return Embedding(
        Service(
            handler=handler,
            endpoints=tuple(map(Endpoint.parse, endpoints)),
            engine="green",
            max_handlers=max_handlers,
            drain=drain,
            handler_args=handler_args or {},
            proxy_protocol=proxy_protocol,
            limits=limits,
            access=access,
            tls=tls,
        )
    )
