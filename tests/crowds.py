"""Clients that come and go, several at a time, while a test does something to what they talk with."""

import threading
from typing import Self

PATIENCE = 60.0  # seconds; only what hangs takes as long


class Crowd:
    """Calls `visit` again and again, in several threads, until the block's end.

    Args:
        clients: how many threads.
    """

    def __init__(self, clients: int) -> None:
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._visit_again_and_again) for _ in range(clients)]

    def __enter__(self) -> Self:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for each in self._threads:
            each.join(PATIENCE)

    def _visit_again_and_again(self) -> None:
        while not self._over.is_set():
            self.visit()

    def visit(self) -> None:
        """Come, talk, check the answers, go; raises nothing."""
        raise NotImplementedError
