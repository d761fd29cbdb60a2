"""What a loop is asked to do by signals and by other threads: each becomes a call in the loop's own turn."""

import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import FrameType

from portside.waker import Waker

Errand = Callable[[], object]


class Errands:
    """A queue of calls that wakes whoever waits for it.

    Resource handling: two descriptors until `close()`.
    """

    def __init__(self) -> None:
        self._waiting: deque[Errand] = deque()  # appending is atomic: a signal handler takes no lock
        self._waker = Waker()
        self._owner = os.getpid()

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._waker.fileno()

    def add(self, errand: Errand) -> None:
        """Have it called soon; from any thread."""
        self._waiting.append(errand)
        self._waker.wake()

    def run(self) -> None:
        """Do all of them."""
        self._waker.collect()
        while self._waiting:
            self._waiting.popleft()()

    @contextlib.contextmanager
    def of_signals(self, table: Mapping[int, Errand]) -> Iterator[None]:
        """In the main thread, within the block: signals become errands; the program's own handlers are put back.

        Args:
            table: what each signal means.
        """

        def note(number: int, _: FrameType | None) -> None:
            if os.getpid() == self._owner:
                self.add(table[number])

        before = {number: signal.signal(number, note) for number in table}
        try:
            with self._waker.rung_by_signals():
                yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def close(self) -> None:
        """Give the descriptors back."""
        self._waker.close()
