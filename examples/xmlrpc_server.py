"""XML-RPC from the standard library, unchanged: nothing here imports Portside.

Run: python -m portside.compat examples/xmlrpc_server.py [PORT]

`portside.compat` runs a program with Portside's classes in the place of the standard library's; `served_by` tells.
"""

import socketserver
import sys
from typing import Any
from xmlrpc.server import SimpleXMLRPCServer

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
