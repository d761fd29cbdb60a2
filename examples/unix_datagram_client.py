"""A client over Unix datagrams: sends each line that is typed as a datagram, and prints the answer.

Run: python examples/unix_datagram_client.py [PATH]
"""

import socket
import sys

PATH = sys.argv[1] if sys.argv[1:] else "datagram.sock"

with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
    client.bind("")  # an address to be answered at, which Linux chooses; elsewhere bind a path of your own
    client.connect(PATH)
    for line in sys.stdin:
        client.send(line.rstrip().encode())
        print(client.recv(65_535).decode(), flush=True)
