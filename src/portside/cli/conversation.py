"""`portside connect`: the input to the server and the server to the output, both at once."""

import contextlib
import io
import os
import queue
import re
import socket
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator

from portside.cli.failure import Failure
from portside.client import encrypted
from portside.encrypted import EncryptedSocket
from portside.endpoints import Endpoint
from portside.frames import READ_SIZE
from portside.policy.tls import ClientTLS
from portside.service.encryption import HTTP

# Bytes of a line that is read as one datagram: more than any datagram holds, so that one too long is refused, not cut.
_LINE = 65_536

# A line's end that is not CRLF yet.
_BARE_LF = re.compile(rb"(?<!\r)\n")


def connect(options: Namespace) -> None:
    """Talk to the endpoint that the command line names, until the conversation is over.

    Raises:
        Failure: nobody is there, the connection was reset, or nothing happened for too long.
        KeyboardInterrupt: Ctrl-C.
    """
    endpoint: Endpoint = options.endpoint
    with _dial(endpoint, options) as sock:
        conversation = _Stream(sock, options) if endpoint.is_stream else _Datagrams(sock, options)
        try:
            conversation.run()
        except _OutputClosed:
            return
        except OSError as error:
            raise Failure(f"the conversation with {endpoint} broke off: {_words(error)}") from error


def _dial(endpoint: Endpoint, options: Namespace) -> "socket.socket | EncryptedSocket":
    try:
        sock: socket.socket | EncryptedSocket = endpoint.connect(options.timeout)
        if isinstance(sock, socket.socket) and endpoint.is_tls:
            sock = encrypted(sock, endpoint, _trust(endpoint, options))
    except OSError as error:
        raise Failure(f"{endpoint} cannot be reached: {_words(error)}") from error
    except ValueError as error:
        raise Failure(str(error)) from error
    sock.settimeout(None)  # the conversation as a whole may be idle so long, not each direction
    return sock


def _trust(endpoint: Endpoint, options: Namespace) -> ClientTLS:
    alpn = HTTP if endpoint.scheme == "https" else ()
    return ClientTLS(ca=options.ca, verify=not options.insecure, server_name=options.server_name, alpn=alpn)


def _words(error: OSError) -> str:
    return getattr(error, "verify_message", None) or error.strerror or str(error)


class _OutputClosed(Exception):
    """Whoever reads our output has had enough, as in `portside connect ... | head`."""


# What ended a direction; None is its proper end.
_End = OSError | _OutputClosed | None


class _Conversation:
    """Both directions, each in a thread of its own: either side may talk while the other is silent.

    Threads that wait for a terminal or a socket cannot be woken, and end with the process.
    """

    def __init__(self, sock: "socket.socket | EncryptedSocket", options: Namespace) -> None:
        self.sock = sock
        self.crlf: bool = options.crlf
        self.wait: float = options.wait
        self._timeout: float | None = options.timeout
        self._active = time.monotonic()
        self._ended: queue.SimpleQueue[tuple[str, _End]] = queue.SimpleQueue()

    def run(self) -> None:
        """Talk until it is over; raises what broke it off."""
        for direction in (self.send, self.receive):
            threading.Thread(target=self._follow, args=(direction,), daemon=True).start()
        self.follow_both()

    def send(self) -> None:
        """Bring the input to the server, to its end."""
        raise NotImplementedError

    def receive(self) -> None:
        """Bring what the server says to the output, to its end."""
        raise NotImplementedError

    def follow_both(self) -> None:
        """Return when the conversation is over."""
        raise NotImplementedError

    def next_end(self) -> tuple[str, _End]:
        """Wait for a direction to end; returns its name and what broke it.

        Raises:
            TimeoutError: neither direction moved anything for the time that the user gave.
        """
        while True:
            with contextlib.suppress(queue.Empty):
                return self._ended.get(timeout=self._remaining())

    def next_end_within(self, seconds: float) -> tuple[str, _End] | None:
        """Wait for a direction to end; None when none has, after so long."""
        with contextlib.suppress(queue.Empty):
            return self._ended.get(timeout=seconds)
        return None

    def moved(self) -> None:
        """Note that something went through."""
        self._active = time.monotonic()

    def _remaining(self) -> float | None:
        if self._timeout is None:
            return None
        remaining = self._active + self._timeout - time.monotonic()
        if remaining <= 0:
            raise TimeoutError(f"nothing was said for {self._timeout:g} s")
        return remaining

    def _follow(self, direction: Callable[[], None]) -> None:
        try:
            direction()
        except (OSError, _OutputClosed) as error:
            self._ended.put((direction.__name__, error))
        else:
            self._ended.put((direction.__name__, None))


class _Stream(_Conversation):
    """A connection: over when the server has ended it."""

    def send(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # the server has ended already: what it had to say is on its way
            try:
                for data in self._pieces():
                    self.sock.sendall(data)
                    self.moved()
            finally:
                with contextlib.suppress(OSError):
                    self.sock.shutdown(socket.SHUT_WR)

    def receive(self) -> None:
        while data := self.sock.recv(READ_SIZE):
            self.moved()
            _write(data)

    def follow_both(self) -> None:
        name, broken = self.next_end()
        if name == "send":  # even a reset may leave something to read
            _, error = self.next_end()
            broken = error or broken
        if broken is not None:
            raise broken

    def _pieces(self) -> Iterator[bytes]:
        pieces = _input(lambda source: source.read1(READ_SIZE))
        return _with_crlf(pieces) if self.crlf else pieces


class _Datagrams(_Conversation):
    """Datagrams: over when the input has ended and there was time for late answers."""

    def send(self) -> None:
        for line in _input(lambda source: source.readline(_LINE)):
            text = line.removesuffix(b"\n").removesuffix(b"\r")
            self.sock.send(text + b"\r\n" if self.crlf else text)
            self.moved()

    def receive(self) -> None:
        while True:
            data = self.sock.recv(READ_SIZE)
            self.moved()
            _write(data if data.endswith(b"\n") else data + b"\n")

    def follow_both(self) -> None:
        _, broken = self.next_end()
        if broken is None:
            _, broken = self.next_end_within(self.wait) or ("", None)
        if broken is not None:
            raise broken


def _input(read: Callable[[io.BufferedReader], bytes]) -> Iterator[bytes]:
    """What `read` returns for the input, to its end; nothing for a program that was started without an input."""
    if sys.stdin is None:
        return
    # A file object of our own: the interpreter's end would wait for the lock of `sys.stdin`, which a read holds.
    with open(sys.stdin.fileno(), "rb", closefd=False) as source:
        yield from iter(lambda: read(source), b"")


def _with_crlf(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same text with CRLF at the end of every line, wherever it was cut into pieces."""
    after_cr = False
    for piece in pieces:
        text = _BARE_LF.sub(b"\r\n", piece)
        yield text[1:] if after_cr and piece.startswith(b"\n") else text
        after_cr = piece.endswith(b"\r")


def _write(data: bytes) -> None:
    """Write all of it to the output, at once; nowhere for a program that was started without an output."""
    view = memoryview(data)
    while view and sys.stdout is not None:
        try:
            view = view[os.write(sys.stdout.fileno(), view) :]
        except BrokenPipeError as error:
            raise _OutputClosed from error
