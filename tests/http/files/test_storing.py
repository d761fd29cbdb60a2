"""Uploaded files: whole under their name or not there at all, and every refusal with its status."""

import errno
import os
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from portside.http.files.storing import PartialFile, UploadRefused, check_name, disk, plain_name

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_PATH)
    yield descriptor
    os.close(descriptor)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def store(folder: int, name: str, data: bytes, *, overwrite: bool = False) -> None:
    with PartialFile(folder, name) as part:
        part.write(data)
        part.finish()
        part.keep(overwrite=overwrite)


def test_file_appears_whole(folder: int, tmp_path: Path) -> None:
    with PartialFile(folder, "a") as part:
        part.write(b"one")
        assert "a" not in content(tmp_path)
        part.write(memoryview(b" two"))
        assert part.finish().st_size == 7
        assert "a" not in content(tmp_path)
        part.keep(overwrite=False)
    assert content(tmp_path) == {"a": b"one two"}


def test_nothing_stays_of_what_was_not_kept(folder: int, tmp_path: Path) -> None:
    with PartialFile(folder, "a") as part:
        part.write(b"one")
    with pytest.raises(RuntimeError), PartialFile(folder, "a") as part:
        raise RuntimeError
    assert content(tmp_path) == {}


@pytest.mark.parametrize("links", [True, False])
def test_file_that_is_there_is_not_replaced(
    folder: int, tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", _has_no_links)
    store(folder, "a", b"first")
    with pytest.raises(UploadRefused) as caught:
        store(folder, "a", b"second")
    assert caught.value.status is HTTPStatus.CONFLICT
    assert content(tmp_path) == {"a": b"first"}


def _has_no_links(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, "this file system has no hard links")


def test_file_that_is_there_is_replaced_on_request(folder: int, tmp_path: Path) -> None:
    store(folder, "a", b"first")
    store(folder, "a", b"second", overwrite=True)
    assert content(tmp_path) == {"a": b"second"}


def test_link_is_replaced_and_not_followed(folder: int, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"target")
    (tmp_path / "a").symlink_to("target")
    with pytest.raises(UploadRefused):
        store(folder, "a", b"new")
    store(folder, "a", b"new", overwrite=True)
    assert content(tmp_path) == {"a": b"new", "target": b"target"}


def test_folder_is_not_replaced(folder: int, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for overwrite in (True, False):
        with pytest.raises(UploadRefused) as caught:
            store(folder, "a", b"new", overwrite=overwrite)
        assert caught.value.status is HTTPStatus.CONFLICT
    assert content(tmp_path) == {}


def test_mode_follows_the_umask(folder: int, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        store(folder, "a", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(("name", "status"), [("x" * 300, 400), ("a\0b", 400)])
def test_impossible_names(folder: int, tmp_path: Path, name: str, status: int) -> None:
    with pytest.raises(UploadRefused) as caught:
        store(folder, name, b"x")
    assert caught.value.status == status
    assert content(tmp_path) == {}


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (errno.ENOSPC, 507),
        (errno.EDQUOT, 507),
        (errno.EACCES, 403),
        (errno.EROFS, 403),
        (errno.ENOENT, 409),
        (errno.EXDEV, 409),
        (errno.EMFILE, 503),
        (errno.EIO, 500),
    ],
)
def test_what_the_system_refuses(number: int, status: int) -> None:
    with pytest.raises(UploadRefused) as caught, disk():
        raise OSError(number, "no")
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        (b"a.txt", "a.txt"),
        ("grüße.txt".encode(), "grüße.txt"),
        (b"\xff.txt", "\udcff.txt"),
        (b"C:\\fakepath\\a.txt", "a.txt"),
        (b"../../etc/passwd", "passwd"),
        (b"a b", "a b"),
    ],
)
def test_name_in_a_form(sent: bytes, name: str) -> None:
    assert plain_name(sent) == name


@pytest.mark.parametrize("sent", [b"", b".", b"..", b".bashrc", b"a/", b"a\n", b"\x1b[31m", b"a\0b", b"\x7f"])
def test_no_name(sent: bytes) -> None:
    with pytest.raises(UploadRefused) as caught:
        plain_name(sent)
    assert caught.value.status is HTTPStatus.BAD_REQUEST


def test_name_in_a_target() -> None:
    check_name(".hidden")
    with pytest.raises(UploadRefused):
        check_name("a\r")
