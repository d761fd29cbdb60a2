"""Access control: `verify_request` looks at each client before its handler is made.

Run: python examples/access_control.py [PORT [NETWORK]]

Only clients from NETWORK are served. Talk to it with examples/echo_client.py.
"""

import sys
from ipaddress import ip_address, ip_network
from typing import Any

from portside import socketserver

PORT = int(sys.argv[1]) if sys.argv[1:] else 9000
NETWORK = ip_network(sys.argv[2] if sys.argv[2:] else "127.0.0.1/32")


class EchoHandler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


class PickyServer(socketserver.ThreadingTCPServer):
    def verify_request(self, request: Any, client_address: Any) -> bool:
        return ip_address(client_address[0]) in NETWORK


if __name__ == "__main__":
    with PickyServer(("127.0.0.1", PORT), EchoHandler) as server:
        print(f"serving at 127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
