"""A client over UDP: sends each line that is typed as a datagram, and prints the answer.

Run: python examples/udp_client.py [PORT]
"""

import socket
import sys

PORT = int(sys.argv[1]) if sys.argv[1:] else 9002

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(5)  # seconds: a datagram may be lost, and then no answer ever comes
    client.connect(("127.0.0.1", PORT))
    for line in sys.stdin:
        client.send(line.rstrip().encode())
        print(client.recv(65_535).decode(), flush=True)
