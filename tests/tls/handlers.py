"""Handlers of these tests, blocking and as coroutines."""

import socket
from typing import Any

from portside import (
    AsyncFramedRequestHandler,
    AsyncStreamRequestHandler,
    FramedRequestHandler,
    StreamRequestHandler,
)
from portside.peer import Peer


def described(peer: Peer) -> bytes:
    """One line."""
    names = [] if peer.certificate is None else [dict(part)["commonName"] for part in peer.certificate["subject"][-1:]]
    words = (names[0] if names else None, peer.tls_version, peer.cipher, peer.alpn, peer.server_name)
    return " ".join(map(str, words)).encode() + b"\n"


class Tells(StreamRequestHandler):
    """Tells a client who it is."""

    def handle(self) -> None:
        self.rfile.readline()
        self.wfile.write(described(self.peer))


class TellsAsync(AsyncStreamRequestHandler):
    """The same."""

    async def handle(self) -> None:
        await self.reader.readline()
        self.writer.write(described(self.peer))


class Hurries(StreamRequestHandler):
    """Tells whether small writes leave at once; what was so before TLS began is told to who says STARTTLS."""

    def handle(self) -> None:
        if self.rfile.readline() == b"STARTTLS\n":
            self.wfile.write(prompt(self.request))
            self.start_tls()
        self.wfile.write(prompt(self.request))


class HurriesAsync(AsyncStreamRequestHandler):
    """The same."""

    async def handle(self) -> None:
        if await self.reader.readline() == b"STARTTLS\n":
            self.writer.write(b"?\n")
            await self.start_tls()
        self.writer.write(prompt(self.writer.get_extra_info("socket")))


def prompt(sock: Any) -> bytes:
    """A digit and a newline."""
    return b"%d\n" % bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


class Fails(StreamRequestHandler):
    """Loses its database, which is not its client."""

    def handle(self) -> None:
        raise ConnectionResetError("the database has gone")


class FailsAsync(AsyncStreamRequestHandler):
    """The same."""

    async def handle(self) -> None:
        raise ConnectionResetError("the database has gone")


class Starts(StreamRequestHandler):
    """Lines in the clear, each back in upper case, until a client says STARTTLS; who it is, and lines, after that."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            if line == b"STARTTLS\n":
                self.wfile.write(b"GO\n")
                self.start_tls()
                self.wfile.write(described(self.peer))
            else:
                self.wfile.write(line.upper())


class StartsAsync(AsyncStreamRequestHandler):
    """The same."""

    async def handle(self) -> None:
        while line := await self.reader.readline():
            if line == b"STARTTLS\n":
                self.writer.write(b"GO\n")
                await self.start_tls()
                self.writer.write(described(self.peer))
            else:
                self.writer.write(line.upper())


class StartsFramed(FramedRequestHandler):
    """Frames, likewise."""

    def handle(self) -> None:
        for frame in self.frames:
            if frame == b"STARTTLS":
                self.send(b"GO")
                self.start_tls()
            else:
                self.send(frame.upper())


class StartsFramedAsync(AsyncFramedRequestHandler):
    """The same."""

    async def handle(self) -> None:
        async for frame in self.frames:
            if frame == b"STARTTLS":
                await self.send(b"GO")
                await self.start_tls()
            else:
                await self.send(frame.upper())
