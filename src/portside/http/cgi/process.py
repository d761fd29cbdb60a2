"""A script as a process: started in a session of its own, read and fed at once, ended for certain.

Everything happens in the caller's thread or task, around one `Poller`: what the script writes is handed on as it comes,
what it says on its standard error is kept for the log, what its client sends is fed to it whenever it has room, and two
deadlines are watched. So neither direction is ever held in memory, and neither can block the other.
"""

import contextlib
import errno
import os
import pwd
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, Self

from portside.http.cgi.options import CGIOptions
from portside.http.cgi.polling import Poller

# Bytes moved at once: what a pipe of Linux holds.
PIECE = 65_536

# Bytes of standard error that are kept, the last ones: enough for the end of a traceback.
ERRORS = 4096

# Seconds between two looks at a process on a system without process descriptors.
LOOK = 0.02

_NO_MORE = select.POLLHUP | select.POLLERR | select.POLLNVAL


class ScriptTimeout(Exception):
    """A deadline passed; the message names it."""


def command(path: str, words: Sequence[str], *, through_python: bool) -> list[str]:
    """The command line of a script.

    Args:
        path: its file.
        words: its arguments.
        through_python: run it with this interpreter, where the system does not start scripts by themselves.
    """
    return [*([sys.executable, "-u"] if through_python else []), path, *words]


def nobody_uid() -> int:
    """The user id of `nobody`, whom scripts of a server of root's run as; -1 where there is no such user."""
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        return -1


def unprivileged(user: str | None) -> dict[str, Any]:
    """Options of `Popen` that take root's rights and groups from a script; none where there is nothing to take.

    Raises:
        OSError: there is no such user. A script is not run as root instead.
    """
    if user is None or os.geteuid() != 0:
        return {}
    try:
        found = pwd.getpwnam(user)
    except KeyError as error:
        raise OSError(errno.ENOENT, f"there is no user {user!r} to run it as: name one in CGIOptions.user") from error
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": ()}


class Script:
    """A running script.

    Args:
        command: its command line.
        environment: its whole environment.
        directory: where it runs; None is this process's own.
        options: its limits.
        body: its standard input: a file, or a function that returns the next piece and b"" at the end; None for none.
        watched: descriptor of the client's connection; -1 for none.

    Raises:
        OSError: it cannot be started.

    Resource handling: the process and its pipes, until the `with` block's end. A script that runs longer is ended with
    its whole process group.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: str | None,
        options: CGIOptions,
        body: IO[bytes] | Callable[[], bytes] | None,
        watched: int = -1,
    ) -> None:
        self._options = options
        self._source = body if callable(body) else None
        self._pending = memoryview(b"")
        self.errors = b""
        self._process = subprocess.Popen(
            command,
            bufsize=0,
            stdin=_stdin(body),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=directory,
            start_new_session=True,
            **unprivileged(options.user),
        )
        self._end = time.monotonic() + options.seconds
        self._quiet_since = time.monotonic()
        self._pidfd = _pidfd_open(self._process.pid)
        self._poller = Poller()
        self._watched = watched
        self._watch_all()

    def _watch_all(self) -> None:
        process = self._process
        assert process.stdout is not None
        assert process.stderr is not None
        self._output, self._errors = process.stdout.fileno(), process.stderr.fileno()
        self._input = -1 if process.stdin is None else process.stdin.fileno()
        for descriptor in (self._output, self._errors, self._pidfd):
            if descriptor >= 0:
                self._poller.register(descriptor, select.POLLIN)
        if self._input >= 0:
            os.set_blocking(self._input, False)
            self._poller.register(self._input, select.POLLOUT)
        if self._watched >= 0:
            self._poller.register(self._watched, 0)  # only its end is told

    # -- reading --

    def read(self) -> bytes:
        """What it writes next, as soon as there is something; b"" once it has closed its standard output.

        Raises:
            ScriptTimeout: it wrote nothing for too long, or ran for too long.
            ConnectionResetError: the client is gone for good.
            OSError: what reading the client's body raises.
        """
        self._quiet_since = time.monotonic()
        while True:
            ready = self._wait(min(self._end, self._quiet_since + self._options.silence))
            if self._output in ready:
                data = os.read(self._output, PIECE)
                if not data:
                    self._poller.unregister(self._output)
                return data
            self._tend(ready)

    def is_ready(self) -> bool:
        """Whether `read` would return at once."""
        return self._output in self._poller.poll(0)

    def finish(self) -> int:
        """Wait until it has ended, and return its exit code; one that a signal killed has that number, negated.

        Raises:
            ScriptTimeout: it runs on for too long.
            ConnectionResetError: the client is gone for good.
        """
        self._close_input()
        while (code := self._process.poll()) is None:
            self._tend(self._wait(self._end))
        self._drain_errors()
        return code

    def _wait(self, deadline: float) -> dict[int, int]:
        """Sleep until a descriptor is ready; which ones, and what for."""
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise ScriptTimeout(self._which(deadline))
        if self._pidfd < 0:
            seconds = min(seconds, LOOK)
        ready = self._poller.poll(seconds)
        if ready.get(self._watched, 0) & _NO_MORE:
            raise ConnectionResetError(errno.ECONNRESET, "the client left while a script was at work")
        return ready

    def _which(self, deadline: float) -> str:
        if deadline >= self._end:
            return f"ran for more than {self._options.seconds:g} s"
        return f"wrote nothing for {self._options.silence:g} s"

    def _tend(self, ready: Mapping[int, int]) -> None:
        """See to everything but its output."""
        if self._errors in ready:
            self._note_errors()
        if self._pidfd in ready:
            self._poller.unregister(self._pidfd)  # it stays readable, and what is left in the pipes counts
        if self._input in ready:
            self._feed(ready[self._input])

    # -- standard error --

    def _note_errors(self) -> bool:
        data = os.read(self._errors, PIECE)
        self.errors = (self.errors + data)[-ERRORS:]
        if not data:
            self._poller.unregister(self._errors)
        return bool(data)

    def _drain_errors(self) -> None:
        while self._errors in self._poller.poll(0):
            if not self._note_errors():
                return

    # -- standard input --

    def _feed(self, event: int) -> None:
        """Give it the next piece of the body; one that does not want it (any more) is not forced to take it."""
        if event & _NO_MORE or not (self._pending or self._fetch()):
            self._close_input()
            return
        try:
            self._pending = self._pending[os.write(self._input, self._pending) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._close_input()

    def _fetch(self) -> bool:
        """Wait for more of the body; False at its end. That time is the client's, not the script's silence."""
        self._pending = memoryview(self._source() if self._source else b"")
        self._quiet_since = time.monotonic()
        return bool(self._pending)

    def _close_input(self) -> None:
        if self._input >= 0 and self._process.stdin is not None:
            self._poller.unregister(self._input)
            self._input = -1
            self._process.stdin.close()

    # -- the end --

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.returncode

    def kill(self) -> None:
        """End it with all that it has started: politely, and after `grace` seconds for certain."""
        if self._process.returncode is None:
            self._signal(signal.SIGTERM)
            self._await_end(time.monotonic() + self._options.grace)
            self._signal(signal.SIGKILL)  # before it is waited for: its number is its own as long
            self._process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it is gone, or has become another user's
            os.killpg(self._process.pid, number)

    def _await_end(self, deadline: float) -> None:
        """Until it has ended, without collecting it; what it still says goes unread."""
        with contextlib.closing(Poller()) as poller:
            if self._pidfd >= 0:
                poller.register(self._pidfd, select.POLLIN)
            while (seconds := deadline - time.monotonic()) > 0 and not _has_ended(self._process.pid):
                poller.poll(seconds if self._pidfd >= 0 else min(seconds, LOOK))

    def close(self) -> None:
        """End it if it still runs, and give the descriptors back."""
        self.kill()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        self._poller.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _stdin(body: IO[bytes] | Callable[[], bytes] | None) -> IO[bytes] | int:
    if body is None:
        return subprocess.DEVNULL
    return subprocess.PIPE if callable(body) else body


def _has_ended(pid: int) -> bool:
    """Whether a child has ended; it can still be collected."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _pidfd_open(pid: int) -> int:
    """A descriptor that tells of the child's end; -1 where the system has none, or none left."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1
