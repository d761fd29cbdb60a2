"""The client's side of TLS: a connected socket whose bytes are encrypted, in blocking code and in green tasks alike.

An `ssl.SSLSocket` cannot say goodbye and go on reading, and lets no thread write while another waits to read. Here
OpenSSL never sees the network: what it wants to send is sent for it, and it is fed with what arrives.
"""

import contextlib
import ssl
import threading
from collections.abc import Callable
from typing import Any, Self

from portside.frames import READ_SIZE


class EncryptedSocket:
    """What a client needs of a socket. One may read from it while another writes.

    Args:
        sock: a connected socket, plain or green; it is closed with this one.
        context: whom to trust.
        server_name: who the server must be.

    Raises:
        OSError: the server does not shake hands, or is not who it should be. The socket stays the caller's.
    """

    def __init__(self, sock: Any, context: ssl.SSLContext, server_name: str) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self._lock = threading.Lock()  # around what does not wait
        self._sending = False
        try:
            self._patiently(self._tls.do_handshake)
        except ssl.SSLError:
            with contextlib.suppress(OSError):
                self._send()  # tell the server why
            raise

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Up to `size` bytes; b"" when the server has ended its side.

        Raises:
            OSError: the connection broke; TimeoutError: nothing came in time.
        """
        try:
            data: bytes = self._patiently(self._tls.read, size)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        return data

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of `data` (bytes-like).

        Raises:
            OSError: the connection broke; TimeoutError: the server did not read in time.
        """
        with memoryview(data).cast("B") as view:
            for start in range(0, len(view), READ_SIZE):
                self._patiently(self._tls.write, view[start : start + READ_SIZE])

    def send(self, data: Any, flags: int = 0) -> int:
        """Send all of `data`; returns how many bytes."""
        self.sendall(data)
        return len(data)

    def shutdown(self, how: int) -> None:
        """Say that nothing more comes (close_notify); the server's answers can still be read."""
        with self._lock, contextlib.suppress(ssl.SSLError):  # OpenSSL would wait for the server to say the same
            self._tls.unwrap()
        self._send()

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def settimeout(self, seconds: float | None) -> None:
        """How long one wait may last; None for ever."""
        self._sock.settimeout(seconds)

    def __getattr__(self, name: str) -> Any:
        """What else there is: `version`, `cipher`, `getpeercert`, `selected_alpn_protocol`; `fileno`, `getpeername`."""
        return getattr(self._tls if hasattr(self._tls, name) else self._sock, name)

    def _patiently(self, operation: Callable[..., Any], *arguments: Any) -> Any:
        while True:
            try:
                with self._lock:
                    done = operation(*arguments)
            except ssl.SSLWantReadError:
                self._send()
                self._receive()
            else:
                self._send()
                return done

    def _receive(self) -> None:
        data = self._sock.recv(READ_SIZE)
        with self._lock:
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def _send(self) -> None:
        """Send what OpenSSL has for the server; who comes while another is at it leaves it to that one."""
        while data := self._next_piece():
            try:
                self._sock.sendall(data)
            finally:
                self._sending = False

    def _next_piece(self) -> bytes:
        with self._lock:
            if self._sending:
                return b""
            data = self._outgoing.read()
            self._sending = bool(data)
            return data
