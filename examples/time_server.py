"""A time server: reads a line, answers `[the time] line`, and closes.

Run: python examples/time_server.py [PORT]
"""

import sys
from time import ctime

from portside import socketserver

PORT = int(sys.argv[1]) if sys.argv[1:] else 9001


class TimeHandler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        line = self.rfile.readline()
        self.wfile.write(f"[{ctime()}] ".encode() + line)


if __name__ == "__main__":
    with socketserver.TCPServer(("127.0.0.1", PORT), TimeHandler) as server:
        print(f"serving at 127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
