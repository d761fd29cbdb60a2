"""A proxy: each client is connected through to another server, and bytes go both ways, thousands of clients at once.

Run: python examples/proxy_server.py [PORT [SERVER]], for example with SERVER=tcp://127.0.0.1:9000
"""

import socket
import sys
from contextlib import suppress

import portside
from portside.telemetry import ServerStarted, subscribe

PORT = int(sys.argv[1]) if sys.argv[1:] else 9007
SERVER = sys.argv[2] if sys.argv[2:] else "tcp://127.0.0.1:9000"


class Proxy(portside.BaseRequestHandler):
    def handle(self) -> None:
        try:
            client = portside.connect(SERVER, timeout=10)  # in a green handler, connecting holds up nobody
        except OSError:
            return  # the server is not there: the client reads the end of its connection
        with client:
            client.socket.settimeout(None)
            back = portside.spawn(carry, client.socket, self.request)
            carry(self.request, client.socket)
            back.join()


def carry(source: socket.socket, target: socket.socket) -> None:
    """Pass on what arrives; the end of one is the end of the other, and whoever fails ends both."""
    try:
        while data := source.recv(65_536):
            target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
    except OSError:
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    subscribe(lambda event: print("serving at {}:{}".format(*event.address), flush=True), ServerStarted)
    portside.serve(Proxy, PORT, engine="green")
