"""Echo with a pool that is made beforehand: 16 processes serve the listener that they inherited.

Run: python examples/echo_pool_processes.py [PORT]

Talk to it with examples/echo_client.py. The 17th client waits for one of the others to leave.
"""

import multiprocessing
import signal
import sys

from portside import socketserver

PORT = int(sys.argv[1]) if sys.argv[1:] else 9000
WORKERS = 16


class EchoHandler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


if __name__ == "__main__":
    fork = multiprocessing.get_context("fork")  # a child that is spawned would inherit nothing
    with socketserver.TCPServer(("127.0.0.1", PORT), EchoHandler) as server:
        workers = [fork.Process(target=server.serve_forever, daemon=True) for _ in range(WORKERS)]
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the workers: Ctrl-C is their parent's, who ends them
        for worker in workers:
            worker.start()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        print(f"serving at 127.0.0.1:{server.server_address[1]}", flush=True)
        for worker in workers:
            worker.join()
