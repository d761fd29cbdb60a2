"""BaseHTTPRequestHandler on real connections: what comes out for what goes in, and in which order hooks are called."""

import io
import socket
import struct
import threading
import time
from http import HTTPStatus
from typing import Any

import pytest

from portside.http.errors import HTTPError
from portside.http.handler import BaseHTTPRequestHandler
from portside.http.limits import HTTPLimits
from portside.http.reader import SocketHeads
from portside.http.servers import GreenHTTPServer, HTTPServer
from portside.telemetry import HandlerFailed, RequestServed, subscribe
from tests.conftest import DEADLINE, wait_until
from tests.core.kit import unread
from tests.http.conftest import Dial
from tests.http.kit import get, post


class Quiet(BaseHTTPRequestHandler):
    """HTTP/1.1, and nothing on stderr."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self, body: bytes, **headers: str) -> None:
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Hello(Quiet):
    def do_GET(self) -> None:
        self.answer(b"hello " + self.path.encode())

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.answer(b"got " + self.rfile.read())

    def do_IGNORE(self) -> None:
        self.answer(b"did not look")


class Streams(Quiet):
    def do_GET(self) -> None:
        self.send_response(int(self.path[1:] or 200))
        self.end_headers()
        for word in (b"one ", b"", b"two ", b"three"):
            self.wfile.write(word)

    do_HEAD = do_GET


# Keeping the connection


def test_requests_follow_each_other(dial: Dial) -> None:
    client = dial(Hello)
    for path in ("/a", "/b"):
        client.send(get(path))
        response = client.response()
        assert (response.status, response.body) == (200, b"hello " + path.encode())
        assert "Connection" not in response.headers


def test_pipelined_requests_are_answered_in_order(dial: Dial) -> None:
    client = dial(Hello)
    client.send(get("/a") + post(b"body") + get("/b") + get("/c", fields="Connection: close\r\n"))
    bodies = [client.response().body for _ in range(4)]
    assert bodies == [b"hello /a", b"got body", b"hello /b", b"hello /c"]
    assert client.rest() == b""


def test_a_head_may_come_byte_by_byte(dial: Dial) -> None:
    client = dial(Hello)
    client.send(*(bytes([byte]) for byte in get("/slow")))
    assert client.response().body == b"hello /slow"


@pytest.mark.parametrize("first", range(1, 9))
def test_a_head_may_come_in_two_pieces(first: int) -> None:
    """Three bytes that came first were once taken for a whole one: its end, not found, was at -1, and is four long."""
    ours, theirs = socket.socketpair()
    request = get("/slow")
    heads: list[bytes] = []
    with ours, theirs:
        reader = SocketHeads(ours, HTTPLimits(), DEADLINE)
        theirs.sendall(request[:first])
        reading = threading.Thread(target=lambda: heads.append(reader.head()))
        reading.start()
        assert wait_until(lambda: unread(ours) == 0)
        theirs.sendall(request[first:])
        reading.join(DEADLINE)
    assert heads == [request]


@pytest.mark.parametrize(
    ("version", "fields", "kept", "told"),
    [
        ("HTTP/1.1", "", True, None),
        ("HTTP/1.1", "Connection: close\r\n", False, "close"),
        ("HTTP/1.1", "Connection: TE, Close\r\n", False, "close"),
        ("HTTP/1.0", "", False, None),
        ("HTTP/1.0", "Connection: Keep-Alive\r\n", True, "keep-alive"),
        ("HTTP/1.2", "", True, None),
    ],
)
def test_connection_is_kept_or_not(dial: Dial, version: str, fields: str, kept: bool, told: str | None) -> None:
    client = dial(Hello)
    client.send(get(version=version, fields=fields), get(fields="Connection: close\r\n"))
    response = client.response()
    assert response.headers["Connection"] == told
    assert (client.rest() != b"") == kept


def test_http_1_0_handler_closes(dial: Dial) -> None:
    class Old(Hello):
        protocol_version = "HTTP/1.0"

    client = dial(Old)
    client.send(get())
    assert client.rest().startswith(b"HTTP/1.0 200 OK\r\n")


def test_http_0_9_gets_the_body_alone(dial: Dial) -> None:
    client = dial(Hello)
    client.send(b"GET /old\r\n\r\n")
    assert client.rest() == b"hello /old"


def test_an_empty_line_before_a_request_is_ignored(dial: Dial) -> None:
    client = dial(Hello)
    client.send(b"\r\n" + get("/a"), b"\r\n" + get("/b"))
    assert [client.response().body, client.response().body] == [b"hello /a", b"hello /b"]


def test_client_that_leaves_before_a_request_is_no_failure(dial: Dial, caplog: pytest.LogCaptureFixture) -> None:
    client = dial(Hello)
    client.end()
    assert client.rest() == b""
    assert caplog.records == []


# Bodies of requests


def test_rfile_ends_with_the_body(dial: Dial) -> None:
    class Reads(Quiet):
        def do_POST(self) -> None:
            lines = [self.rfile.readline(), self.rfile.read(2), *self.rfile, self.rfile.read(), self.rfile.read1()]
            self.answer(repr(lines).encode())

        def do_GET(self) -> None:
            self.answer(repr([self.rfile.read(), self.rfile.readline(), self.rfile.read(5)]).encode())

    client = dial(Reads)
    client.send(post(b"first\nsecond\nthird") + get())
    assert client.response().body == repr([b"first\n", b"se", b"cond\n", b"third", b"", b""]).encode()
    assert client.response().body == repr([b"", b"", b""]).encode()


def test_chunks_are_decoded(dial: Dial) -> None:
    client = dial(Hello)
    chunks = b'3\r\nabc\r\n004;name="v"\r\ndefg\r\n0\r\nTrailer: yes\r\n\r\n'
    client.send(get(method="POST", fields="Transfer-Encoding: chunked\r\n") + chunks + get("/next"))
    assert client.response().body == b"got abcdefg"
    assert client.response().body == b"hello /next"


def test_unread_body_is_dropped(dial: Dial) -> None:
    client = dial(Hello)
    body = b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n" * 100
    client.send(get(method="IGNORE", fields=f"Content-Length: {len(body)}\r\n"), body, get("/next"))
    assert client.response().body == b"did not look"
    assert client.response().body == b"hello /next"


def test_unread_chunks_are_dropped(dial: Dial) -> None:
    client = dial(Hello)
    client.send(get(method="IGNORE", fields="Transfer-Encoding: chunked\r\n") + b"3\r\nabc\r\n0\r\n\r\n" + get("/next"))
    assert [client.response().body, client.response().body] == [b"did not look", b"hello /next"]


def test_too_much_unread_closes_and_the_answer_arrives(dial: Dial) -> None:
    class Small(Hello):
        http_limits = HTTPLimits(unread_bytes=1000)

    client = dial(Small)
    client.send(get(method="IGNORE", fields="Content-Length: 100000\r\n"), b"x" * 100_000, get("/next"))
    assert client.response().body == b"did not look"
    assert client.rest() == b""


def test_body_that_ends_early_is_not_taken_for_whole(dial: Dial) -> None:
    client = dial(Hello)
    client.send(get(method="POST", fields="Content-Length: 10\r\n") + b"12345")
    client.end()
    response = client.response()
    assert (response.status, response.reason) == (400, "Incomplete request")


def test_continue_is_sent_when_the_body_is_read(dial: Dial) -> None:
    reached, go = threading.Event(), threading.Event()

    class Waits(Quiet):
        def do_POST(self) -> None:
            reached.set()
            assert go.wait(10)
            self.answer(self.rfile.read())

    client = dial(Waits)
    client.send(get(method="POST", fields="Content-Length: 4\r\nExpect: 100-continue\r\n"))
    assert reached.wait(10)
    client.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.sock.recv(1)
    client.sock.settimeout(10)
    go.set()
    assert client.response().status == 100
    client.send(b"body")
    assert client.response().body == b"body"


def test_unread_expectation_closes(dial: Dial) -> None:
    client = dial(Hello)
    client.send(get(method="IGNORE", fields="Content-Length: 4\r\nExpect: 100-continue\r\n"))
    response = client.response()
    assert (response.status, response.headers["Connection"]) == (200, "close")
    assert client.rest() == b""


def test_expectation_may_be_refused(dial: Dial) -> None:
    class Refuses(Hello):
        def handle_expect_100(self) -> bool:
            self.send_error(HTTPStatus.EXPECTATION_FAILED)
            return False

    client = dial(Refuses)
    client.send(get(method="POST", fields="Content-Length: 4\r\nExpect: 100-continue\r\n"))
    assert client.response().status == 417
    assert client.rest() == b""


# Responses


def test_response_without_length_is_chunked(dial: Dial) -> None:
    client = dial(Streams)
    client.send(get() + get())
    for _ in range(2):
        response = client.response()
        assert response.headers["Transfer-Encoding"] == "chunked"
        assert response.body == b"one two three"


def test_response_without_length_to_an_old_client_ends_the_connection(dial: Dial) -> None:
    client = dial(Streams)
    client.send(get(version="HTTP/1.0", fields="Connection: keep-alive\r\n"))
    response = client.response()
    assert "Transfer-Encoding" not in response.headers
    assert (response.headers["Connection"], response.body) == (None, b"one two three")


def test_response_with_nothing_written_has_length_0(dial: Dial) -> None:
    class Empty(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

    client = dial(Empty)
    client.send(get() + get())
    assert [client.response().headers["Content-Length"] for _ in range(2)] == ["0", "0"]


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_no_body_whatever_is_written(dial: Dial, method: str, status: int) -> None:
    client = dial(Streams)
    client.send(get(f"/{status}", method=method) + get())
    response = client.response(method)
    assert (response.status, response.body) == (status, b"")
    assert client.response().body == b"one two three"


@pytest.mark.parametrize(("promised", "arrives"), [(3, b"hel"), (10, b"hello")])
def test_broken_promise_of_a_length_closes(dial: Dial, promised: int, arrives: bytes) -> None:
    class Lies(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(promised))
            self.end_headers()
            self.wfile.write(b"hello")

    client = dial(Lies)
    client.send(get() + get())
    assert client.rest().partition(b"\r\n\r\n")[2] == arrives


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="the system does not count segments")
def test_head_and_small_body_leave_together(dial: Dial) -> None:
    client = dial(Hello)
    client.send(get())
    client.response()
    info = client.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
    (data_segments,) = struct.unpack_from("=I", info, 152)  # tcpi_data_segs_in of linux/tcp.h
    assert data_segments == 1


def test_flush_sends_the_head(dial: Dial) -> None:
    go = threading.Event()

    class Flushes(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            assert go.wait(10)
            self.wfile.write(b"late")

    client = dial(Flushes)
    client.send(get())
    assert client.file.readline() == b"HTTP/1.1 200 OK\r\n"
    go.set()
    assert client.rest_of_chunks() == b"late"


def test_program_may_write_to_the_socket_itself(dial: Dial) -> None:
    class Direct(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.request.sendall(b"straight")

    client = dial(Direct)
    client.send(get())
    response = client.response()
    assert (response.body, response.headers["Transfer-Encoding"]) == (b"straight", None)


def test_another_protocol_may_take_over(dial: Dial) -> None:
    class Upgrades(Quiet):
        def do_GET(self) -> None:
            self.send_response(101)
            self.send_header("Upgrade", "echo")
            self.send_header("Connection", "upgrade")
            self.end_headers()
            self.wfile.write(b"echo " + self.rfile.readline())
            self.close_connection = True

    client = dial(Upgrades)
    client.send(get(fields="Connection: upgrade\r\nUpgrade: echo\r\n"))
    assert client.response().status == 101
    client.send(b"what is said\n")
    assert client.rest() == b"echo what is said\n"


def test_connect_opens_a_tunnel(dial: Dial) -> None:
    class Proxy(Quiet):
        def do_CONNECT(self) -> None:
            self.send_response(200, "Connection Established")
            self.end_headers()
            self.connection.sendall(self.connection.recv(100).upper())
            self.close_connection = True

    client = dial(Proxy)
    client.send(b"CONNECT there:443 HTTP/1.1\r\nHost: there:443\r\n\r\n")
    assert client.response("HEAD").reason == "Connection Established"
    client.send(b"hello")
    assert client.rest() == b"HELLO"


@pytest.mark.parametrize("bad", ["a\r\nSet-Cookie: b", "a\nb", "a\rb", "a\0b"])
@pytest.mark.parametrize("where", ["name", "value", "reason"])
def test_response_cannot_be_split(dial: Dial, bad: str, where: str) -> None:
    refused: list[str] = []

    class Careless(Quiet):
        def do_GET(self) -> None:
            try:
                self.send_response(200, bad if where == "reason" else None)
                self.send_header(bad if where == "name" else "X", bad if where == "value" else "y")
            except ValueError as error:
                refused.append(str(error))
            self._headers_buffer = []
            self.answer(b"fine")

    client = dial(Careless)
    client.send(get())
    assert client.response().body == b"fine"
    assert "CR, LF and NUL" in refused[0]


def test_sendfile(dial: Dial, tmp_path: Any) -> None:
    content = bytes(range(256)) * 20_000
    (tmp_path / "file").write_bytes(content)

    class Sends(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            if self.path == "/length":
                self.send_header("Content-Length", "3000000")
            self.end_headers()
            with (tmp_path / "file").open("rb") as file:
                assert self.wfile.sendfile(file, 1000, 3_000_000) == 3_000_000

        do_HEAD = do_GET

    client = dial(Sends)
    client.send(get("/length") + get("/chunks") + get("/length", method="HEAD") + get("/length"))
    for method in ("GET", "GET", "HEAD", "GET"):
        assert client.response(method).body == (b"" if method == "HEAD" else content[1000:3_001_000])


# What goes wrong


def test_unknown_method(dial: Dial) -> None:
    client = dial(Hello)
    client.send(get(method="BREW"))
    response = client.response()
    assert (response.status, response.reason) == (501, "Unsupported method ('BREW')")
    assert client.rest() == b""


def test_failure_is_told_to_both_sides(dial: Dial) -> None:
    class Fails(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            raise LookupError("a bug")

    failures: list[HandlerFailed] = []
    with subscribe(failures.append, HandlerFailed):
        client = dial(Fails)
        client.send(get())
        assert client.response().status == 500
        assert client.rest() == b""
        assert wait_until(lambda: bool(failures))
    assert isinstance(failures[0].error, LookupError)


def test_failure_in_the_middle_of_an_answer_cuts_it(dial: Dial) -> None:
    class Fails(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"half")
            raise LookupError("a bug")

    client = dial(Fails)
    client.send(get())
    assert client.rest().endswith(b"\r\n\r\n4\r\nhalf\r\n")  # no last chunk: the client sees that it is not whole


def test_handler_may_raise_http_errors(dial: Dial) -> None:
    class Teapot(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            raise HTTPError(418, None, "short and <stout>")

    client = dial(Teapot)
    client.send(get())
    response = client.response()
    assert (response.status, response.reason) == (418, "I'm a Teapot")
    assert b"short and &lt;stout&gt;" in response.body


# Hooks


TRACED = {
    *("setup", "handle", "handle_one_request", "parse_request", "do_GET", "finish"),
    *("send_response", "log_request", "log_message", "send_response_only", "version_string"),
    *("date_time_string", "send_header", "end_headers", "flush_headers"),
}


def test_hooks_are_called_in_the_standard_librarys_order(dial: Dial) -> None:
    calls: list[str] = []

    class Traced(Hello):
        def __getattribute__(self, name: str) -> Any:
            if name in TRACED:
                calls.append(name)
            return super().__getattribute__(name)

    client = dial(Traced)
    client.send(get(fields="Connection: close\r\n"))
    client.rest()
    assert wait_until(lambda: "finish" in calls)
    assert calls == [
        *("setup", "handle", "handle_one_request", "parse_request", "do_GET"),
        *("send_response", "log_request", "log_message", "send_response_only"),
        *("send_header", "version_string", "send_header", "date_time_string"),
        *("send_header", "end_headers", "flush_headers", "finish"),
    ]


def test_program_may_read_the_head_by_itself(dial: Dial) -> None:
    class ByHand(Hello):
        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if self.raw_requestline and self.parse_request():
                getattr(self, f"do_{self.command}")()

    client = dial(ByHand)
    client.send(post(b"one"), *(bytes([byte]) for byte in post(b"two")), get("/a", fields="Connection: close\r\n"))
    assert [client.response().body for _ in range(3)] == [b"got one", b"got two", b"hello /a"]


def test_program_may_extend_parse_request(dial: Dial) -> None:
    class Routed(Hello):
        def parse_request(self) -> bool:
            if not super().parse_request():
                return False
            self.command = "GET" if self.command == "FETCH" else self.command
            return bool(self.headers["X-Token"] == "secret")

    client = dial(Routed)
    client.send(get("/x", method="FETCH", fields="X-Token: secret\r\n"))
    assert client.response().body == b"hello /x"


def test_program_may_wrap_wfile(dial: Dial) -> None:
    class Upper(io.BytesIO):
        def __init__(self, out: Any) -> None:
            super().__init__()
            self.out = out

        def write(self, data: Any) -> int:
            return int(self.out.write(bytes(data).upper()))

    class Wraps(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile = Upper(self.wfile)
            self.wfile.write(b"shout")

    client = dial(Wraps)
    client.send(get(fields="Connection: close\r\n"))
    assert client.response().body == b"SHOUT"


def test_headers_are_a_message(dial: Dial) -> None:
    class Shows(Quiet):
        def do_GET(self) -> None:
            assert type(self.headers) is self.MessageClass
            self.answer(repr([*self.headers.items(), self.headers.get_all("x-two")]).encode("latin-1"))

    client = dial(Shows)
    client.send(get(fields="X-Two: a\r\nx-two:  b c \r\nX-Latin: \xe4\r\nX-Empty:\r\n"))
    expected = [("Host", "test"), ("X-Two", "a"), ("x-two", "b c"), ("X-Latin", "\xe4"), ("X-Empty", ""), ["a", "b c"]]
    assert client.response().body == repr(expected).encode("latin-1")


def test_served_requests_are_told(dial: Dial) -> None:
    events: list[RequestServed] = []
    with subscribe(events.append, RequestServed):
        client = dial(Hello)
        client.send(get("/a") + get(method="BREW"))
        client.response()
        client.response()
        assert wait_until(lambda: len(events) == 2)
    assert [(event.request_line, event.status) for event in events] == [
        ("GET /a HTTP/1.1", 200),
        ("BREW / HTTP/1.1", 501),
    ]
    assert events[0].bytes_out == len(b"hello /a")
    assert events[0].headers.get("host") == "test"


# The log


def test_log_goes_to_stderr(dial: Dial, capsys: pytest.CaptureFixture[str]) -> None:
    class Logs(Hello):
        log_message = BaseHTTPRequestHandler.log_message

    client = dial(Logs)
    client.send(get("/a\x1b") + get("/b", fields="Connection: close\r\n"))
    client.rest()
    client = dial(Logs)
    client.send(get("/b", fields="Connection: close\r\n"))
    client.rest()
    told = capsys.readouterr().err
    assert '"GET /b HTTP/1.1" 200 -\n' in told
    assert "\x1b" not in told


def test_date_is_now() -> None:
    handler = Hello.__new__(Hello)
    assert handler.date_time_string(0) == "Thu, 01 Jan 1970 00:00:00 GMT"
    before = int(time.time())
    assert handler.date_time_string() in {handler.date_time_string(second) for second in range(before, before + 3)}


def test_unix_client_has_an_address_to_log() -> None:
    handler = Hello.__new__(Hello)
    handler.client_address = ""
    assert handler.address_string() == "-"


def test_rbufsize_0_and_wbufsize_are_honoured(dial: Dial) -> None:
    class Unbuffered(Hello):
        rbufsize = 0
        wbufsize = -1

    client = dial(Unbuffered)
    client.send(post(b"body") + get("/next") + get(method="POST", fields="Transfer-Encoding: chunked\r\n"))
    client.send(b"3\r\nabc\r\n0\r\n\r\n")
    assert [client.response().body for _ in range(3)] == [b"got body", b"hello /next", b"got abc"]


def test_socket_is_left_as_it_was(dial: Dial, server_class: type[HTTPServer]) -> None:
    class Looks(Hello):
        def do_GET(self) -> None:
            assert isinstance(self.connection, socket.socket)
            self.answer(f"{self.connection.gettimeout()}".encode())

    client = dial(Looks)
    client.send(get())
    # A green socket's deadline for sending is its timeout: there is no kernel to leave it to.
    assert client.response().body == (b"60.0" if server_class is GreenHTTPServer else b"None")
