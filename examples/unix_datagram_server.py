"""A Unix datagram socket: datagrams between programs of one machine, none of them lost.

Run: python examples/unix_datagram_server.py [PATH]
"""

import sys

from portside import socketserver

PATH = sys.argv[1] if sys.argv[1:] else "datagram.sock"


class Shout(socketserver.DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.rfile.read().upper())


class ShoutServer(socketserver.UnixDatagramServer):
    unlink_on_close = True  # Portside's own: the standard library leaves the socket's file behind


if __name__ == "__main__":
    with ShoutServer(PATH, Shout) as server:
        print(f"serving at {server.server_address}", flush=True)
        server.serve_forever()
