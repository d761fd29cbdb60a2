"""The handlers by themselves, over a pair of sockets: no server, no engine."""

import asyncio
import contextlib
import errno
import io
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from portside import (
    AsyncDatagramRequestHandler,
    AsyncFramedRequestHandler,
    AsyncRequestHandler,
    AsyncStreamRequestHandler,
    BaseRequestHandler,
    DatagramRequestHandler,
    FramedRequestHandler,
    StreamRequestHandler,
)
from portside.engines import asynchronous
from portside.framing import FrameCorrupt, FrameTooLong, LengthPrefixed, Lines
from portside.handlers import SocketWriter
from tests.conftest import DEADLINE
from tests.engines import fixtures
from tests.engines.instruments import PIECE, pattern

pytestmark = pytest.mark.usefixtures("no_leaks")

warm = fixtures.warm

SERVER = object()
SOON = 0.05  # seconds after which a test's deadline passes

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A client's side and a handler's."""
    client, request = socket.socketpair()
    with client, request:
        client.settimeout(DEADLINE)
        yield client, request


@pytest.fixture
def tcp_pair() -> Iterator[Pair]:
    """The same over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        client.settimeout(DEADLINE)
        with listener.accept()[0] as request:
            yield client, request


@pytest.fixture
def datagrams() -> Iterator[Pair]:
    """A client's socket and a server's, neither connected."""
    with socket.socket(type=socket.SOCK_DGRAM) as client, socket.socket(type=socket.SOCK_DGRAM) as server:
        for sock in (client, server):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(DEADLINE)
        yield client, server


def run(handler: Awaitable[Any] | Callable[[], Awaitable[Any]]) -> None:
    """Run an async handler to its end, in the loop that the engine would take."""

    async def main() -> None:
        await (handler() if callable(handler) else handler)

    with asyncio.Runner(loop_factory=asynchronous.new_event_loop) as runner:
        runner.run(main())


def arrived(client: socket.socket) -> bytes:
    """What is there to be read, at once."""
    client.setblocking(False)
    try:
        return client.recv(PIECE)
    except BlockingIOError:
        return b""


# What every handler is told


class Noting:
    """Notes the order of its hooks."""

    notes: list[str]
    fails: str = ""

    def note(self, hook: str) -> None:
        self.notes.append(hook)
        if hook == self.fails:
            raise LookupError(hook)


class Plain(Noting, BaseRequestHandler):
    def setup(self) -> None:
        self.note("setup")

    def handle(self) -> None:
        self.note("handle")

    def finish(self) -> None:
        self.note("finish")


class Coroutine(Noting, AsyncRequestHandler):
    async def setup(self) -> None:
        self.note("setup")

    async def handle(self) -> None:
        self.note("handle")

    async def finish(self) -> None:
        self.note("finish")


def handled(handler_class: type[Any], **arguments: Any) -> Any:
    """A handler of no request, after its work."""
    handler = handler_class("request", "client", SERVER, **arguments)
    if isinstance(handler, AsyncRequestHandler):
        run(handler)
    return handler


@pytest.mark.parametrize("handler_class", [BaseRequestHandler, AsyncRequestHandler])
def test_handler_keeps_what_it_is_told(handler_class: type[Any]) -> None:
    handler = handled(handler_class, word="hello", number=5)
    assert (handler.request, handler.client_address, handler.server) == ("request", "client", SERVER)
    assert (handler.word, handler.number) == ("hello", 5)


@pytest.mark.parametrize("handler_class", [Plain, Coroutine])
@pytest.mark.parametrize(
    ("fails", "order"),
    [
        ("", ["setup", "handle", "finish"]),
        ("setup", ["setup"]),
        ("handle", ["setup", "handle", "finish"]),
        ("finish", ["setup", "handle", "finish"]),
    ],
)
def test_hooks_in_order_and_finish_whatever_happens(handler_class: type[Any], fails: str, order: list[str]) -> None:
    notes: list[str] = []
    with pytest.raises(LookupError, match=fails) if fails else contextlib.nullcontext():
        handled(handler_class, notes=notes, fails=fails)
    assert notes == order


def test_async_handler_does_nothing_until_it_is_awaited() -> None:
    notes: list[str] = []
    Coroutine("request", "client", SERVER, notes=notes)
    assert notes == []


# Streams


class Shout(StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


@pytest.mark.parametrize("wbufsize", [0, -1, 10])
@pytest.mark.parametrize("rbufsize", [0, -1, 10])
def test_lines_with_and_without_buffers(pair: Pair, rbufsize: int, wbufsize: int) -> None:
    client, request = pair
    client.sendall(b"one\ntwo\nand a half")
    client.shutdown(socket.SHUT_WR)
    handler = type("Handler", (Shout,), {"rbufsize": rbufsize, "wbufsize": wbufsize})(request, "", SERVER)
    assert arrived(client) == b"ONE\nTWO\nAND A HALF"
    assert (handler.rfile.closed, handler.wfile.closed, handler.connection is request) == (True, True, True)
    assert request.fileno() >= 0


class Careless(StreamRequestHandler):
    """Closes its own files."""

    wbufsize = -1

    def handle(self) -> None:
        self.wfile.write(b"said")
        self.wfile.close()
        self.rfile.close()


def test_handler_may_close_its_files(pair: Pair) -> None:
    client, request = pair
    Careless(request, "", SERVER)
    assert client.recv(10) == b"said"


class Late(StreamRequestHandler):
    """Writes what nobody reads any more."""

    wbufsize = 10

    def handle(self) -> None:
        self.wfile.write(b"late")


def test_client_that_left_before_the_last_flush_is_no_error(pair: Pair) -> None:
    client, request = pair
    client.close()
    Late(request, "", SERVER)


class Patient(StreamRequestHandler):
    timeout: float | None = SOON

    def handle(self) -> None:
        self.rfile.read(1)


def test_timeout_is_a_deadline_for_each_read(pair: Pair) -> None:
    with pytest.raises(TimeoutError):
        Patient(pair[1], "", SERVER)
    assert pair[1].gettimeout() == SOON


@pytest.mark.parametrize("wanted", [False, True])
def test_small_packets_leave_at_once_where_that_is_wanted(tcp_pair: Pair, wanted: bool) -> None:
    _, request = tcp_pair
    type("Handler", (StreamRequestHandler,), {"disable_nagle_algorithm": wanted})(request, "", SERVER)
    assert bool(request.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) is wanted


def test_small_packets_of_unix_sockets_need_no_option(pair: Pair) -> None:
    client, request = pair
    client.shutdown(socket.SHUT_WR)
    type("Handler", (Shout,), {"disable_nagle_algorithm": True})(request, "", SERVER)


# The writer


def test_writer_writes_all_or_raises(pair: Pair) -> None:
    client, request = pair
    writer = SocketWriter(request)
    request.settimeout(SOON)
    with pytest.raises(TimeoutError):
        while True:
            assert writer.write(pattern(PIECE)) == PIECE
    client.close()
    with pytest.raises(ConnectionError):
        writer.write(b"x")


def test_writer_counts_bytes_not_items(pair: Pair) -> None:
    client, request = pair
    assert SocketWriter(request).write(memoryview(bytes(8)).cast("I")) == 8
    assert client.recv(100) == bytes(8)


def test_writer_is_a_file(pair: Pair) -> None:
    client, request = pair
    writer = SocketWriter(request)
    assert (writer.writable(), writer.readable(), writer.fileno()) == (True, False, request.fileno())
    raw: Any = writer
    with io.TextIOWrapper(raw, encoding="utf-8", write_through=True) as text:
        print("Grüße", file=text)
    assert client.recv(100).decode() == "Grüße\n"
    assert writer.closed
    assert request.fileno() >= 0


# Frames


class FrameEcho(FramedRequestHandler):
    def handle(self) -> None:
        for frame in self.frames:
            self.send(frame, b"ok")


class AsyncFrameEcho(AsyncFramedRequestHandler):
    async def handle(self) -> None:
        async for frame in self.frames:
            await self.send(frame, b"ok")


def framed(base: type[Any], request: socket.socket, **attributes: Any) -> None:
    """Run a handler of frames to its end."""
    handler = type("Handler", (base,), attributes)(request, "", SERVER)
    if isinstance(handler, AsyncRequestHandler):
        run(handler)


both = pytest.mark.parametrize("base", [FrameEcho, AsyncFrameEcho])


@both
def test_frames_are_lines_unless_said_otherwise(base: type[Any], pair: Pair) -> None:
    client, request = pair
    client.sendall(b"one\r\ntwo\n")
    client.shutdown(socket.SHUT_WR)
    framed(base, request)
    assert client.recv(100) == b"one\nok\ntwo\nok\n"


@both
def test_frames_of_another_codec(base: type[Any], pair: Pair) -> None:
    client, request = pair
    codec = LengthPrefixed(width=1)
    client.sendall(b"\x03one\x00")
    client.shutdown(socket.SHUT_WR)
    framed(base, request, codec=codec)
    assert client.recv(100) == b"\x03one\x02ok\x00\x02ok"


@both
@pytest.mark.parametrize(
    ("sent", "error"), [(b"half a li", FrameCorrupt), (b"good\ntoo long a line\n", FrameTooLong)], ids=["half", "long"]
)
def test_broken_frames_come_out_of_the_loop(base: type[Any], pair: Pair, sent: bytes, error: type[Exception]) -> None:
    client, request = pair
    client.sendall(sent)
    client.shutdown(socket.SHUT_WR)
    with pytest.raises(error):
        framed(base, request, codec=Lines(max_size=9))
    if b"\n" in sent:
        assert client.recv(100) == b"good\nok\n"


@both
def test_frame_that_cannot_be_sent_is_not_sent(base: type[Any], pair: Pair) -> None:
    client, request = pair
    client.sendall(b"\x01x")
    client.shutdown(socket.SHUT_WR)
    with pytest.raises(FrameTooLong):
        framed(base, request, codec=LengthPrefixed(width=1, max_size=1))  # "ok" is longer
    assert arrived(client) == b""


# Datagrams


class Reply(DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.rfile.read().upper())


class AsyncReply(AsyncDatagramRequestHandler):
    async def handle(self) -> None:
        self.reply(self.packet.upper())


def answered(base: type[Any], packet: bytes, server: socket.socket, address: Any) -> None:
    """Run a handler of one datagram to its end."""
    handler = base((packet, server), address, SERVER)
    if isinstance(handler, AsyncRequestHandler):
        run(handler)
    assert (handler.packet, handler.socket) == (packet, server)


both_replies = pytest.mark.parametrize("base", [Reply, AsyncReply])


@both_replies
def test_datagram_is_answered(base: type[Any], datagrams: Pair) -> None:
    client, server = datagrams
    answered(base, b"hello", server, client.getsockname())
    assert client.recvfrom(100) == (b"HELLO", server.getsockname())


@both_replies
def test_answer_that_is_too_long_is_told(base: type[Any], datagrams: Pair) -> None:
    client, server = datagrams
    with pytest.raises(OSError) as caught:
        answered(base, bytes(65_508), server, client.getsockname())
    assert caught.value.errno == errno.EMSGSIZE


@both_replies
def test_unix_client_that_is_gone_has_left(base: type[Any], tmp_path: Any) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        for gone in ("\0portside-nobody", str(tmp_path / "nobody")):
            with pytest.raises(ConnectionResetError, match="the client's socket is gone"):
                answered(base, b"hello", server, gone)


@pytest.mark.parametrize("nobody", ["", None])
def test_client_without_an_address_is_not_answered(nobody: str | None, datagrams: Pair) -> None:
    answered(Reply, b"hello", datagrams[1], nobody)


# Async streams


class AsyncShout(AsyncStreamRequestHandler):
    async def handle(self) -> None:
        async for line in self.reader:
            self.writer.write(line.upper())


def test_async_lines(pair: Pair) -> None:
    client, request = pair
    client.sendall(b"one\ntwo\nand a half")
    client.shutdown(socket.SHUT_WR)
    run(lambda: AsyncShout(request, "", SERVER))
    assert client.recv(100) == b"ONE\nTWO\nAND A HALF"


READS: dict[str, Callable[[asyncio.StreamReader], Awaitable[Any]]] = {
    "read": lambda reader: reader.read(5),
    "readexactly": lambda reader: reader.readexactly(5),
    "readuntil": lambda reader: reader.readuntil(b"."),
    "readline": lambda reader: reader.readline(),
    "iteration": anext,
}


@pytest.mark.parametrize("read", READS)
def test_every_async_read_has_the_deadline(read: str, pair: Pair) -> None:
    class Impatient(AsyncStreamRequestHandler):
        timeout = SOON

        async def handle(self) -> None:
            await READS[read](self.reader)

    with pytest.raises(TimeoutError):
        run(lambda: Impatient(pair[1], "", SERVER))


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("timeout", [None, DEADLINE])
def test_every_async_read_reads(read: str, timeout: float | None, pair: Pair) -> None:
    found = []

    class Reader(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            found.append(await READS[read](self.reader))

    pair[0].sendall(b"abc.\n")
    run(lambda: type("Handler", (Reader,), {"timeout": timeout})(pair[1], "", SERVER))
    assert found == [b"abc." if read == "readuntil" else b"abc.\n"]


@pytest.mark.parametrize("timeout", [None, DEADLINE])
def test_async_line_has_a_limit(timeout: float | None, pair: Pair) -> None:
    handler_class = type("Handler", (AsyncShout,), {"limit": 10, "timeout": timeout})
    pair[0].sendall(b"eleven letters\n")
    with pytest.raises(FrameTooLong, match="10 bytes"):
        run(lambda: handler_class(pair[1], "", SERVER))


def test_async_client_that_left_before_the_last_flush_is_no_error(pair: Pair) -> None:
    client, request = pair

    class AsyncLate(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            self.writer.write(b"early")
            client.close()
            self.writer.write(b"late")

    run(lambda: AsyncLate(request, "", SERVER))


def test_datagram_handler_that_fails_is_told_even_if_its_client_is_gone(tmp_path: Path) -> None:
    class Breaks(DatagramRequestHandler):
        def handle(self) -> None:
            raise LookupError

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, pytest.raises(LookupError):
        Breaks((b"question", sock), str(tmp_path / "gone"), SERVER)
