"""Echo with StreamRequestHandler's class attributes: a deadline for each read and write, buffers, Nagle's algorithm.

Run: python examples/echo_tuned.py [PORT]

Talk to it with examples/echo_client.py, and then be silent for five seconds.
"""

import sys

from portside import socketserver

PORT = int(sys.argv[1]) if sys.argv[1:] else 9000


class EchoHandler(socketserver.StreamRequestHandler):
    timeout = 5  # seconds that one read or write may wait
    rbufsize = -1  # bytes of the read buffer; -1 is the system's default
    wbufsize = 0  # bytes of the write buffer; 0 sends each write at once
    disable_nagle_algorithm = False  # True sends small packets without waiting for the last one's receipt

    def handle(self) -> None:
        try:
            for line in self.rfile:
                self.wfile.write(line)
        except TimeoutError:
            print(f"{self.client_address} timed out", flush=True)


if __name__ == "__main__":
    with socketserver.TCPServer(("127.0.0.1", PORT), EchoHandler) as server:
        print(f"serving at 127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
