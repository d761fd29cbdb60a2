"""UDP with DatagramRequestHandler: `rfile` holds the datagram, and what is written to `wfile` is the answer.

Run: python examples/udp_server.py [PORT]
"""

import sys

from portside import socketserver

PORT = int(sys.argv[1]) if sys.argv[1:] else 9002


class Shout(socketserver.DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.rfile.read().upper())


if __name__ == "__main__":
    with socketserver.UDPServer(("127.0.0.1", PORT), Shout) as server:
        print(f"serving at 127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
