"""Files that are read only while they are in a known state, whatever is done to them and to the way there."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from portside.http.files import openat2

knownfiles = pytest.importorskip("portside.core.knownfiles", reason="the core is not compiled")

pytestmark = [
    pytest.mark.usefixtures("no_leaks"),
    pytest.mark.skipif(not openat2.is_available(), reason="this kernel has no openat2(2), or hides it"),
]

PAST = 784111777


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a file in it, and another file beside it."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    for path in (root / "sub" / "a", tmp_path / "a"):
        written(path, b"content")
    return root


def written(path: Path, content: bytes, modified: float = PAST) -> Path:
    path.write_bytes(content)
    os.utime(path, (modified, modified))
    return path


def known(root: Path | str, name: str = "sub/a", *, confined: bool = True) -> Any:
    status = os.stat(os.path.join(root, name))
    return knownfiles.KnownFile(os.fsencode(root), name.encode(), status, confined=confined)


@pytest.mark.parametrize("confined", [True, False])
@pytest.mark.parametrize("size", [0, 1, 70_000])
def test_reads_it_again_and_again(root: Path, size: int, confined: bool) -> None:
    content = os.urandom(size)
    written(root / "sub" / "a", content)
    file = known(root, confined=confined)
    assert [file.read() for _ in range(3)] == [content] * 3


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def shorten(path: Path) -> None:
    os.truncate(path, 3)


def overwrite(path: Path) -> None:
    """By as many bytes."""
    written(path, b"CONTENT", PAST + 1e-6)


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    """By one of the same size and time: it is another inode."""
    written(path.with_name("new"), path.read_bytes()[::-1]).replace(path)


def become_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_a_link_outwards(path: Path) -> None:
    """To a file that differs in nothing but its inode, and whose name is the same."""
    path.unlink()
    path.symlink_to("../../a")


def remake_the_folder(path: Path) -> None:
    folder = path.parent
    folder.rename(folder.with_name("old"))
    folder.mkdir()
    written(path, b"CONTENT")


def link_the_folder_outwards(path: Path) -> None:
    path.parent.rename(path.parent.parent.with_name("elsewhere"))
    path.parent.symlink_to("../elsewhere")


CHANGES = [
    append,
    shorten,
    overwrite,
    remove,
    replace,
    become_a_pipe,
    become_a_folder,
    become_a_link_outwards,
    remake_the_folder,
    link_the_folder_outwards,
]


@pytest.mark.parametrize("change", CHANGES)
def test_another_state_is_not_read(root: Path, change: Callable[[Path], object]) -> None:
    file = known(root)
    assert file.read() == b"content"
    change(root / "sub" / "a")
    assert [file.read() for _ in range(2)] == [None] * 2


@pytest.mark.parametrize("confined", [True, False])
def test_links_inside_are_followed(root: Path, tmp_path: Path, confined: bool) -> None:
    (root / "in").symlink_to("sub")
    (tmp_path / "link").symlink_to("root")
    for folder, name in ((root, "in/a"), (tmp_path / "link", "sub/a"), (tmp_path / "link", "in/a")):
        file = known(folder, name, confined=confined)
        assert [file.read() for _ in range(2)] == [b"content"] * 2


def test_links_outwards_are_followed_where_they_may(root: Path) -> None:
    (root / "out").symlink_to("../a")
    assert known(root, "out").read() is None
    assert known(root, "../a").read() == b"content"  # the name is the caller's to check; through links it is not
    assert known(root, "out", confined=False).read() == b"content"


def test_link_to_the_folder_that_changes_is_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("root")
    file = known(tmp_path / "link")
    assert file.read() == b"content"
    (tmp_path / "link").unlink()
    assert file.read() is None
    (tmp_path / "link").symlink_to("root")
    assert file.read() == b"content"


@pytest.mark.parametrize("folder", ["", ".", "./", "sub/.."])
def test_folder_by_a_relative_name(root: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.chdir(root)
    file = known(folder)
    assert file.read() == b"content"
    monkeypatch.chdir(root.parent)
    assert file.read() is None


@pytest.mark.parametrize(("folder", "name"), [(b"/tmp\0", b"a"), (b"/tmp", b"a\0b")])
def test_null_byte(root: Path, folder: bytes, name: bytes) -> None:
    with pytest.raises(ValueError, match="null"):
        knownfiles.KnownFile(folder, name, os.stat(root), confined=True)


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.mark.parametrize("size", [5, 60_000])
def test_file_that_is_written_meanwhile_is_whole_or_not_read(root: Path, size: int) -> None:
    """What was read is all of the known state: nothing of what overwrites the file in its place."""
    path, old, new = root / "sub" / "a", b"o" * size, b"n" * size

    def write_over() -> None:
        with path.open("r+b") as file:
            file.write(new)

    for _ in range(200):
        file = known(written(path, old).parent.parent)
        with meanwhile(write_over):
            found = {file.read() for _ in range(20)}
        assert found <= {old, None}
        assert file.read() is None
