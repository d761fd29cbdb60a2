"""A server under a select of your own: it has a `fileno()`, so it can be watched beside anything else that has one.

Run: python examples/outer_select.py [PORT]

Here that is the keyboard: a line that is typed ends the program. Talk to it with examples/echo_client.py.
"""

import select
import sys

from portside import socketserver

PORT = int(sys.argv[1]) if sys.argv[1:] else 9000


class EchoHandler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


if __name__ == "__main__":
    with socketserver.ThreadingTCPServer(("127.0.0.1", PORT), EchoHandler) as server:
        print(f"serving at 127.0.0.1:{server.server_address[1]}", flush=True)
        while True:
            ready, _, _ = select.select([server, sys.stdin], [], [])
            if sys.stdin in ready:
                break
            server.handle_request()
