"""`portside top`: looks at a service again and again, shows what it sees, and does what is asked for by a key."""

import contextlib
import os
import re
import select
import sys
import termios
import time
import tty
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from portside.cli.failure import Failure, Unreachable
from portside.cli.figures import Snapshot, Trails, connections, plain
from portside.cli.remote import Remote

# Connections asked for: more than any terminal shows.
LIMIT = 500

# Seconds of a ban by a key: `portside ctl` can say another time.
BAN_SECONDS = 600


def watch(options: Namespace) -> None:
    """Show the service until q; without a terminal, print what there is, once.

    Raises:
        Failure: rich is not installed; `Unreachable` where nobody answers at the start.
    """
    top = Top(Remote(options.admin))
    top.look(strict=True)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print(top.plain())
        return
    try:
        from portside.cli.screen import Screen
    except ModuleNotFoundError as error:
        raise Failure("a live view is drawn by rich: pip install 'portside[cli]'") from error
    with _keys() as next_keys, Screen() as screen:
        _go_on(top, screen, next_keys, options.interval)


def _go_on(top: "Top", screen: Any, next_keys: Callable[[float], str], interval: float) -> None:
    due = time.monotonic() + interval
    while not top.over:
        screen.show(top)
        for key in _KEY.findall(next_keys(max(0.0, due - time.monotonic()))):
            top.press(key)
        if time.monotonic() >= due:
            top.look()
            due = time.monotonic() + interval


class Top:
    """What is seen and what is chosen.

    Attributes:
        snapshot: the last look.
        trails: what the figures were.
        chosen: the id of the connection that the cursor is on.
        message: what happened last.
        question: what is to be confirmed, and the command behind it; None while nothing is.
        over: whether the person has seen enough.
    """

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self.snapshot: Snapshot = {"time": 0.0, "processes": [], "metrics": []}
        self.trails = Trails()
        self.chosen = ""
        self.message = ""
        self.question: tuple[str, Mapping[str, Any]] | None = None
        self.over = False

    def look(self, *, strict: bool = False) -> None:
        """Take a look; where nobody answers say so, and with `strict` raise."""
        try:
            self.snapshot = self._remote.snapshot(LIMIT)
        except Unreachable as error:
            if strict:
                raise
            self.message = str(error)
            return
        self.trails.add(self.snapshot)
        ids = [connection["id"] for connection in self.connections]
        if self.chosen not in ids:
            self.chosen = ids[0] if ids else ""

    @property
    def connections(self) -> list[Mapping[str, Any]]:
        """Those that were told of, the oldest first."""
        return connections(self.snapshot)

    def plain(self) -> str:
        """What there is, as text."""
        return plain(self.snapshot, self.trails.rows())

    def press(self, key: str) -> None:
        """Do what a key is for."""
        if self.question is not None:
            (_, command), self.question = self.question, None
            if key in ("y", "Y"):
                self._command(command)
            else:
                self.message = "left as it is"
        elif key in _KEYS:
            _KEYS[key](self)

    def quit(self) -> None:
        """Enough."""
        self.over = True

    def up(self) -> None:
        """The connection above."""
        self._move(-1)

    def down(self) -> None:
        """The connection below."""
        self._move(1)

    def _move(self, by: int) -> None:
        ids = [connection["id"] for connection in self.connections]
        if ids:
            place = ids.index(self.chosen) if self.chosen in ids else 0
            self.chosen = ids[min(len(ids) - 1, max(0, place + by))]

    def pause(self) -> None:
        """Accept nobody."""
        self._command({"do": "pause"})

    def resume(self) -> None:
        """Accept again."""
        self._command({"do": "resume"})

    def drain(self) -> None:
        """End the service, once that is confirmed."""
        self.question = ("end the service: nobody is accepted, handlers may finish?", {"do": "drain"})

    def close(self) -> None:
        """Cut the chosen connection."""
        if self.chosen:
            self._command({"do": "close", "id": self.chosen})

    def ban(self) -> None:
        """Keep the chosen connection's host out, once that is confirmed."""
        found = [each["host"] for each in self.connections if each["id"] == self.chosen and each["host"]]
        for host in found:
            command = {"do": "ban", "host": host, "seconds": BAN_SECONDS}
            self.question = (f"ban {host} for {BAN_SECONDS // 60} minutes?", command)

    def _command(self, command: Mapping[str, Any]) -> None:
        try:
            self._remote.command(command)
        except Failure as failure:
            self.message = str(failure)
            return
        self.message = " ".join(map(str, command.values())) + ": done"
        self.look()


_KEYS: Mapping[str, Callable[[Top], None]] = {
    "q": Top.quit,
    "\x03": Top.quit,
    "\x1b[A": Top.up,
    "k": Top.up,
    "\x1b[B": Top.down,
    "j": Top.down,
    "p": Top.pause,
    "r": Top.resume,
    "d": Top.drain,
    "c": Top.close,
    "b": Top.ban,
}

# A key as a terminal sends it: an arrow's sequence, or a character.
_KEY = re.compile(r"\x1b\[[A-Z]|.", re.DOTALL)

_AT_ONCE = 64  # bytes: keys that were pressed since the last look, and more


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Keys as they are pressed, without echo; what is yielded waits so many seconds for some, "" is none."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield lambda seconds: _pressed(terminal, seconds)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _pressed(terminal: int, seconds: float) -> str:
    ready, _, _ = select.select([terminal], [], [], seconds)
    if not ready:
        return ""
    pressed = os.read(terminal, _AT_ONCE)
    return pressed.decode(errors="replace") if pressed else "q"  # the terminal is gone
