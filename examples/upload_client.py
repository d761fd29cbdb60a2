"""Uploads files: type `post|path` at the prompt.

Run: python examples/upload_client.py [PORT]

A file goes as `SIZE NAME`, and when the server is ready, its content in pieces of 1 KiB: it may be larger than memory.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import portside
from portside.framing import LengthPrefixed

PORT = int(sys.argv[1]) if sys.argv[1:] else 9007
PIECE = 1024  # bytes


def typed() -> Iterator[str]:
    print("> ", end="", flush=True)
    for line in sys.stdin:
        yield line.rstrip("\n")
        print("> ", end="", flush=True)


def upload(path: Path) -> str:
    """Send a file; returns what the server says of it. Each has a connection of its own."""
    with path.open("rb") as file, portside.connect(PORT, codec=LengthPrefixed(max_size=PIECE)) as server:
        left = os.fstat(file.fileno()).st_size
        server.send(f"{left} {path.name}".encode())
        answer = server.receive()
        if answer == b"ready":
            while left and (piece := file.read(min(left, PIECE))):
                server.send(piece)
                left -= len(piece)
            answer = server.receive() if not left else b"failed: the file became shorter while it was sent"
        return answer.decode()


for command in typed():
    verb, _, path = command.partition("|")
    if verb != "post" or not path:
        print("type post|path")
        continue
    try:
        print(f"{path}: {upload(Path(path))}")
    except (OSError, EOFError, ValueError) as error:
        print(f"{path}: failed: {error}")
