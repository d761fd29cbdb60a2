"""The access log: a line for each request that was answered, in a form that log readers know.

    with AccessLog("access.log"):
        server.serve_forever()

It is a subscriber of `RequestServed` like any other. A line costs a few microseconds and one write(2) in append mode,
so that several threads, and processes that share the file, do not tear each other's lines.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, Self, get_args

from portside.telemetry import RequestServed, subscribe

Form = Literal["common", "combined", "json"]

# New log files are for the server's user and group only: a URL may hold what others should not read (nginx: 0640).
MODE = 0o640

# Always English, whatever the locale: the form is NCSA httpd's.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


# What a client sent


def escaped(text: str) -> str:
    r"""A client's text, made unable to forge a line or a field: what is odd becomes `\xhh`, as in Apache's logs."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(map(_escape, text))


def _escape(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isascii() and character.isprintable():
        return character
    return "".join(f"\\x{octet:02x}" for octet in _octets(character))


def _octets(character: str) -> bytes:
    """The bytes that a character of a head stood for: heads are read as Latin-1."""
    return character.encode("latin-1" if character <= "\xff" else "utf-8", "surrogatepass")


def client_host(client_address: Any) -> str:
    """The client as logs name it; `-` for one without an address, as on a Unix socket."""
    return str(client_address[0]) if isinstance(client_address, tuple) and client_address else "-"


# The time


class _Clock:
    """The time of day in words, made once a second.

    Args:
        words: makes the words.
    """

    def __init__(self, words: Callable[[datetime], str]) -> None:
        self._words = words
        self._made: tuple[int, str] = (-1, "")  # one object, so that no thread sees half of a change

    def __call__(self) -> str:
        second = int(time.time())
        known, text = self._made
        if known != second:
            text = self._words(datetime.fromtimestamp(second).astimezone())
            self._made = second, text
        return text


_common_time = _Clock(lambda now: f"{now:%d}/{_MONTHS[now.month - 1]}/{now:%Y:%H:%M:%S %z}")
_json_time = _Clock(datetime.isoformat)


# The forms


def common(event: RequestServed) -> str:
    """The Common Log Format of NCSA httpd: host, nobody (twice), time, request, status, bytes of the body."""
    return (
        f"{client_host(event.client_address)} - - [{_common_time()}] "
        f'"{escaped(event.request_line)}" {event.status} {event.bytes_out or "-"}'
    )


def combined(event: RequestServed) -> str:
    """The common form with the fields Referer and User-Agent, as Apache and nginx write it."""
    referer, agent = (escaped(event.headers.get(name) or "-") for name in ("referer", "user-agent"))
    return f'{common(event)} "{referer}" "{agent}"'


def json_line(event: RequestServed) -> str:
    """A JSON object: `time` (ISO 8601), `client`, `request`, `status`, `bytes`, `seconds`, three request fields."""
    headers = event.headers
    return json.dumps(
        {
            "time": _json_time(),
            "client": client_host(event.client_address),
            "request": event.request_line,
            "status": event.status,
            "bytes": event.bytes_out,
            "seconds": round(event.seconds, 6),
            "host": headers.get("host"),
            "referer": headers.get("referer"),
            "agent": headers.get("user-agent"),
        }
    )


FORMS: Mapping[str, Callable[[RequestServed], str]] = MappingProxyType(
    {"common": common, "combined": combined, "json": json_line}
)


class AccessLog:
    """Writes a line for each request that is served in this process, from its construction to `close()`.

    Args:
        destination: a path, which is appended to; or the number of an open descriptor, which stays the caller's
            (1 is standard output).
        form: "common", "combined" or "json".
        server: the server whose requests are meant; None for all.

    Raises:
        ValueError: there is no such form.
        OSError: the file cannot be opened.

    Resource handling: the file, and a subscription of `RequestServed`, until `close()` or the `with` block's end.
    """

    def __init__(
        self, destination: str | os.PathLike[str] | int, *, form: Form = "combined", server: object = None
    ) -> None:
        if form not in FORMS:
            raise ValueError(f"form={form!r} is none of {', '.join(map(repr, get_args(Form)))}")
        self._line = FORMS[form]
        self._path = None if isinstance(destination, int) else os.fspath(destination)
        self._server = server
        self._descriptor = destination if isinstance(destination, int) else _opened(os.fspath(destination))
        self._subscription = subscribe(self._write, RequestServed)

    def reopen(self) -> None:
        """Go on in a new file after a rotation has moved the old one; safe while requests are served.

        Raises:
            OSError: the path cannot be opened; the log goes on in the old file.
        """
        if self._path is not None:
            fresh = _opened(self._path)
            # The number stays the same, so that a thread that is about to write hits one of the two files.
            os.dup2(fresh, self._descriptor, inheritable=False)
            os.close(fresh)

    def close(self) -> None:
        """Stop writing and close the file; a second call does nothing."""
        self._subscription.cancel()
        if self._path is not None and self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _write(self, event: RequestServed) -> None:
        if self._server is None or event.server is self._server:
            os.write(self._descriptor, f"{self._line(event)}\n".encode())


def _opened(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)
