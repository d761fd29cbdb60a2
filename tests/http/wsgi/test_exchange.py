"""The order of an answer: what is sent when, and how the client knows where it ends. No socket."""

import gzip
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from portside.http.wsgi.exchange import JOINED, BadApplication, Exchange, Opening
from portside.http.wsgi.file_wrapper import FileWrapper

PLAIN = [("Content-Type", "text/plain")]
TYPE = b"Content-Type: text/plain\r\n"

Application = Callable[[dict[str, Any], Any], Any]


class Client:
    """What was sent, one item a send."""

    def __init__(self, **options: Any) -> None:
        self.sends: list[bytes] = []
        self.files: list[tuple[int, int]] = []
        self.opening = Opening("Server: s\r\n")
        self.options = {"is_head": False, "modern": True, "lasting": True, "date_line": "Date: d\r\n", **options}
        self.exchange = self.next()

    def next(self, **options: Any) -> Exchange:
        """Another request of the same client."""
        self.exchange = Exchange(self, self.opening, **{**self.options, **options})
        return self.exchange

    def write(self, data: bytes) -> None:
        self.sends.append(data)

    def ask(self, application: Application) -> bytes:
        self.exchange.answer(application, {})
        return self.got

    @property
    def got(self) -> bytes:
        return b"".join(self.sends)


class Files(Client):
    """The same of a system that sends files."""

    def sendfile(self, file: Any, position: int, count: int) -> int:
        self.files.append((position, count))
        return count


def answers(body: Any, *headers: tuple[str, str], status: str = "200 OK") -> Application:
    def application(_: dict[str, Any], start_response: Any) -> Any:
        start_response(status, [*PLAIN, *headers])
        return body

    return application


class Body:
    """An iterable that notes what becomes of it."""

    def __init__(self, *blocks: Any) -> None:
        self.blocks = iter(blocks)
        self.taken = 0
        self.closed = 0

    def __iter__(self) -> "Body":
        return self

    def __next__(self) -> Any:
        block = next(self.blocks)
        self.taken += 1
        if isinstance(block, Exception):
            raise block
        return block

    def close(self) -> None:
        self.closed += 1


HEAD = b"HTTP/1.1 200 OK\r\nDate: d\r\nServer: s\r\n" + TYPE
OLD_HEAD = HEAD.replace(b"1.1", b"1.0")


# Framing


@pytest.mark.parametrize("body", [[b"hello"], (b"hello",), [b"he", b"", b"llo"]])
def test_body_that_is_there_has_a_length_and_leaves_in_one_send(body: Any) -> None:
    client = Client()
    client.ask(answers(body))
    assert client.sends == [HEAD + b"Content-Length: 5\r\n\r\nhello"]
    assert (client.exchange.lasting, client.exchange.sent, client.exchange.code) == (True, 5, 200)


def test_body_that_comes_is_chunked_and_never_held_back() -> None:
    client, body = Client(), Body(b"he", b"", b"llo")
    client.ask(answers(body))
    assert client.sends == [HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", b"3\r\nllo\r\n", b"0\r\n\r\n"]
    assert (client.exchange.lasting, body.closed) == (True, 1)


def test_each_block_is_sent_before_the_next_is_asked_for() -> None:
    client = Client()
    seen = []

    def blocks() -> Iterator[bytes]:
        for block in (b"a", b"b"):
            yield block
            seen.append(len(client.sends))

    client.ask(answers(blocks()))
    assert seen == [1, 2]


def test_old_client_learns_of_the_end_by_the_end() -> None:
    client = Client(modern=False)
    assert client.ask(answers(Body(b"he", b"llo"))) == OLD_HEAD + b"\r\nhello"
    assert client.exchange.lasting is False


def test_old_client_that_stays_is_told() -> None:
    client = Client(modern=False)
    assert client.ask(answers([b"x"])) == OLD_HEAD + b"Content-Length: 1\r\nConnection: keep-alive\r\n\r\nx"


def test_client_that_has_to_go_is_told() -> None:
    assert b"\r\nConnection: close\r\n\r\nx" in Client(lasting=False).ask(answers([b"x"]))


def test_length_of_the_applications_own() -> None:
    client = Client()
    assert client.ask(answers(Body(b"he", b"llo"), ("Content-Length", "5"))) == HEAD + b"Content-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize("body", [[], [b""], (), Body(), Body(b"", b"")])
def test_empty_body(body: Any) -> None:
    client = Client()
    client.ask(answers(body))
    assert client.sends == [HEAD + b"Content-Length: 0\r\n\r\n"]


def test_own_date_and_server_win() -> None:
    got = Client().ask(answers([], ("Date", "mine"), ("server", "mine")))
    assert (got.count(b"Date: "), got.lower().count(b"server: ")) == (1, 1)


def test_large_blocks_are_not_copied() -> None:
    block = bytes(JOINED + 1)
    client = Client()
    client.ask(answers([block]))
    assert client.sends[1] is block
    client = Client()
    client.ask(answers(Body(block)))
    assert client.sends[1:] == [block, b"\r\n", b"0\r\n\r\n"]


# Answers without a body


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "100 Continue"])
@pytest.mark.parametrize("body", [[b"hello"], [], Body(b"hello", b"x")])
def test_status_without_a_body(status: str, body: Any) -> None:
    client = Client()
    got = client.ask(answers(body, status=status))
    assert got == HEAD.replace(b"200 OK", status.encode()) + b"\r\n"
    assert client.exchange.lasting


def test_no_content_has_no_length() -> None:
    got = Client().ask(answers([], ("Content-Length", "0"), ("X-A", "a\x85b"), status="204 No Content"))
    assert b"Content-Length" not in got
    assert got.endswith(b"X-A: a\x85b\r\n\r\n")


@pytest.mark.parametrize(
    ("body", "headers", "framing"),
    [
        ([b"hello"], (), b"Content-Length: 5\r\n"),
        ([], (), b""),
        ([], (("Content-Length", "5"),), b"Content-Length: 5\r\n"),
        ([b"hello"], (("Content-Length", "5"),), b"Content-Length: 5\r\n"),
    ],
)
def test_answer_to_head(body: Any, headers: Any, framing: bytes) -> None:
    client = Client(is_head=True)
    assert client.ask(answers(body, *headers)) == HEAD + framing + b"\r\n"
    assert client.exchange.lasting


def test_answer_to_head_is_not_made_in_vain() -> None:
    client, body = Client(is_head=True), Body(b"", b"he", b"llo")
    assert client.ask(answers(body)) == HEAD + b"\r\n"
    assert (body.taken, body.closed) == (2, 1)


# start_response and write


def test_write_sends_at_once() -> None:
    client = Client()
    seen = []

    def application(_: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", PLAIN)
        seen.append(len(client.sends))
        write(b"")
        write(b"he")
        seen.append(len(client.sends))
        write(b"llo")
        return [b"!"]

    got = client.ask(application)
    assert seen == [0, 1]
    assert got.endswith(b"\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n1\r\n!\r\n0\r\n\r\n")


def test_start_response_may_wait_for_the_first_block() -> None:
    def application(_: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b"hello"

    assert Client().ask(application).startswith(HEAD)


@pytest.mark.parametrize("body", [[b"x"], [], Body(b"x"), Body()])
def test_start_response_must_be_called(body: Any) -> None:
    client = Client()
    with pytest.raises(BadApplication, match="did not call start_response"):
        client.ask(lambda _environ, _start: body)
    assert client.sends == []


def test_second_start_response_needs_an_excuse() -> None:
    client = Client()
    client.exchange.start_response("200 OK", PLAIN)
    with pytest.raises(BadApplication, match="called twice"):
        client.exchange.start_response("200 OK", PLAIN)


def failed() -> Any:
    try:
        raise LookupError("no cheese")
    except LookupError:
        return sys.exc_info()


def test_error_replaces_what_was_announced() -> None:
    def application(_: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [*PLAIN, ("X-A", "b")])
        start_response("500 Sorry", PLAIN, failed())
        return [b"x"]

    assert Client().ask(application).startswith(b"HTTP/1.1 500 Sorry\r\nDate: d\r\nServer: s\r\n" + TYPE + b"Content-L")


def test_error_that_is_too_late_is_raised_again() -> None:
    client = Client()

    def application(_: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b"x"
        start_response("500 Sorry", PLAIN, failed())

    with pytest.raises(LookupError, match="no cheese"):
        client.ask(application)
    assert client.got.endswith(b"1\r\nx\r\n")  # and no last chunk: the client sees that something is missing


@pytest.mark.parametrize("body", [["text"], [bytearray(b"x")], [b"x", "text"], Body("text"), "text", b"bytes", Body(1)])
def test_body_of_another_type(body: Any) -> None:
    with pytest.raises(TypeError, match=r"must be bytes|expected a bytes-like object"):
        Client().ask(answers(body))


# Lengths that are wrong


@pytest.mark.parametrize("body", [[b"hello!"], Body(b"hello!"), Body(b"hel", b"lo!")])
def test_no_more_is_sent_than_announced(body: Any) -> None:
    client = Client()
    with pytest.raises(BadApplication, match="longer than its Content-Length, 5"):
        client.ask(answers(body, ("Content-Length", "5")))
    assert client.got.endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize("body", [[b"hell"], Body(b"hell"), Body(b"he", b"ll")])
def test_body_that_is_too_short_ends_the_connection(body: Any) -> None:
    client = Client()
    with pytest.raises(BadApplication, match="has 4 bytes, and its Content-Length is 5"):
        client.ask(answers(body, ("Content-Length", "5")))
    assert client.exchange.lasting is False


# Ends


@pytest.mark.parametrize("blocks", [(LookupError("x"),), (b"a", LookupError("x")), ("text",)])
def test_body_is_closed_whatever_happens(blocks: Any) -> None:
    body = Body(*blocks)
    with pytest.raises((LookupError, TypeError)):
        Client().ask(answers(body))
    assert body.closed == 1


def test_failure_is_told_while_it_can_be() -> None:
    client = Client()
    client.exchange.fail()
    assert client.got.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert client.got.endswith(b"A server error occurred.  Please contact the administrator.")
    assert client.exchange.lasting is False


def test_failure_in_the_middle_ends_the_connection() -> None:
    client = Client()
    with pytest.raises(LookupError):
        client.ask(answers(Body(b"a", LookupError("x"))))
    before = client.got
    client.exchange.fail()
    assert (client.got, client.exchange.lasting) == (before, False)


# Files


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with path.open("rb") as opened:
        yield opened


def test_file_is_sent_by_the_system(file: Any) -> None:
    client = Files()
    file.read(2)
    assert client.ask(answers(FileWrapper(file))) == HEAD + b"Content-Length: 8\r\n\r\n"
    assert (client.files, client.exchange.sent, file.closed) == ([(2, 8)], 8, True)


@pytest.mark.parametrize(("length", "sent"), [("3", [(0, 3)]), ("10", [(0, 10)])])
def test_file_of_an_announced_length(length: str, sent: list[tuple[int, int]], file: Any) -> None:
    client = Files()
    client.ask(answers(FileWrapper(file), ("Content-Length", length)))
    assert client.files == sent


def test_file_that_is_shorter_than_announced(file: Any) -> None:
    client = Files()
    with pytest.raises(BadApplication, match="has 10 bytes, and its Content-Length is 11"):
        client.ask(answers(FileWrapper(file), ("Content-Length", "11")))


def test_file_is_not_sent_to_head(file: Any) -> None:
    client = Files(is_head=True)
    assert client.ask(answers(FileWrapper(file))) == HEAD + b"Content-Length: 10\r\n\r\n"
    assert (client.files, file.closed) == ([], True)


def test_file_is_read_where_the_system_cannot_send_it(file: Any) -> None:
    assert Client().ask(answers(FileWrapper(file, 4))).endswith(b"4\r\n0123\r\n4\r\n4567\r\n2\r\n89\r\n0\r\n\r\n")


@pytest.mark.parametrize("make", [io.BytesIO, lambda data: type("Odd", (), {"read": io.BytesIO(data).read})()])
def test_what_is_no_file_is_read(make: Callable[[bytes], Any]) -> None:
    client = Files()
    assert client.ask(answers(FileWrapper(make(b"hello")))).endswith(b"5\r\nhello\r\n0\r\n\r\n")
    assert client.files == []


def test_compressed_file_is_read_and_not_sent_as_it_lies_there(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(b"hello"))
    client = Files()
    with gzip.open(path) as file:
        assert client.ask(answers(FileWrapper(file))).endswith(b"5\r\nhello\r\n0\r\n\r\n")
    assert client.files == []


# -- one answer after another --


class Again:
    """Blocks, each time anew."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"hello"])


HEADS: dict[str, tuple[Any, dict[str, Any]]] = {
    "the same": (answers([b"hello"]), {}),
    "another length": (answers([b"hello you"]), {}),
    "no body": (answers([]), {}),
    "another second": (answers([b"hello"]), {"date_line": "Date: e\r\n"}),
    "the last": (answers([b"hello"]), {"lasting": False}),
    "an old client": (answers([b"hello"]), {"modern": False}),
    "a head only": (answers([b"hello"]), {"is_head": True}),
    "another status": (answers([b"hello"], status="404 Not Found"), {}),
    "its own length": (answers([b"hello"], ("Content-Length", "5")), {}),
    "a number too large": (answers([b"hello"], ("Content-Length", "9")), {}),
    "a number too small": (answers([b"hello"], ("Content-Length", "2")), {}),
    "nothing allowed": (answers([b"hello"], status="204 No Content"), {}),
    "not there yet": (answers(Again()), {}),
    "no bytes": (answers(["hello"]), {}),
}


@pytest.mark.parametrize("second", HEADS)
@pytest.mark.parametrize("first", HEADS)
def test_an_answer_is_what_it_would_be_without_the_one_before(first: str, second: str) -> None:
    def outcome(client: Client, kind: str) -> tuple[Any, ...]:
        application, options = HEADS[kind]
        client.sends.clear()
        exchange = client.next(**options)
        error = ""
        try:
            client.ask(application)
        except (BadApplication, TypeError) as caught:
            error = str(caught)
        return error, client.got, exchange.sent, exchange.begun, exchange.lasting, exchange.lost, exchange.code

    alone, after = Client(), Client()
    expected = outcome(alone, second)
    outcome(after, first)
    assert outcome(after, second) == expected
