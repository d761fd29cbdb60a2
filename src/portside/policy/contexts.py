"""The context that new connections get: made of files, and made anew when those have changed."""

import ssl
import threading
import time
from collections.abc import Callable

from portside.policy.certificates import Stamp, StrPath, TLSError, stamp
from portside.telemetry import CertificateRejected, CertificateReloaded, emit


class ServerContexts:
    """Keeps a context that is up to date.

    Files are renewed one after the other, and between the two a key does not fit its certificate: the context before
    stays in use until they do. A context is put in the place of the other whole, so that no handshake sees half of it.

    Args:
        files: what a context is made of.
        load: makes one; raises TLSError where the files do not allow it.
        seconds: at most so often are the files looked at; None is never.

    Attributes:
        context: the newest.
    """

    def __init__(self, files: tuple[StrPath, ...], load: Callable[[], ssl.SSLContext], seconds: float | None) -> None:
        self._files = files
        self._load = load
        self._seconds = seconds
        self._lock = threading.Lock()  # of many handshakes at once one looks, and the others need not wait for it
        self._seen: Stamp = stamp(files)  # before they are read: what changes after that is seen at the next look
        self.context = load()
        self._expired = False
        self._due = self._next_look()

    def fresh(self, server: object) -> ssl.SSLContext:
        """The newest context, after a look at the files where one is due; see `TLS.fresh_context`."""
        if time.monotonic() >= self._due and self._lock.acquire(blocking=False):
            try:
                self._look(server)
            finally:
                self._lock.release()
        return self.context

    def expire(self) -> None:
        """Have the files loaded, changed or not, when the next client comes; a signal handler may call this."""
        self._expired, self._due = True, 0.0

    def reload(self, server: object) -> None:
        """Load the files, changed or not; see `TLS.reload`."""
        with self._lock:
            self._seen = stamp(self._files)
            self._replace(server)

    def _look(self, server: object) -> None:
        self._due = self._next_look()
        expired, self._expired = self._expired, False
        found = stamp(self._files)
        if found == self._seen and not expired:
            return
        self._seen = found  # files that cannot be used are not tried, and told of, again before they change again
        try:
            self._replace(server)
        except TLSError as error:
            emit(CertificateRejected(server=server, error=error))

    def _replace(self, server: object) -> None:
        self.context = self._load()
        emit(CertificateReloaded(server=server))

    def _next_look(self) -> float:
        return float("inf") if self._seconds is None else time.monotonic() + self._seconds
