"""Echo without a framework: socket, bind, listen, accept, recv, sendall, close.

Run: python examples/plain_socket_server.py [PORT]

One client at a time. What a framework adds is everything that this program does not do.
"""

import socket
import sys

PORT = int(sys.argv[1]) if sys.argv[1:] else 9000

listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", PORT))
listener.listen()
print(f"serving at 127.0.0.1:{listener.getsockname()[1]}", flush=True)
try:
    while True:
        connection, _ = listener.accept()
        while data := connection.recv(8192):
            connection.sendall(data)
        connection.close()
finally:
    listener.close()
