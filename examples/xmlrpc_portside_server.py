"""XML-RPC on Portside's own classes: the standard library's program with another import.

Run: python examples/xmlrpc_portside_server.py [PORT], and with it examples/xmlrpc_client.py
"""

import sys
from typing import Any

from portside import socketserver
from portside.xmlrpc import SimpleXMLRPCServer

PORT = int(sys.argv[1]) if sys.argv[1:] else 9008


class Server(socketserver.ThreadingMixIn, SimpleXMLRPCServer):
    pass


def add(first: Any, second: Any) -> Any:
    return first + second


def served_by() -> str:
    return socketserver.TCPServer.__module__


if __name__ == "__main__":
    with Server(("127.0.0.1", PORT), logRequests=False) as server:
        server.register_function(add)
        server.register_function(served_by)
        print(f"serving at 127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
