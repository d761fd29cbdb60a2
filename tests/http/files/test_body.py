"""The file object of a body: it reads like the bytes that its pieces stand for, whatever becomes of the file."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.http.files import sending
from portside.http.files.body import FileBody
from portside.http.files.ranges import Span

pytestmark = pytest.mark.usefixtures("no_leaks")

CONTENT = bytes(range(256)) * 2
spans = st.tuples(st.integers(0, 512), st.integers(0, 512)).map(lambda ends: Span(min(ends), max(ends)))
layouts = st.lists(st.one_of(spans, st.binary(max_size=20)), max_size=6)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("body") / "file"
    path.write_bytes(CONTENT)
    return path


@contextmanager
def body_of(path: Path, *pieces: bytes | Span) -> Iterator[FileBody]:
    with FileBody(os.open(path, os.O_RDONLY), pieces, name=str(path)) as body:
        yield body


def meant(pieces: list[bytes | Span]) -> bytes:
    return b"".join(CONTENT[piece.start : piece.stop] if isinstance(piece, Span) else piece for piece in pieces)


@given(pieces=layouts, sizes=st.lists(st.integers(0, 300), max_size=10))
def test_reads_like_its_bytes(file: Path, pieces: list[bytes | Span], sizes: list[int]) -> None:
    with body_of(file, *pieces) as body, io.BytesIO(meant(pieces)) as model:
        assert body.length == len(meant(pieces))
        for size in sizes:
            assert body.read(size) == model.read(size)
            assert body.tell() == model.tell()
        assert body.read() == model.read()
        assert body.read() == b""


@given(pieces=layouts, offset=st.integers(0, 600), whence=st.sampled_from([0, 2]))
def test_seeks_like_its_bytes(file: Path, pieces: list[bytes | Span], offset: int, whence: int) -> None:
    with body_of(file, *pieces) as body, io.BytesIO(meant(pieces)) as model:
        assert body.seek(offset, whence) == model.seek(offset, whence)
        assert body.read(7) == model.read(7)
        assert body.seek(0, io.SEEK_CUR) == model.tell()


@given(pieces=layouts, size=st.integers(0, 300))
def test_readinto(file: Path, pieces: list[bytes | Span], size: int) -> None:
    with body_of(file, *pieces) as body:
        buffer = bytearray(size)
        count = body.readinto(buffer)
        assert buffer[:count] == meant(pieces)[:size]


@given(pieces=layouts, start=st.integers(0, 100), smallest=st.integers(1, 600))
def test_sends_like_its_bytes(file: Path, pieces: list[bytes | Span], start: int, smallest: int) -> None:
    with body_of(file, *pieces) as body, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sending, "SENDFILE_FROM", smallest)
        body.seek(start)
        output = Output()
        sending.send(body, output)
        assert output.getvalue() == meant(pieces)[start:]
        assert all(length >= smallest for length in output.by_file)


class Output(io.BytesIO):
    """A file object that copies from files."""

    def __init__(self) -> None:
        super().__init__()
        self.by_file: list[int] = []

    def sendfile(self, file: io.FileIO, offset: int, count: int) -> int:
        self.by_file.append(count)
        return self.write(os.pread(file.fileno(), count, offset))


@pytest.mark.parametrize("output", [io.BytesIO, Output])
@pytest.mark.parametrize("smallest", [1, 10_000])
def test_file_that_became_shorter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: type[io.BytesIO], smallest: int
) -> None:
    monkeypatch.setattr(sending, "SENDFILE_FROM", smallest)
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    with body_of(path, b"head", Span(0, 512), b"tail") as body, output() as sent:
        os.truncate(path, 100)
        sending.send(body, sent)
        assert sent.getvalue() == b"head" + CONTENT[:100]
        assert body.tell() == 104 < body.length


def test_file_that_became_longer(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    with body_of(path, Span(0, 3)) as body:
        path.write_bytes(b"abcdef")
        assert body.read() == b"abc"


def test_is_a_file_object(file: Path) -> None:
    with body_of(file, Span(0, 512)) as body:
        assert (body.readable(), body.seekable(), body.writable()) == (True, True, False)
        assert (body.name, body.mode) == (str(file), "rb")
        assert os.fstat(body.fileno()).st_size == 512
        assert body.read1(10) + body.read1() == CONTENT
        assert io.TextIOWrapper(body, "latin-1").detach() is body
        with pytest.raises(ValueError, match="seek"):
            body.seek(-1)
        with pytest.raises(ValueError, match="seek"):
            body.seek(0, 9)


def test_closes_its_file(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    body = FileBody(descriptor, ())
    body.close()
    body.close()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(descriptor)
    with pytest.raises(ValueError, match="closed"):
        body.fileno()
