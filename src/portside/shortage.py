"""What a server does when it cannot accept: the table of `policy.accepting`, carried out."""

import contextlib
from typing import TYPE_CHECKING, Any

from portside.acceptor import Acceptor
from portside.lifecycle import Run
from portside.policy.accepting import AcceptAction, accept_action
from portside.telemetry import AcceptPaused, ConnectionRefused, RefusalReason, emit

if TYPE_CHECKING:
    from portside.roles import Transport


class Shortage:
    """Failed accepts of one server.

    Args:
        server: the server object.
        transport: knows how many clients may be taken in a row.
    """

    def __init__(self, server: Any, transport: "Transport") -> None:
        self._server = server
        self._transport = transport

    def met(self, run: Run, acceptor: Acceptor, error: OSError) -> bool:
        """An accept failed; False when there is no point in trying another now.

        Raises:
            OSError: `error`, where the program passed something that is no listener.
        """
        match accept_action(error):
            case AcceptAction.RETRY:
                return not isinstance(error, BlockingIOError)
            case AcceptAction.RAISE:
                raise error
            case AcceptAction.STOP:
                run.stop()
                return False
            case AcceptAction.SHED:
                self._shed(acceptor)
        self._pause(acceptor, error)
        return False

    def _shed(self, acceptor: Acceptor) -> None:
        """Turn away, with the spare descriptor, the clients for which there is none."""
        with contextlib.suppress(OSError):  # nobody is left at the door, or the spare is not enough either
            for _ in range(self._transport.batch):
                if not acceptor.spare.lend(self._refuse_one):
                    return

    def _refuse_one(self) -> None:
        server = self._server
        request, client_address = server.get_request()
        emit(ConnectionRefused(server=server, client_address=client_address, reason=RefusalReason.DESCRIPTORS))
        server.shutdown_request(request)

    def _pause(self, acceptor: Acceptor, error: OSError) -> None:
        first = not acceptor.failing
        seconds = acceptor.failed()
        if first:  # one event a shortage, however long it lasts
            emit(AcceptPaused(server=self._server, error=error, seconds=seconds))
