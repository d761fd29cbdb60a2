"""The time server's client: connects anew for each line that is typed, and prints the answer.

Run: python examples/time_client.py [PORT]
"""

import socket
import sys

PORT = int(sys.argv[1]) if sys.argv[1:] else 9001

for line in sys.stdin:
    with socket.create_connection(("127.0.0.1", PORT)) as connection:
        connection.sendall(f"{line.rstrip()}\n".encode())
        with connection.makefile("rb") as answer:
            print(answer.readline().decode(), end="", flush=True)
