"""Echo with a pool that is made beforehand: 16 threads serve one listener, so 16 clients at most are served at once.

Run: python examples/echo_pool_threads.py [PORT]

Talk to it with examples/echo_client.py. The 17th client waits for one of the others to leave.
"""

import sys
from threading import Thread

from portside import socketserver

PORT = int(sys.argv[1]) if sys.argv[1:] else 9000
WORKERS = 16


class EchoHandler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


if __name__ == "__main__":
    with socketserver.TCPServer(("127.0.0.1", PORT), EchoHandler) as server:
        workers = [Thread(target=server.serve_forever, daemon=True) for _ in range(WORKERS)]
        for worker in workers:
            worker.start()
        print(f"serving at 127.0.0.1:{server.server_address[1]}", flush=True)
        for worker in workers:
            worker.join()
