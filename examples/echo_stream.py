"""Echo with StreamRequestHandler: the connection as two files, `rfile` to read lines from and `wfile` to write to.

Run: python examples/echo_stream.py [PORT]

Talk to it with examples/echo_client.py.
"""

import sys

from portside import socketserver

PORT = int(sys.argv[1]) if sys.argv[1:] else 9000


class EchoHandler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


if __name__ == "__main__":
    with socketserver.TCPServer(("127.0.0.1", PORT), EchoHandler) as server:
        print(f"serving at 127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
