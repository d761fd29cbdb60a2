"""A client for every echo server over TCP: sends each line that is typed, and prints the answer.

Run: python examples/echo_client.py [PORT]
"""

import socket
import sys

PORT = int(sys.argv[1]) if sys.argv[1:] else 9000

with socket.create_connection(("127.0.0.1", PORT)) as connection, connection.makefile("rb") as answers:
    for line in sys.stdin:
        connection.sendall(f"{line.rstrip()}\n".encode())
        answer = answers.readline()
        if not answer:
            sys.exit("the server has ended the connection")
        print(answer.decode(), end="", flush=True)
