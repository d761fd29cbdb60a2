"""Several services in one process, which start and end together."""

import contextlib
import threading
from collections.abc import Sequence
from typing import Self

from portside.endpoints import Endpoint
from portside.servers import TCPServer
from portside.service.running import Running


class Several:
    """Services that are one: when one of them ends, all do.

    Args:
        services: bound already; they are this object's from now on.

    Attributes:
        serial: whether handlers run in the thread that calls `run`.
        endpoints: what was bound, of all.
    """

    def __init__(self, services: Sequence[Running]) -> None:
        self._services = tuple(services)
        self.serial = self._services[0].serial
        self.endpoints: tuple[Endpoint, ...] = tuple(each for service in services for each in service.endpoints)
        self._errors: list[BaseException] = []

    @property
    def servers(self) -> tuple[TCPServer, ...]:
        """The servers of all."""
        return tuple(each for service in self._services for each in service.servers)

    def run(self) -> None:
        """Serve here and now; returns when all have ended, and raises what ended the first of them."""
        others = [threading.Thread(target=self._run, args=(each,), daemon=True) for each in self._services[1:]]
        for each in others:
            each.start()
        self._run(self._services[0])
        for each in others:
            each.join()
        if self._errors:
            raise self._errors[0]

    def _run(self, service: Running) -> None:
        try:
            service.run()
        except BaseException as error:
            self._errors.append(error)
        finally:
            self.request_stop()

    def request_stop(self) -> None:
        """Ask all to drain and end; waits for nothing."""
        for each in self._services:
            each.request_stop()

    def force(self) -> None:
        """End every connection now; waits for nothing."""
        for each in self._services:
            each.force()

    def stop(self) -> None:
        """Stop accepting, drain, close."""
        with contextlib.ExitStack() as stack:
            for each in self._services:
                stack.callback(each.stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
