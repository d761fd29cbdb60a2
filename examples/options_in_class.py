"""The commonest socket option has a class attribute: `allow_reuse_address` is SO_REUSEADDR.

Run: python examples/options_in_class.py [PORT]

It lets a server start again at once, while the system still remembers old connections to its port.
"""

import sys

from portside import socketserver

PORT = int(sys.argv[1]) if sys.argv[1:] else 9000


class EchoHandler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


class EchoServer(socketserver.TCPServer):
    allow_reuse_address = True


if __name__ == "__main__":
    with EchoServer(("127.0.0.1", PORT), EchoHandler) as server:
        print(f"serving at 127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
