"""`handle_request()` serves one request and returns; `handle_timeout()` is called when none comes in time.

Run: python examples/one_request.py [PORT [SECONDS]]

Talk to it with examples/echo_client.py.
"""

import sys

from portside import socketserver

PORT = int(sys.argv[1]) if sys.argv[1:] else 9000
SECONDS = float(sys.argv[2]) if sys.argv[2:] else 30.0


class EchoHandler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


class OneRequest(socketserver.TCPServer):
    timeout = SECONDS

    def handle_timeout(self) -> None:
        print(f"nobody came within {SECONDS:g} s", flush=True)


if __name__ == "__main__":
    with OneRequest(("127.0.0.1", PORT), EchoHandler) as server:
        print(f"serving at 127.0.0.1:{server.server_address[1]}", flush=True)
        server.handle_request()
