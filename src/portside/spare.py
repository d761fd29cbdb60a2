"""A descriptor kept in reserve, so that a process which has no other left can still turn a client away."""

import contextlib
import os
from collections.abc import Callable


class SpareDescriptor:
    """One open descriptor that is given up for the moment of a refusal, and taken back.

    Resource handling: one descriptor from construction to `close()`, unless the system refuses to give it back.
    """

    def __init__(self) -> None:
        self._descriptor = -1
        self._take()

    def lend(self, refuse: Callable[[], None]) -> bool:
        """Run `refuse()` with one more descriptor free.

        Returns:
            False when there is no spare to lend: the last one could not be taken back.

        Raises:
            OSError: whatever `refuse` raises.
        """
        if self._descriptor < 0 and not self._take():
            return False
        self.close()
        try:
            refuse()
        finally:
            self._take()
        return True

    def close(self) -> None:
        """Give it up."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def __del__(self) -> None:
        self.close()

    def _take(self) -> bool:
        with contextlib.suppress(OSError):
            self._descriptor = os.open(os.devnull, os.O_RDONLY)
        return self._descriptor >= 0
