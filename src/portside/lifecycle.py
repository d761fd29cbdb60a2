"""Runs of `serve_forever`, and how they are asked to end.

The standard library keeps one flag and one event, which is why its `shutdown()` hangs from the handler's thread, before
`serve_forever`, or from a signal handler (python/cpython#83978). Here each call of `serve_forever` is a `Run`; several
may be under way at once (a pool of threads that all serve one listener is an old idiom), and

- a stop reaches every run of this process, or, from a forked handler, the runs of the process that forked it;
- a stop before the first run is kept for it, so that "start a thread, then shut down" cannot miss;
- a stop after the last run does nothing;
- nobody waits for a run that waits for them.
"""

import os
import threading

from portside.waker import Waker, Wish


class Run:
    """One call of `serve_forever`: where it runs, how to wake it, whether it should end.

    Attributes:
        waker: wakes the run's loop.
        stopping: True once somebody wants this run to end.
        drain: seconds that open handlers get once the loop has ended; None leaves them alone.
    """

    def __init__(self) -> None:
        self.waker = Waker()
        self.process = os.getpid()
        self.thread = threading.get_ident()
        self.drain: float | None = None
        self.stopping = False
        self._left = threading.Event()
        self._ended = threading.Event()

    def stop(self, drain: float | None = None) -> None:
        """Ask the loop to end, and to drain for `drain` seconds; the first request to drain decides how long."""
        if self.drain is None:
            self.drain = drain
        self.stopping = True
        self.waker.wake(Wish.STOP)

    def look(self) -> None:
        """Take the wishes in: what the loop does when its waker is readable."""
        if self.waker.collect():
            self.stopping = True

    def leave(self) -> None:
        """The loop is over and accepts nobody; a drain may follow."""
        self._left.set()

    def end(self) -> None:
        """Give the descriptors back and release whoever waits."""
        self.waker.close()
        self._left.set()
        self._ended.set()

    def wait(self, seconds: float, *, drained: bool) -> bool:
        """Block until the loop is over, or with `drained` until the run has ended altogether.

        Returns:
            False when that did not happen within `seconds`.
        """
        return (self._ended if drained else self._left).wait(seconds)


class Lifecycle:
    """All runs of one server."""

    def __init__(self) -> None:
        # Re-entrant: a signal handler may call shutdown() while its own thread is in here.
        self._lock = threading.RLock()
        self._runs: list[Run] = []
        self._served = False
        self._kept_stop = False
        self._kept_drain: float | None = None

    def begin(self) -> Run:
        """Enter a run of `serve_forever`; one that was stopped before it began is stopping already."""
        run = Run()
        with self._lock:
            self._served = True
            self._runs.append(run)
            if self._kept_stop:
                self._kept_stop = False
                run.stop(self._kept_drain)
        return run

    @property
    def began(self) -> bool:
        """Whether there has been a run, over or not."""
        return self._served

    def resume(self, run: Run) -> None:
        """Enter a run for a single request, new or parked; a stop that came before is kept for `serve_forever`."""
        run.thread = threading.get_ident()
        with self._lock:
            self._runs.append(run)

    def park(self, run: Run) -> bool:
        """Leave a run that may be resumed; False, and the run has ended, when somebody has stopped it."""
        with self._lock:
            if run.stopping:
                self.end(run)
                return False
            self._runs.remove(run)
            return True

    def end(self, run: Run) -> None:
        """Leave a run."""
        with self._lock:
            self._runs.remove(run)
            run.end()

    def running(self) -> list[Run]:
        """The runs that a stop from this process concerns."""
        with self._lock:
            return [run for run in self._runs if run.process == os.getpid()] or list(self._runs)

    def after_fork(self) -> None:
        """For a child: a lock that another thread of the parent held would stay locked for ever."""
        self._lock = threading.RLock()

    def wake(self) -> None:
        """Let every loop look again, for example because there is room for another client."""
        for run in self.running():
            run.waker.wake()

    def stop(self, drain: float | None = None, *, own: bool = False) -> list[Run]:
        """Ask every run to end; without any, remember it for the first.

        Args:
            drain: seconds for handlers; None leaves them alone.
            own: leave the runs of the process that forked this one alone.

        Returns:
            The runs that were asked, for whoever wants to wait for them.
        """
        with self._lock:
            runs = [run for run in self.running() if run.process == os.getpid() or not own]
            if not self._served:
                self._kept_stop, self._kept_drain = True, drain
            for run in runs:
                run.stop(drain)
        return runs


def awaitable(runs: list[Run]) -> list[Run]:
    """Those of `runs` that this thread may wait for: not its own, and not those of another process."""
    here, process = threading.get_ident(), os.getpid()
    return [run for run in runs if run.process == process and run.thread != here]
