"""Echo over TLS, which is set up in `setup()`: in the client's own thread, so that a silent client holds up nobody.

    openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost \
        -keyout key.pem -out certificate.pem
    python examples/tls_server.py [PORT [CERTIFICATE KEY]]
"""

import ssl
import sys

from portside import socketserver

PORT = int(sys.argv[1]) if sys.argv[1:] else 9003
CERTIFICATE, KEY = sys.argv[2:] or ("certificate.pem", "key.pem")


class EchoHandler(socketserver.StreamRequestHandler):
    timeout = 30  # seconds that one read or write may wait, the handshake's included

    def setup(self) -> None:
        self.request.settimeout(self.timeout)
        self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)

    def finish(self) -> None:
        super().finish()
        self.request.close()  # the server closes the socket that it gave, which the TLS socket has replaced


class TlsServer(socketserver.ThreadingTCPServer):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)


if __name__ == "__main__":
    TlsServer.context.load_cert_chain(CERTIFICATE, KEY)
    with TlsServer(("127.0.0.1", PORT), EchoHandler) as server:
        print(f"serving at 127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
