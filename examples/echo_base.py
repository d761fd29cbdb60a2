"""Echo with BaseRequestHandler: a `recv` loop on the connection's socket.

Run: python examples/echo_base.py [PORT]

Talk to it with examples/echo_client.py.
"""

import sys

from portside import socketserver

PORT = int(sys.argv[1]) if sys.argv[1:] else 9000


class EchoHandler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(8192):
            self.request.sendall(data)


if __name__ == "__main__":
    with socketserver.TCPServer(("127.0.0.1", PORT), EchoHandler) as server:
        print(f"serving at 127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
