"""A Unix stream socket, for clients on the same machine: its address is a path.

Run: python examples/unix_stream_server.py [PATH]
"""

import sys

from portside import socketserver

PATH = sys.argv[1] if sys.argv[1:] else "stream.sock"


class Shout(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


class ShoutServer(socketserver.UnixStreamServer):
    unlink_on_close = True  # Portside's own: the standard library leaves the socket's file behind


if __name__ == "__main__":
    with ShoutServer(PATH, Shout) as server:
        print(f"serving at {server.server_address}", flush=True)
        server.serve_forever()
