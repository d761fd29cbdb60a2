"""Calls the XML-RPC server's functions with the standard library's client.

Run: python examples/xmlrpc_client.py [PORT]
"""

import sys
from xmlrpc.client import ServerProxy

PORT = int(sys.argv[1]) if sys.argv[1:] else 9008

with ServerProxy(f"http://127.0.0.1:{PORT}") as server:
    print("2 + 3 =", server.add(2, 3))
    print("served by", server.served_by())
