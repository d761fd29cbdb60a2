"""Echo's client without a framework: socket, connect, sendall, recv, close.

Run: python examples/plain_socket_client.py [PORT]

An answer may arrive in pieces, so it is read until as many bytes are there as were sent.
"""

import socket
import sys

PORT = int(sys.argv[1]) if sys.argv[1:] else 9000

connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
connection.connect(("127.0.0.1", PORT))
for line in sys.stdin:
    sent = line.encode()
    connection.sendall(sent)
    answer = b""
    while len(answer) < len(sent):
        data = connection.recv(8192)
        if not data:
            sys.exit("the server has ended the connection")
        answer += data
    print(answer.decode(), end="", flush=True)
connection.close()
