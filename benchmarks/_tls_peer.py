"""The least that uvloop can do over TLS: a protocol that knows two answers. For an interpreter that has uvloop.

    python -m benchmarks._tls_peer PORT FOLDER

FOLDER holds certificate.pem and key.pem.
"""

import asyncio
import ssl
import sys
from pathlib import Path
from typing import Any

BULK = 100 * 1024**2
PIECE = bytes(256 * 1024)


class Answers(asyncio.Protocol):
    """`/100m.bin` is as long as its name says, everything else is a word; the connection ends after it."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.left = 0

    def data_received(self, data: bytes) -> None:
        self.left = BULK if data.startswith(b"GET /100m.bin") else 5
        self.transport.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % self.left)
        self.resume_writing()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        while self.left and not self.paused:
            piece = PIECE[: self.left]
            self.left -= len(piece)
            self.transport.write(piece)
        if not self.left:
            self.transport.close()


async def serve(port: int, folder: Path) -> None:
    """Until it is killed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    server = await asyncio.get_running_loop().create_server(Answers, "127.0.0.1", port, ssl=context, backlog=4096)
    await server.serve_forever()


def main() -> None:
    """Serve."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1]), Path(sys.argv[2])))


if __name__ == "__main__":
    main()
