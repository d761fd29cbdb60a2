"""Socket options before binding: with `bind_and_activate=False` the listener can be changed first.

Run: python examples/options_before_binding.py [PORT]

SO_REUSEADDR lets a server start again at once, while the system still remembers old connections to its port.
"""

import socket
import sys

from portside import socketserver

PORT = int(sys.argv[1]) if sys.argv[1:] else 9000


class EchoHandler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


if __name__ == "__main__":
    with socketserver.TCPServer(("127.0.0.1", PORT), EchoHandler, bind_and_activate=False) as server:
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
        server.server_bind()
        server.server_activate()
        print(f"serving at 127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
