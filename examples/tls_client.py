"""A client over TLS that trusts one certificate: sends each line that is typed, and prints the answer.

Run: python examples/tls_client.py [PORT [CERTIFICATE]]
"""

import socket
import ssl
import sys

PORT = int(sys.argv[1]) if sys.argv[1:] else 9003
CERTIFICATE = sys.argv[2] if sys.argv[2:] else "certificate.pem"

context = ssl.create_default_context(cafile=CERTIFICATE)
with (
    socket.create_connection(("127.0.0.1", PORT)) as connection,
    context.wrap_socket(connection, server_hostname="localhost") as secured,
    secured.makefile("rb") as answers,
):
    for line in sys.stdin:
        secured.sendall(f"{line.rstrip()}\n".encode())
        print(answers.readline().decode(), end="", flush=True)
