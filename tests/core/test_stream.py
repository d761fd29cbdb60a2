"""Files over streams; the standard library's `io.BufferedReader` and socketserver's `_SocketWriter` are the models."""

import array
import contextlib
import gc
import io
import itertools
import socket
import socketserver
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portside.core import hub
from portside.core.sockets import GreenSocket
from portside.core.stream import StreamReader, StreamWriter
from tests.conftest import DEADLINE
from tests.core.kit import fill, green, in_task, in_thread, pair, spawn, tcp_pair, unread

pytestmark = pytest.mark.usefixtures("no_leaks")

KIB = 1024
# Around the stream's own: lines that are received in place (8 KiB), half a receive and a whole one (64 KiB).
EDGES = (8 * KIB, 32 * KIB, 64 * KIB)
SIZES = (0, 1, 2, 5, 100, 4096, *(edge + by for edge in EDGES for by in (-1, 0, 1)), 100_000)

STANDARD_WRITER: Any = vars(socketserver)["_SocketWriter"]

Step = tuple[str, int | None]
Script = list[Step]

sizes = st.sampled_from(SIZES)
segments = st.tuples(sizes, st.booleans()).map(lambda made: b"x" * made[0] + b"\n" * made[1])
texts = st.one_of(
    st.lists(st.sampled_from([b"a", b"b", b"\n", b"\0"]), max_size=60).map(b"".join),
    st.lists(segments, max_size=5).map(b"".join),
)
cuts = st.lists(st.one_of(st.integers(0, 80), sizes), max_size=8)
limits = st.one_of(st.none(), st.integers(-1, 12), sizes)
steps = st.one_of(
    st.tuples(st.sampled_from(["readline", "read", "readlines"]), limits),
    st.tuples(st.sampled_from(["read1", "readinto", "readinto1"]), st.one_of(st.integers(0, 12), sizes)),
    st.tuples(st.sampled_from(["next", "peek"]), st.none()),
)
scripts = st.lists(steps, max_size=12)


def split(text: bytes, places: list[int]) -> list[bytes]:
    """The bytes, cut at these places; no piece is empty."""
    ends = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in itertools.pairwise(ends)]


def fed(pieces: list[bytes], use: Callable[[Any], Any]) -> Any:
    """What `use` makes of a reader whose stream gets the pieces one by one, each when the one before was received."""

    def feed(ours: socket.socket, theirs: GreenSocket) -> None:
        with theirs:
            for piece in pieces:
                theirs.sendall(piece)
                while unread(ours):
                    hub.sleep(0)

    def converse() -> Any:
        ours, theirs = map(green, socket.socketpair())
        with ours, theirs, ours.makefile("rb") as reader:
            feeder = spawn(feed, ours, theirs)
            try:
                return use(reader)
            finally:
                feeder.kill()

    return hub.run(converse)


class Model:
    """What `io.BufferedReader` makes of the same bytes, and what holds for reads whose result depends on the split."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._file = io.BufferedReader(io.BytesIO(text))

    def check(self, reader: Any, step: Step) -> None:
        """Take a step with both."""
        name, size = step
        if name in ("read1", "readinto1", "peek"):
            self._check_some(name, size or 0, taken(reader, step))
        else:
            assert taken(reader, step) == taken(self._file, step), step

    def _check_some(self, name: str, size: int, found: bytes) -> None:
        rest = self._text[self._file.tell() :]
        assert rest.startswith(found)
        assert found or not rest or (size == 0 and name != "peek"), f"{name}({size}) says that the stream has ended"
        if name != "peek":
            assert len(found) <= size
            self._file.read(len(found))


def taken(file: Any, step: Step) -> Any:
    """What one step with a file gives."""
    name, size = step
    if name in ("readinto", "readinto1"):
        buffer = bytearray(size or 0)
        return bytes(buffer[: getattr(file, name)(buffer)])
    if name == "next":
        return next(file, None)
    return getattr(file, name)(*(() if name == "peek" else (size,)))


# -- reading --


@given(texts, cuts, scripts)
@example(b"x" * 8192 + b"\nab\ncd", [8191, 8193], [("readline", None), ("readline", None), ("read", None)])
@example(b"x" * 65537 + b"\n", [65536], [("readline", 65536), ("readline", -1)])
@example(b"a\nb", [1], [("peek", None), ("readinto1", 5), ("next", None), ("next", None)])
@example(b"ab\nab\n", [], [("readlines", 3), ("readlines", 2)])
@example(b"ab\ncd\n", [], [("readline", 1), ("readline", None), ("readline", None)])
@settings(max_examples=300)
def test_any_script_over_any_split_is_as_of_a_buffered_reader(text: bytes, places: list[int], script: Script) -> None:
    def follow(reader: Any) -> None:
        model = Model(text)
        for step in [*script, ("read", -1), ("read", 5), ("next", None)]:
            model.check(reader, step)

    fed(split(text, places), follow)


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("by", [-1, 0, 1])
def test_lines_around_a_threshold(edge: int, by: int) -> None:
    lines = [b"y" * (edge + by - 1) + b"\n", b"z\n", b"y" * (edge + by) + b"\n", b"rest"]
    text = b"".join(lines)
    assert fed([text], list) == lines
    assert fed(split(text, [edge - 1, edge, edge + 1]), list) == lines


def test_a_huge_line() -> None:
    line = b"h" * (8 * KIB * KIB) + b"\n"
    assert fed([line + b"next\n"], list) == [line, b"next\n"]


def test_a_limit_cuts_a_huge_line_in_pieces() -> None:
    pieces = fed([b"h" * 200_000 + b"\n"], lambda reader: [*iter(lambda: reader.readline(65_537), b"")])
    assert [len(piece) for piece in pieces] == [65_537, 65_537, 65_537, 200_001 - 3 * 65_537]


def test_read_asks_for_no_more_memory_than_arrives() -> None:
    assert fed([b"little"], lambda reader: reader.read(1 << 40)) == b"little"


@pytest.mark.parametrize("size", [-2, -100])
def test_negative_size_of_read(size: int) -> None:
    def check(reader: Any) -> None:
        for file in (reader, io.BufferedReader(io.BytesIO(b""))):
            with pytest.raises(ValueError, match="read length must be non-negative or -1"):
                file.read(size)

    fed([b""], check)


def test_end_of_stream_lasts() -> None:
    def check(reader: Any) -> None:
        assert reader.read() == b"all"
        assert [reader.read(), reader.read(3), reader.read1(3), reader.readline(), reader.peek()] == [b""] * 5
        assert (reader.readinto(bytearray(3)), reader.readinto1(bytearray(3)), [*reader]) == (0, 0, [])

    fed([b"all"], check)


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda reader: reader.readline(), id="readline"),
        pytest.param(lambda reader: reader.readline(20), id="readline with a limit"),
        pytest.param(next, id="iteration"),
        pytest.param(lambda reader: reader.read(6), id="read"),
        pytest.param(lambda reader: bytes(taken(reader, ("readinto", 6))), id="readinto"),
    ],
)
@pytest.mark.parametrize("place", [in_task, in_thread])
def test_a_timeout_keeps_what_was_received(read: Callable[[Any], bytes], place: Callable[..., Any]) -> None:
    def scenario() -> None:
        with pair() as (ours, theirs), ours.makefile("rb") as reader:
            ours.settimeout(0.02)
            for part in (b"ab", b"cd"):
                theirs.sendall(part)
                with pytest.raises(TimeoutError, match="timed out"):
                    read(reader)
            ours.settimeout(DEADLINE)
            theirs.sendall(b"e\n")
            assert read(reader) == b"abcde\n"

    place(scenario)


def test_a_kill_keeps_what_was_received() -> None:
    def scenario() -> None:
        with pair() as (ours, theirs), ours.makefile("rb") as reader:
            theirs.sendall(b"ab")
            task = spawn(reader.readline)
            hub.sleep(0)
            task.kill()
            task.join(DEADLINE)
            theirs.sendall(b"c\n")
            assert reader.readline() == b"abc\n"

    hub.run(scenario)


def test_a_reset_is_told() -> None:
    def scenario() -> None:
        with pair(socket.AF_INET) as (ours, theirs), ours.makefile("rb") as reader:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, (1).to_bytes(4, "little") + bytes(4))
            theirs.close()
            with pytest.raises(ConnectionResetError):
                reader.readline()

    hub.run(scenario)


def test_two_tasks_may_read_one_stream() -> None:
    lines = [b"%d" % number + b"." * (number * 37 % 9000) + b"\n" for number in range(400)]

    def check(reader: Any) -> None:
        tasks = [spawn(list, reader), spawn(lambda: [*iter(lambda: reader.readline(1 << 20), b"")])]
        found = b"".join(b"".join(task.result(DEADLINE)) for task in tasks)
        assert sorted(found) == sorted(b"".join(lines))

    fed([b"".join(lines)], check)
    fed(lines, check)


@pytest.mark.parametrize("size", [16, 60_000])
def test_an_idle_stream_holds_no_buffer(size: int) -> None:
    streams = 40

    def read(reader: Any) -> None:
        while reader.readline():
            pass

    def scenario(stack: contextlib.ExitStack) -> int:
        pairs = [stack.enter_context(pair()) for _ in range(streams)]
        readers = [stack.enter_context(ours.makefile("rb")) for ours, _ in pairs]
        tasks = [spawn(read, reader) for reader in readers]
        hub.sleep(0)
        gc.collect()
        tracemalloc.start()
        for (ours, theirs), _ in itertools.product(pairs, range(3)):
            theirs.sendall(b"x" * size + b"\n")
            while unread(ours):
                hub.sleep(0)
        while not all(task.is_parked for task in tasks):
            hub.sleep(0)
        return tracemalloc.get_traced_memory()[0]

    with contextlib.ExitStack() as stack:
        try:
            held = hub.run(scenario, stack)
        finally:
            tracemalloc.stop()
    assert held < streams * 4 * KIB


# -- writing --


def shapes(data: bytes) -> list[Any]:
    """The same bytes as everything that can be written."""
    return [data, bytearray(data), memoryview(data), array.array("B", data), array.array("i", data * 4)]


payloads = st.one_of(st.binary(max_size=40), st.sampled_from([b"p" * size for size in SIZES]))
writes = st.lists(
    st.tuples(st.sampled_from(["write", "writelines", "flush"]), payloads, st.integers(0, 4)), max_size=12
)


def written(file: Any, script: list[tuple[str, bytes, int]]) -> list[Any]:
    """What each step of writing returns."""
    found = []
    for name, data, shape in script:
        given_data = shapes(data)[shape]
        arguments = {"write": (given_data,), "writelines": ([data, given_data],), "flush": ()}[name]
        found.append(getattr(file, name)(*arguments))
    return found


@given(writes, st.sampled_from([0, 1, 10, 8192, -1]))
@settings(max_examples=80)
def test_what_is_written_arrives_as_of_a_socket_writer(script: list[tuple[str, bytes, int]], size: int) -> None:
    def ours() -> tuple[list[Any], bytes]:
        mine, theirs = map(green, socket.socketpair())
        with theirs, theirs.makefile("rb") as there:
            arriving = spawn(there.read)
            with mine, mine.makefile("wb", size) as here:
                assert isinstance(here, StreamWriter)
                results = written(here, script)
            mine.close()
            return results, arriving.result(DEADLINE)

    def model() -> tuple[list[Any], bytes]:
        with io.BytesIO() as file:
            return written(file, script), file.getvalue()

    assert hub.run(ours) == model()


def test_the_model_is_the_standard_writer() -> None:
    script = [("write", b"abcd", shape) for shape in range(5)]
    mine, theirs = socket.socketpair()
    with theirs:
        with mine:
            results = written(STANDARD_WRITER(mine), script)
        with pair() as (ours, there), ours.makefile("wb", 0) as file:
            assert written(file, script) == results == [4, 4, 4, 4, 16]
            assert there.recv(100) == theirs.recv(100)


@pytest.mark.parametrize("data", ["text", None, 3, memoryview(b"abcd")[::2]])
def test_what_cannot_be_written(data: Any) -> None:
    mine, theirs = socket.socketpair()
    with mine, theirs, pair() as (ours, _), ours.makefile("wb", 0) as file:
        with pytest.raises((TypeError, BufferError)) as expected:
            STANDARD_WRITER(mine).write(data)
        with pytest.raises(expected.type) as found:
            file.write(data)
        assert str(found.value) == str(expected.value)


def test_a_buffer_is_kept_back_until_it_is_full_or_flushed() -> None:
    with pair() as (ours, theirs), ours.makefile("wb", 10) as file:
        file.write(b"12345")
        assert unread(theirs) == 0
        file.write(b"678901")
        assert theirs.recv(100) == b"12345"
        file.flush()
        assert theirs.recv(100) == b"678901"
        file.write(b"longer than the buffer")
        assert theirs.recv(100) == b"longer than the buffer"
        file.write(b"end")
        file.close()
        assert theirs.recv(100) == b"end"


def test_a_broken_pipe_is_told_at_each_write() -> None:
    def scenario() -> None:
        with pair() as (ours, theirs), ours.makefile("wb", 0) as file:
            theirs.close()
            for _ in range(2):
                with pytest.raises(BrokenPipeError):
                    file.write(b"nobody reads this")

    hub.run(scenario)


@pytest.mark.parametrize("place", [in_task, in_thread])
def test_a_write_times_out(place: Callable[..., Any]) -> None:
    def scenario() -> None:
        with pair() as (ours, _), ours.makefile("wb", 0) as file:
            ours.settimeout(0.02)
            fill(ours)
            with pytest.raises(TimeoutError, match="timed out"):
                file.write(b"no room")

    place(scenario)


# -- as files --

CLOSED: dict[str, tuple[Any, ...]] = {
    **{name: () for name in ("readline", "readlines", "read", "read1", "peek", "readable", "seekable", "isatty")},
    **{name: () for name in ("flush", "__enter__", "__next__")},
    "readinto": (bytearray(1),),
    "readinto1": (bytearray(1),),
}


@pytest.mark.parametrize("name", CLOSED)
def test_a_closed_reader(name: str) -> None:
    model = io.BufferedReader(io.BytesIO(b"x"))
    model.close()
    with pair() as (ours, _):
        reader = ours.makefile("rb")
        reader.close()
        reader.close()
        assert reader.closed
        for file in (model, reader):
            with pytest.raises(ValueError, match="closed file"):
                getattr(file, name)(*CLOSED[name])


@pytest.mark.parametrize("name", ["write", "writelines", "flush", "fileno", "__enter__", "writable"])
def test_a_closed_writer(name: str) -> None:
    with pair() as (ours, _):
        writer = ours.makefile("wb", 0)
        writer.close()
        writer.close()
        with pytest.raises(ValueError, match="closed file"):
            getattr(writer, name)(*([b""] if name.startswith("write") and name != "writable" else []))


@pytest.mark.parametrize(
    ("mode", "names"), [("rb", ["write", "seek", "tell", "truncate"]), ("wb", ["read", "seek", "tell", "truncate"])]
)
def test_what_a_file_does_not_do(mode: str, names: list[str]) -> None:
    with pair() as (ours, _), ours.makefile(mode) as file:
        for name in names:
            arguments: list[Any] = [0] if name == "seek" else [b""] if name == "write" else []
            with pytest.raises(io.UnsupportedOperation):
                getattr(file, name)(*arguments)


def test_they_are_files() -> None:
    with pair() as (ours, _), ours.makefile("rb") as reader, ours.makefile("wb", 0) as writer:
        assert isinstance(reader, StreamReader)
        files: list[Any] = [reader, writer]
        assert all(isinstance(file, io.BufferedIOBase) for file in files)
        assert (reader.readable(), reader.writable(), reader.seekable(), reader.isatty()) == (True, False, False, False)
        assert (writer.readable(), writer.writable(), writer.seekable(), writer.isatty()) == (False, True, False, False)
        assert reader.fileno() == writer.fileno() == ours.fileno() == reader.name
        assert (reader.mode, writer.mode) == ("rb", "wb")
        assert "StreamReader of <portside.core.sockets.GreenSocket" in repr(reader)


def test_text_over_a_stream() -> None:
    def scenario() -> None:
        with pair() as (ours, theirs):
            theirs.sendall("grün\r\nrot\n".encode())
            theirs.shutdown(socket.SHUT_WR)
            with io.TextIOWrapper(ours.makefile("rb"), "utf-8") as text:
                assert [*text] == ["grün\n", "rot\n"]
            with io.TextIOWrapper(ours.makefile("wb"), "utf-8") as text:
                text.write("blau")
            assert theirs.recv(10) == b"blau"

    hub.run(scenario)


def test_the_socket_lives_as_long_as_its_files() -> None:
    with pair() as (ours, theirs):
        reader, writer = ours.makefile("rb"), ours.makefile("wb", 0)
        ours.close()
        writer.write(b"still here")
        theirs.sendall(b"answer")
        assert (theirs.recv(20), reader.read(6)) == (b"still here", b"answer")
        reader.close()
        assert ours.fileno() >= 0
        writer.close()
        assert ours.fileno() == -1
        assert theirs.recv(1) == b""


def test_a_dropped_file_lets_the_socket_go() -> None:
    with pair() as (ours, theirs):
        reader = ours.makefile("rb")
        ours.close()
        del reader
        assert theirs.recv(1) == b""


@pytest.fixture
def warm() -> Iterator[None]:
    """Nothing of what the first use leaves in memory counts."""
    fed([b"a\n"], list)
    yield


def test_a_gibibyte_would_not_stay_in_memory(warm: None) -> None:
    mine, theirs = tcp_pair()
    megabytes = 24

    def send() -> None:
        with green(mine) as ours, ours.makefile("wb", 0) as writer:
            for _ in range(megabytes):
                writer.write(memoryview(chunk))

    def scenario() -> int:
        with green(theirs) as there, there.makefile("rb") as reader:
            task = spawn(send)
            tracemalloc.start()
            count = 0
            while data := reader.read1(KIB * KIB):
                count += len(data)
            task.result(DEADLINE)
            return count

    chunk = bytes(KIB * KIB)
    try:
        assert hub.run(scenario) == megabytes * KIB * KIB
        assert tracemalloc.get_traced_memory()[1] < 2 * KIB * KIB
    finally:
        tracemalloc.stop()
