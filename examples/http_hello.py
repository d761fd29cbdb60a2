"""Answers every GET with "It works", and a header of its own; started and stopped from a program.

    python examples/http_hello.py

The handler is written as for the standard library's http.server: only the import differs.
"""

import threading
import urllib.request

from portside.http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ItWorks(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b"It works\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Served-By", "Portside")
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), ItWorks) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/") as answer:
            print(answer.headers["X-Served-By"], "says:", answer.read().decode(), end="")
        server.shutdown()
        thread.join()


if __name__ == "__main__":
    main()
