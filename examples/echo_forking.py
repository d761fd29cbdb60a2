"""Echo for many clients at once: a child process for each connection.

Run: python examples/echo_forking.py [PORT]

At most `max_children` (40) run at once; further clients wait. Talk to it with examples/echo_client.py.
"""

import sys

from portside import socketserver

PORT = int(sys.argv[1]) if sys.argv[1:] else 9000


class EchoHandler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


if __name__ == "__main__":
    with socketserver.ForkingTCPServer(("127.0.0.1", PORT), EchoHandler) as server:
        print(f"serving at 127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
