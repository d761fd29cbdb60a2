"""Sends each command line that is typed to the remote execution server, and prints what comes back.

Run: python examples/remote_execution_client.py [PORT]
"""

import sys

import portside
from portside.framing import LengthPrefixed

PORT = int(sys.argv[1]) if sys.argv[1:] else 9006
CODEC = LengthPrefixed(width=8, max_size=2**63 - 1)  # output has any size, and as bytes any encoding

try:
    with portside.connect(PORT, codec=CODEC) as shell:
        for line in sys.stdin:
            shell.send(line.rstrip().encode())
            sys.stdout.buffer.write(shell.receive())
            sys.stdout.buffer.flush()
except (EOFError, ConnectionError):
    sys.exit("the server has gone")
