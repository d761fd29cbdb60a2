"""A client over a Unix stream socket: sends each line that is typed, and prints the answer.

Run: python examples/unix_stream_client.py [PATH]
"""

import socket
import sys

PATH = sys.argv[1] if sys.argv[1:] else "stream.sock"

with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rb") as answers:
    connection.connect(PATH)
    for line in sys.stdin:
        connection.sendall(f"{line.rstrip()}\n".encode())
        print(answers.readline().decode(), end="", flush=True)
