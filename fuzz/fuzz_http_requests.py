"""Fuzz connections of HTTP: the compiled short cut and the long way make the same of any bytes, however they arrive.

    python -m fuzz.fuzz_http_requests --seconds 60

Several requests in a row, many of them like the one before, go to one handler three times: over a green socket, where
the compiled reader takes them; over the same in pieces; and over a plain socket to a handler with a `parse_request` of
its own, which keeps to Python. What comes back must be the same bytes but for 100 (Continue), whose place depends on
what has arrived; and no handler may fail but by its client's doing. No coverage leads the inputs: what is tried is
compiled.
"""

import io
import itertools
import random
import re
import socket
from typing import Any
from urllib.parse import urlsplit

from fuzz._noise import spoil
from fuzz._runner import run
from portside.core import hub
from portside.core.sockets import GreenSocket
from portside.http.handler import BaseHTTPRequestHandler
from portside.http.limits import HTTPLimits
from portside.http.servers import HTTPServer

LINES = (
    *("GET / HTTP/1.1", "GET / HTTP/1.1", "GET /read?a=b HTTP/1.1", "POST /read HTTP/1.1", "POST / HTTP/1.1"),
    *("HEAD /read HTTP/1.1", "GET / HTTP/1.0", "PUT /read HTTP/1.0", "GET //read HTTP/1.1", "GET /\xe9 HTTP/1.1"),
    *("GET http://a/read HTTP/1.1", "GET http://[::1]/ HTTP/1.1", "GET http://[z]/ HTTP/1.1", "GET //[/ HTTP/1.1"),
    *("OPTIONS * HTTP/1.1", "SPAM / HTTP/1.1", "GET /", "GET /open HTTP/1.1", "GET  / X"),
    *("GET / HTTP/2.0", "GET / HTTP/1.10", "DELETE /read HTTP/1.1", "PATCH /open HTTP/1.0", "get / HTTP/1.1", ""),
)
FIELDS = (
    *("Host: a", "Host: a", "Host: a", "host:a", "Connection: close", "Connection: keep-alive", "X: y", "Cookie: \xe9"),
    *(
        "Content-Length: 5",
        "Content-Length: 0",
        "Transfer-Encoding: chunked",
        "Expect: 100-continue",
        "X : y",
        " folded",
    ),
    *(
        "Content-Length: +5",
        "Host: [::1]:80",
        "Host: [x]",
        "Upgrade: x",
        "Connection: upgrade",
        "Transfer-Encoding: gzip, chunked",
        f"X: {'y' * 300}",
    ),
)
BODIES = (
    b"",
    b"",
    b"",
    b"abcde",
    b"abcde",
    b"0\r\n\r\n",
    b"3\r\nabc\r\n0\r\n\r\n",
    b"5;x=y\r\nabcde\r\n0\r\nT: v\r\n\r\n",
)
AGAIN = 0.5  # share of requests that are the one before, again
NOISE = 0.15  # share of connections with a byte changed: most requests stay nearly right
MOST = 100_000  # bytes that a socket pair holds without a reader, both ways
LIMITS = HTTPLimits(request_line=200, header_line=250, header_bytes=600, header_count=8, linger_seconds=0.001)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHANGES = re.compile(rb"Date: [^\r]*\r\n")


class Tells(BaseHTTPRequestHandler):
    """Answers with all that it was told; leaves the body unread unless the path says `read`."""

    protocol_version = "HTTP/1.1"
    http_limits = LIMITS
    error_message_format = "%(code)d"  # what is wrong is told of what has come, which may be less or more of it

    def do_GET(self) -> None:
        """Tell."""
        urlsplit(self.path)  # as programs do, of which few expect it to fail
        body = self.rfile.read() if "read" in self.path else b"-"
        told = (self.command, self.path, self.request_version, self.requestline, self.raw_requestline)
        answer = repr((*told, self.headers.items(), self.close_connection, body)).encode()
        self.send_response(200)
        if "open" not in self.path:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""


for _method in ("HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
    setattr(Tells, f"do_{_method}", Tells.do_GET)


class GoesTheLongWay(Tells):
    """The same; an override that does nothing keeps it from the short cut."""

    def parse_request(self) -> bool:
        """What it always was."""
        return super().parse_request()


SERVER = HTTPServer(("127.0.0.1", 0), Tells, bind_and_activate=False)
SERVER.server_name, SERVER.server_port = "localhost", 80


def check(pieces: list[bytes]) -> None:
    """Try one input."""
    whole = b"".join(pieces)
    try:
        expected = by_itself(whole)
        for arriving in ([whole], pieces):
            found = hub.run(beside_others, arriving)
            assert found == expected, f"the short cut answers\n{found!r}\nthe long way\n{expected!r}"
    except Exception as error:
        error.add_note(f"pieces: {pieces!r}")
        raise


def by_itself(data: bytes) -> bytes:
    """The long way's answers."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        handle(GoesTheLongWay, ours)
        ours.close()
        return answers(theirs)


def beside_others(pieces: list[bytes]) -> bytes:
    """The answers where requests come in pieces, each when those before it were seen."""
    ours, theirs = (GreenSocket(fileno=each.detach()) for each in socket.socketpair())
    running = hub.running_hub()
    assert running is not None
    with ours, theirs:
        feeder = running.spawn(feed, theirs, pieces)
        handle(Tells, ours)
        feeder.kill()
        ours.close()
        return answers(theirs)


def feed(sock: GreenSocket, pieces: list[bytes]) -> None:
    """Send each piece when those who wait for it had a turn."""
    try:
        for piece in pieces:
            sock.sendall(piece)
            hub.sleep(0)
        sock.shutdown(socket.SHUT_WR)
    except ConnectionError:  # the handler has gone, and need not read on
        return


def handle(handler: type[Tells], sock: socket.socket) -> None:
    """Serve a connection; what its client did wrong may be told so."""
    try:
        handler(sock, ("127.0.0.1", 1), SERVER)
    except ConnectionError as error:
        del error


def answers(sock: socket.socket) -> bytes:
    """All that has come back, without what depends on the time."""
    found = io.BytesIO()
    try:
        while data := sock.recv(65_536):
            found.write(data)
    except ConnectionResetError:  # something was left unread
        pass
    return CHANGES.sub(b"", found.getvalue()).replace(CONTINUE, b"")


# Where inputs come from


def made_up(source: random.Random) -> list[bytes]:
    """Some requests, now and then with noise, in pieces."""
    requests = [request(source)]
    while source.random() < 0.8 and len(requests) < 12:
        requests.append(requests[-1] if source.random() < AGAIN else request(source))
    data = bytearray(b"".join(requests)[:MOST])
    spoil(data, source, NOISE)
    ends = sorted({0, len(data), *(source.randrange(len(data) + 1) for _ in range(source.randrange(5)))})
    return [bytes(data[start:end]) for start, end in itertools.pairwise(ends)]


def request(source: random.Random) -> bytes:
    """A line, fields, and perhaps a body."""
    fields = source.sample(FIELDS, source.choice((0, 1, 1, 2, 2, 3, 8)))
    if source.random() < 0.7:
        fields.insert(0, "Host: b")
    head = "\r\n".join((source.choice(LINES), *fields, "", ""))
    return head.encode("latin-1") + source.choice(BODIES)


if __name__ == "__main__":
    run(check, made_up)
