"""The least that uvloop can do over TLS: a protocol that knows two answers. For an interpreter that has uvloop.

    python -m benchmarks._tls_peer PORT FOLDER

FOLDER holds certificate.pem and key.pem.
"""

import asyncio
import io
import ssl
import sys
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

PIECE = 256 * 1024


class Answers(asyncio.Protocol):
    """`/100m.bin` is that file, as of the other servers; everything else is a word; the connection ends after it.

    Args:
        folder: where the file is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"GET /100m.bin"):
            path = self.folder / "100m.bin"
            self.content: BinaryIO = path.open("rb")
            size = path.stat().st_size
        else:
            self.content, size = io.BytesIO(b"hello"), 5
        self.transport.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size)
        self.resume_writing()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        while not self.paused and not self.content.closed:
            piece = self.content.read(PIECE)
            if not piece:
                self.content.close()
                self.transport.close()
            else:
                self.transport.write(piece)


async def serve(port: int, folder: Path) -> None:
    """Until it is killed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    server = await asyncio.get_running_loop().create_server(
        partial(Answers, folder), "127.0.0.1", port, ssl=context, backlog=4096
    )
    await server.serve_forever()


def main() -> None:
    """Serve."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1]), Path(sys.argv[2])))


if __name__ == "__main__":
    main()
