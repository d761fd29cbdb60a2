"""The forks engine: a handler runs in a child process, which it may crash or leave in any state.

The parent keeps its own descriptor of the client's connection until the child is collected. That is how a drain in the
parent reaches a handler in the child (shutting a socket down concerns every process that has it), and how the parent
knows what went over the connection. It costs a descriptor a child, and children are bounded.
"""

import os
import socket
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from portside.connections import Connection
from portside.dispatcher import Dispatcher, machine
from portside.engines.children import LOOK_SECONDS, Child, Children
from portside.engines.reports import Report, read_report
from portside.engines.shared import SharedConnection
from portside.roles import Engine
from portside.telemetry import CloseReason, ConnectionRefused, WorkerExited, emit

if TYPE_CHECKING:
    from portside.servers import BaseServer as _Server
else:
    _Server = object

# How a child tells its parent why the connection ended: its exit status. 0 and 1 are the standard library's.
_STATUS = {
    CloseReason.DONE: 0,
    CloseReason.FAILED: 1,
    CloseReason.CLIENT_LEFT: 2,
    CloseReason.TIMED_OUT: 3,
    CloseReason.BAD_INPUT: 4,
    CloseReason.CUT: 5,
}
_REASON = {status: reason for reason, status in _STATUS.items()}


class ForkEngine(Engine):
    """The children of one server."""

    name = "forks"
    holds_up_loop = False

    def __init__(self, server: Any, dispatcher: Dispatcher) -> None:
        super().__init__(server, dispatcher)
        dispatcher.connections.kind = SharedConnection
        self._children: Children | None = None

    def children(self) -> Children:
        """The children of this process; a forked one starts with none."""
        if self._children is None or self._children.process != os.getpid():
            self._children = Children()
        return self._children

    def fork(self, request: Any, client_address: Any) -> int:
        """Start a child that handles the request; returns its process id."""
        self._wait_for_room()
        children = self.children()
        for gate in self.dispatcher.gates:
            gate.before_fork(self.server)
        flush_standard_streams()  # or the child would write again what this process has not written yet
        report = Report() if self.dispatcher.gates else None
        pid = _forked(report)
        if pid == 0:
            self._be_child(request, client_address, report)
        connection = _duplicate(request)
        if connection is not None:
            self.dispatcher.connections.move(request, connection)
        children.add(pid, connection, -1 if report is None else report.be_parent())
        return pid

    def collect(self, *, blocking: bool = False) -> list[int]:
        """Collect the children that have ended, or all; returns their process ids."""
        if self._children is None or self._children.process != os.getpid():
            return []
        ended = self._children.ended(blocking=blocking)
        for child, code in ended:
            self._collected(child, code)
        return [child.pid for child, _ in ended]

    def close(self) -> None:
        """Give every descriptor back."""
        if self._children is not None:
            self._children.close()
            self._children = None

    def has_room(self) -> bool:
        """True while there are fewer children than `max_children`."""
        return len(self.children()) < int(self.server.max_children)

    def running(self) -> int:
        """Children at work."""
        self.server.collect_children()
        return len(self.children())

    def at_work(self) -> int:
        """Children that nobody has collected yet; collecting them is the loop's."""
        return len(self.children())

    def kill(self) -> None:
        """SIGKILL to every child."""
        self.children().kill()

    def reap(self) -> None:
        """Collect the children that were killed."""
        self.server.collect_children(blocking=True)

    def extras(self) -> tuple[Children, ...]:
        """Readable when a child has ended."""
        return (self.children(),)

    def tend(self) -> None:
        """Collect children: one that has ended and is not collected would wake the loop without end."""
        self.server.collect_children()

    def interval(self) -> float | None:
        """Children that nothing tells of have to be looked for."""
        return None if self.children().tells() else LOOK_SECONDS

    def _wait_for_room(self) -> None:
        """Collect; and where the accept loop was passed by, wait for a child to end."""
        self.server.collect_children()
        while not self.has_room():
            self.children().wait()
            self.server.collect_children()

    def _be_child(self, request: Any, client_address: Any, report: Report | None) -> None:
        """The child's whole life. It must never return, hence os._exit."""
        status = _STATUS[CloseReason.FAILED]
        try:
            record = self.dispatcher.connections.get(request)
            self.dispatcher.become_child()
            if report is not None:
                report.be_child()
                self.dispatcher.on_passage = report.tell
            self.dispatcher.conclude(request, client_address)
            status = _STATUS[CloseReason.DONE if record is None else record.reason]
        finally:
            flush_standard_streams()
            os._exit(status)

    def _collected(self, child: Child, code: int) -> None:
        if code not in _REASON:
            emit(WorkerExited(server=self.server, pid=child.pid, exit_code=code))
        if child.connection is not None:
            record = self.dispatcher.connections.get(child.connection)
            if record is not None:
                self._learn(record, child)
                record.blame(_REASON.get(code, CloseReason.FAILED))
            self.dispatcher.transport.closed(child.connection)
        child.close()

    def _learn(self, record: Connection, child: Child) -> None:
        """Who the client turned out to be, and whether it was refused, at gates that only the child has seen."""
        found = None if child.report < 0 else read_report(child.report)
        if found is None:
            return
        record.client_address, refusal = found
        if refusal is not None:
            emit(ConnectionRefused(server=self.server, client_address=record.client_address, reason=refusal))


class ForkingMixIn(_Server):
    """Mix-in: each request is handled in a child process.

    Attributes:
        timeout: seconds that `handle_request()` waits for a request; 300 as in the standard library.
        active_children: process ids of the children that have not been collected, or None before the first.
        max_children: children at once; further clients wait in the system's queue. 40 as in the standard library.
        block_on_close: whether `server_close()` waits for children (at most `drain_timeout` seconds, then they are
            killed).
    """

    timeout: float | None = 300
    active_children: set[int] | None = None
    max_children: int = 40
    block_on_close: bool = True
    _portside_engine: ClassVar[type[Engine]] = ForkEngine

    def collect_children(self, *, blocking: bool = False) -> None:
        """Collect the children that have ended; with `blocking`, wait for all of them."""
        ended = _engine(self).collect(blocking=blocking)
        if self.active_children is not None:
            self.active_children.difference_update(ended)

    def handle_timeout(self) -> None:
        """Collect children after `timeout` seconds without a request. May be extended, do not override."""
        self.collect_children()

    def service_actions(self) -> None:
        """Collect children: the accept loop calls this whenever one has ended."""
        self.collect_children()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Fork a child that handles the request."""
        pid = _engine(self).fork(request, client_address)
        self.active_children = {pid} | (self.active_children or set())
        self.close_request(request)

    def server_close(self) -> None:
        """Close the listener, and wait for children as `block_on_close` says."""
        super().server_close()
        self.collect_children()
        if self.block_on_close:
            machine(self).drain(machine(self).patience)
        _engine(self).close()


def _engine(server: ForkingMixIn) -> ForkEngine:
    engine = machine(server).engine
    assert isinstance(engine, ForkEngine)
    return engine


def _forked(report: Report | None) -> int:
    """As os.fork; where the system refuses, the report's descriptors are given back."""
    try:
        return os.fork()
    except OSError:
        if report is not None:
            report.close()
        raise


def _duplicate(request: Any) -> socket.socket | None:
    """A plain socket over a duplicate of the request's descriptor; None for a datagram, or when none is left."""
    try:
        return socket.socket(fileno=os.dup(request.fileno()))
    except (AttributeError, OSError):
        return None


def flush_standard_streams() -> None:
    """Write out what `print` has buffered: os._exit would lose it, and a forked child write it twice."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            continue  # closed, missing, or a reader that left: not the request's concern
