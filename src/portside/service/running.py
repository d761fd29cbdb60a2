"""Servers that run: here and now, or in the background until a `with` block ends; and the signals that end them."""

import contextlib
import os
import queue
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any, Protocol, Self

from portside.drain import GRACE
from portside.endpoints import Endpoint
from portside.policy.access import Access
from portside.policy.limits import Limits
from portside.policy.proxy_protocol import ProxyProtocol
from portside.policy.tls import TLS, ContextTLS
from portside.servers import TCPServer
from portside.service.admin.options import Admin
from portside.service.bound import Bound
from portside.service.control import Control
from portside.service.description import LIMITS, EngineName, Service
from portside.service.systemd import listening

# What ends a service: Ctrl-C, and what systemd, Docker and Kubernetes send.
_ENDING = (signal.SIGINT, signal.SIGTERM)


class Running(Bound):
    """Servers that run, or are about to.

    Args:
        service: what is served.
        listeners: sockets that listen at its endpoints already, which are the servers' from now on.

    Attributes:
        serial: whether handlers run in the threads of the accept loops.
        admin: the admin endpoint, where there is one; it listens until all else has ended.

    Resource handling: the listeners, and a thread for each endpoint once started, from construction to `stop()`.
    """

    def __init__(self, service: Service, listeners: Sequence[socket.socket] | None = None) -> None:
        super().__init__(service, listeners)
        self.serial = service.engine == "serial"
        self._asked: queue.SimpleQueue[float | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._control: Control | None = None
        self.admin: Running | None = None if service.admin is None else self._open_admin(service.admin)

    def _open_admin(self, admin: Admin) -> "Running":
        from portside.service.admin.console import Console
        from portside.service.admin.server import AdminServer

        self._control = Control(self)
        try:
            return AdminServer(admin, Console(self._control))
        except BaseException:
            self._control.close()
            for server in self.servers:
                self._close(server)
            raise

    def start(self) -> None:
        """Serve in the background; returns at once, and clients can connect already."""
        self._start_admin()
        self._start(self.servers)

    def run(self) -> None:
        """Serve here and now; returns when the service has ended, and raises what ended it.

        The first endpoint's loop runs in the calling thread: with one endpoint, and without the threads engine, the
        process keeps to one thread, in which forking is safe.
        """
        try:
            self._start_admin()
            self._start(self.servers[1:])
            with self._help_from_outside():
                self._serve(self.servers[0])
        finally:
            self.stop()

    def request_stop(self, drain: float | None = None) -> None:
        """Ask every server to drain and end; waits for nothing, so that a signal handler may call it.

        Args:
            drain: seconds for handlers to finish; None is the service's own.
        """
        super().request_stop(drain)
        self._asked.put(self._seconds(drain))

    def stop(self, drain: float | None = None) -> None:
        """Stop accepting, drain, close. May be called again.

        Args:
            drain: seconds for handlers to finish; None is the service's own.

        Raises:
            BaseException: whatever ended a server before it was asked to, once.
        """
        self.request_stop(drain)
        for server in self.servers:
            server.shutdown(drain=self._seconds(drain))
            self._close(server)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(GRACE)
        self._stop_admin()
        self._raise_error()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _start_admin(self) -> None:
        if self.admin is not None:
            self.admin.start()

    def _stop_admin(self) -> None:
        if self.admin is not None and self._control is not None:
            self.admin.stop()
            self._control.close()

    def _start(self, servers: tuple[TCPServer, ...]) -> None:
        for server in servers:
            name = f"portside-accept-{len(self._threads) + 1}"
            thread = threading.Thread(target=self._serve, args=(server,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    @contextlib.contextmanager
    def _help_from_outside(self) -> Iterator[None]:
        """A serial handler holds up the loop's own thread: another has to drain it when a signal comes."""
        if not self.serial:
            yield
            return
        helper = threading.Thread(target=self._drain_when_asked, name="portside-drain", daemon=True)
        helper.start()
        try:
            yield
        finally:
            self._asked.put(None)
            helper.join()

    def _drain_when_asked(self) -> None:
        seconds = self._asked.get()
        if seconds is not None:
            for server in self.servers:
                server.shutdown(drain=seconds)

    def _serve(self, server: TCPServer) -> None:
        """One endpoint's loop. A service is one thing: when one endpoint ends, all do."""
        try:
            server.serve_forever()
        except BaseException as error:
            self._error = error
        finally:
            self.request_stop()


def start(
    handler: Any,
    *endpoints: str | int | Endpoint,
    engine: EngineName = "threads",
    max_handlers: int | None = None,
    drain: float = 30.0,
    handler_args: Mapping[str, Any] | None = None,
    admin: str | int | Endpoint | Admin | None = None,
    proxy_protocol: ProxyProtocol | None = None,
    limits: Limits | None = LIMITS,
    access: Access | None = None,
    tls: TLS | ContextTLS | None = None,
) -> Running:
    """Serve in the background: `with portside.start(Echo, "tcp://127.0.0.1:0") as server: ... server.endpoint`.

    Args:
        handler: a handler class, or any callable of its three arguments.
        endpoints: where: endpoint texts, ports of the loopback interface, or `Endpoint` objects.
        engine: how handlers run side by side: "serial", "threads", "forks" or "async".
        max_handlers: handlers at once, at each endpoint; None is the engine's default.
        drain: seconds that handlers get to finish when the block ends.
        handler_args: keyword arguments for the handler.
        admin: where metrics, health, a page and commands are: a loopback endpoint, a Unix socket, or an `Admin`.
        proxy_protocol: whether clients come through proxies that say who they are, and through which.
        limits: how many clients may come, how often, and how long they may stay; None for no limits.
        access: who may come in; None for everybody, until `server.access` is told otherwise.
        tls: how connections are encrypted; None leaves that to endpoints such as "tls://:9000?cert=FILE&key=FILE".

    Returns:
        A context manager that accepts clients already; its `endpoints` are what was bound.

    Raises:
        ValueError, TypeError: an argument cannot be; one sentence says which, and what is accepted.
        OSError: an endpoint cannot be bound; the message says what to do about it.
    """
    running = Running(
        Service(
            handler=handler,
            endpoints=listening(endpoints),
            engine=engine,
            max_handlers=max_handlers,
            drain=drain,
            handler_args=handler_args or {},
            admin=None if admin is None else Admin.parse(admin),
            proxy_protocol=proxy_protocol,
            limits=limits,
            access=access,
            tls=tls,
        )
    )
    running.start()
    return running


class Endable(Protocol):
    """What signals end."""

    @property
    def servers(self) -> tuple[TCPServer, ...]:
        """Its servers."""

    @property
    def serial(self) -> bool:
        """Whether a handler runs in the main thread."""

    def request_stop(self) -> None:
        """End soon; waits for nothing."""

    def force(self) -> None:
        """End now; waits for nothing."""


@contextlib.contextmanager
def ended_by_signals(running: Endable, asked: Callable[[], object] = lambda: None) -> Iterator[None]:
    """SIGINT and SIGTERM end `running`, within the block; the program's own handlers are put back after it.

    Where certificates are in files, SIGHUP has them loaded again, without an end to any connection.

    Args:
        running: what is ended.
        asked: called when the first signal has come.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ending = _Ending(running, asked)
    wanted = dict.fromkeys(_ENDING, ending) | _of_certificates(running)
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    except _Forced:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _of_certificates(running: Endable) -> dict[signal.Signals, Callable[[int, FrameType | None], None]]:
    """What SIGHUP means, where there is anything to load again."""
    several = [server.tls for server in running.servers if isinstance(server.tls, TLS)]

    def reload(_: int, frame: FrameType | None) -> None:
        for tls in several:
            tls.reload_soon()

    return {signal.SIGHUP: reload} if several and hasattr(signal, "SIGHUP") else {}


class _Forced(BaseException):
    """Takes the main thread out of a serial handler that a second signal does not wait for."""


class _Ending:
    """The signal handler: the first signal asks for an end, the second one brings it about."""

    def __init__(self, running: Endable, asked: Callable[[], object]) -> None:
        self._running = running
        self._tell = asked
        self._owner = os.getpid()
        self._asked = False

    def __call__(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._owner:
            end_child(number)
        elif not self._asked:
            self._asked = True
            self._tell()
            self._running.request_stop()
        else:
            self._running.force()
            if self._running.serial:
                raise _Forced


def end_child(number: int) -> None:
    """A handler's process inherits the handlers: Ctrl-C is for its parent, who drains; SIGTERM was meant for it."""
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
