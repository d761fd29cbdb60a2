"""Stores the files that it is sent under one folder: `SIZE NAME`, then the content in pieces of 1 KiB.

Run: python examples/upload_server.py [PORT [FOLDER]]
It answers `ready` and `stored`, or why not. A file appears when it is whole, and never replaces another.
"""

import os
import sys
import tempfile
from pathlib import Path

import portside
from portside.framing import LengthPrefixed
from portside.telemetry import ServerStarted, subscribe

PORT = int(sys.argv[1]) if sys.argv[1:] else 9007
FOLDER = Path(sys.argv[2] if sys.argv[2:] else "uploads")
LIMIT = 1024**3  # bytes of a file


class Upload(portside.FramedRequestHandler):
    codec = LengthPrefixed(max_size=1024)
    timeout = 30  # seconds that one read or write may wait

    def handle(self) -> None:
        for header in self.frames:
            try:
                size, name = checked(header.decode())
                self.send(b"ready")
                self.store(size, FOLDER / name)
                self.send(b"stored")
            except (OSError, ValueError) as error:
                self.send(f"refused: {getattr(error, 'strerror', None) or error}".encode()[:1024])
                return

    def store(self, size: int, path: Path) -> None:
        with tempfile.NamedTemporaryFile(dir=FOLDER, prefix=".upload-", buffering=0) as part:  # gone when it is closed
            while part.tell() < size and (piece := next(self.frames, b"")):
                part.write(piece)
            if part.tell() != size:
                raise ConnectionError(f"{part.tell()} bytes came, and {size} were announced")
            os.link(part.name, path)


def checked(header: str) -> tuple[int, str]:
    size, _, name = header.partition(" ")
    if not 0 <= int(size) <= LIMIT:
        raise ValueError(f"a file has at most {LIMIT} bytes")
    if name[:1] in ("", ".") or "/" in name or "\0" in name:
        raise ValueError("this is no name for a file")
    if (FOLDER / name).exists():
        raise ValueError("there is such a file already")
    return int(size), name


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    subscribe(lambda event: print("serving at {}:{}".format(*event.address), flush=True), ServerStarted)
    portside.serve(Upload, PORT)
