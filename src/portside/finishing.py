"""How a request ends up in its handler, and how it ends: the dispatcher's half behind the engine.

An engine calls this where the handler is to run. First come the gates, if the server has any, and `verify_request`
behind them, since only they know who the client is.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from portside.admission import Admission
from portside.blame import close_reason
from portside.connections import Connections
from portside.gates import Gate, TurnedAway, gate_reason
from portside.telemetry import CloseReason, ConnectionRefused, RefusalReason, emit


class Passage:
    """A request on its way through the gates.

    Attributes:
        request: what has become of it so far.
        client_address: who the client is, as far as is known.
        admitted: whether it may go on to its handler.
        refusal: why it was refused, where that is told as ConnectionRefused.
    """

    __slots__ = ("_connections", "admitted", "client_address", "refusal", "request")

    def __init__(self, connections: Connections, request: Any, client_address: Any) -> None:
        self._connections = connections
        self.request = request
        self.client_address = client_address
        self.admitted = False
        self.refusal: RefusalReason | None = None

    def becomes(self, request: Any, client_address: Any) -> None:
        """A gate was passed; the connection's record follows."""
        before, self.request, self.client_address = self.request, request, client_address
        self._connections.move(before, request, client_address)


class Finisher:
    """Sees requests to their end.

    Args:
        server: the server object, whose hooks are called.

    Attributes:
        connections: the open connections.
        admission: the server's door; None where there is none.
        gates: what connections have to pass first; set before a loop.
        on_passage: called with each request that has passed the gates, or was turned away there.
        plain_class: a handler class whose instances are known to be made as `object`'s are; see `is_plain_class`.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        self._inline = 0  # handlers that run in a loop's own thread
        self.connections = Connections()
        self.admission: Admission | None = None
        self.gates: tuple[Gate, ...] = ()
        self.on_passage: Callable[[Passage], None] | None = None
        self.plain_class: Any = None

    def conclude(self, request: Any, client_address: Any) -> None:
        """Finish a request wherever the engine has brought it, and close it whatever happens."""
        if self.gates:
            passage = self._admit(request, client_address)
            if not passage.admitted:
                return
            request, client_address = passage.request, passage.client_address
        try:
            self._server.finish_request(request, client_address)
        except Exception as error:
            self.failed(request, client_address, error)
        except BaseException as error:
            self._blame(request, error)
            raise
        finally:
            self._server.shutdown_request(request)

    def conclude_inline(self, request: Any, client_address: Any) -> None:
        """Finish a request in the loop's own thread; what the handler raises is the loop's to see to.

        Except behind gates: what has become of the request there, the loop does not know.
        """
        self._inline += 1
        try:
            if self.gates:
                self.conclude(request, client_address)
                return
            self._server.finish_request(request, client_address)
        finally:
            self._inline -= 1
        self._server.shutdown_request(request)

    def _admit(self, request: Any, client_address: Any) -> Passage:
        """Take a request through the gates; one that is not admitted has been told of and closed."""
        with self._passage(request, client_address) as passage:
            for gate in self.gates:
                passage.becomes(*gate.admit(self._server, passage.request, passage.client_address))
        return passage

    async def admit_async(self, request: Any, client_address: Any) -> Passage:
        """The same in a coroutine."""
        with self._passage(request, client_address) as passage:
            for gate in self.gates:
                passage.becomes(*await gate.admit_async(self._server, passage.request, passage.client_address))
        return passage

    @contextlib.contextmanager
    def _passage(self, request: Any, client_address: Any) -> Iterator[Passage]:
        passage = Passage(self.connections, request, client_address)
        try:
            try:
                yield passage
            except OSError as error:
                self._turn_away(passage, error)
            else:
                passage.admitted = self._verify(passage)
        except Exception as error:
            self.failed(passage.request, passage.client_address, error)
        except BaseException as error:
            self._blame(passage.request, error)
            raise
        finally:
            if self.on_passage is not None:
                self.on_passage(passage)
            if not passage.admitted:
                self._server.shutdown_request(passage.request)

    def _verify(self, passage: Passage) -> bool:
        reason = None if self.admission is None else self.admission.meet(passage.request, passage.client_address)
        if reason is not None:
            self._refused(passage, reason)
            return False
        welcome = bool(self._server.verify_request(passage.request, passage.client_address))
        if not welcome:
            self._refused(passage, RefusalReason.VERIFY_REQUEST)
        return welcome

    def _turn_away(self, passage: Passage, error: OSError) -> None:
        if isinstance(error, TurnedAway) and error.request is not None:
            passage.becomes(error.request, passage.client_address)
        reason = gate_reason(error)
        if isinstance(reason, RefusalReason):
            self._refused(passage, reason)
            return
        record = self.connections.get(passage.request)
        if record is not None:  # a drain may have ended the client's stream, and not the client
            record.blame(CloseReason.CUT if record.woken else reason, error)

    def _refused(self, passage: Passage, reason: RefusalReason) -> None:
        passage.refusal = reason
        emit(ConnectionRefused(server=self._server, client_address=passage.client_address, reason=reason))

    def failed(self, request: Any, client_address: Any, error: BaseException) -> None:
        """A handler, or a hook before it, raised `error`: note why, and let `handle_error` tell."""
        self._blame(request, error)
        self._server.handle_error(request, client_address)

    def _blame(self, request: Any, error: BaseException) -> None:
        record = self.connections.get(request)
        if record is None:
            return
        reason = close_reason(error, record)
        record.blame(reason, error)
        if reason is CloseReason.TIMED_OUT and record.stalled(error):
            record.forsake()
