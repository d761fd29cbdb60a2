"""What is found at a path, in which coding, and how one state of it is told from another."""

import errno
import os
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from portside.http.files.encodings import CODINGS, GZIP, PACKED_FROM, ZSTD, packable
from portside.http.files.resources import (
    COARSE_TICK,
    TICK,
    Resource,
    find,
    find_index,
    negotiate,
    status_of,
    validators,
)
from portside.http.files.tree import Tree

pytestmark = pytest.mark.usefixtures("no_leaks")

PAST = 784111777
BROWSER = {"accept-encoding": "gzip, deflate, br, zstd"}
BEST = packable(CODINGS) or GZIP  # of those that are made while sending


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    with Tree(str(tmp_path)) as tree:
        yield tree


def written(path: Path, content: bytes = b"x" * PACKED_FROM, modified: float = PAST) -> str:
    path.write_bytes(content)
    os.utime(path, (modified, modified))
    return str(path)


def chosen(tree: Tree, path: str, fields: dict[str, str], content_type: str = "text/plain") -> tuple[str, str, bool]:
    """The suffix of the file that is sent, its coding, and whether it has to be packed yet."""
    plain = find(tree, path)._replace(content_type=content_type)
    found = negotiate(tree, plain, fields, gzip_limit=10 * PACKED_FROM)
    found.close()
    return found.path.removeprefix(path), found.coding.name if found.coding else "", found.is_raw


# Finding


def test_finds_files_and_folders(tree: Tree, tmp_path: Path) -> None:
    for path, is_folder in ((written(tmp_path / "a"), False), (str(tmp_path), True)):
        found = find(tree, path)
        found.close()
        assert (found.path, found.is_folder) == (path, is_folder)


@pytest.mark.parametrize("kind", ["pipe", "nothing", "device"])
def test_finds_nothing_else(tree: Tree, tmp_path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(tmp_path / "pipe")
    if kind == "device":
        (tmp_path / "device").symlink_to("/dev/zero")
    with pytest.raises(OSError):
        find(tree, str(tmp_path / kind))


def test_device_is_no_file() -> None:
    with Tree("/dev") as devices, pytest.raises(FileNotFoundError):
        find(devices, "/dev/null")


def test_index_pages_in_their_order(tree: Tree, tmp_path: Path) -> None:
    names = ("index.html", "index.htm")
    assert find_index(tree, str(tmp_path), names) is None
    (tmp_path / "index.html").mkdir()
    written(tmp_path / "index.htm")
    found = find_index(tree, str(tmp_path), names)
    assert found
    found.close()
    assert found.path == str(tmp_path / "index.htm")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (FileNotFoundError(errno.ENOENT, ""), HTTPStatus.NOT_FOUND),
        (PermissionError(errno.EACCES, ""), HTTPStatus.NOT_FOUND),
        (OSError(errno.EXDEV, ""), HTTPStatus.NOT_FOUND),
        (ValueError("embedded null byte"), HTTPStatus.NOT_FOUND),
        (OSError(errno.EMFILE, ""), HTTPStatus.SERVICE_UNAVAILABLE),
    ],
)
def test_status_of_what_cannot_be_opened(error: OSError | ValueError, status: HTTPStatus) -> None:
    assert status_of(error) is status


# Codings


def test_neighbours_in_the_order_of_preference(tree: Tree, tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt")
    assert chosen(tree, path, BROWSER) == ("", BEST.name, True)
    for coding in reversed(CODINGS):
        written(tmp_path / f"a.txt{coding.suffix}", b"packed")
        assert chosen(tree, path, BROWSER) == (coding.suffix, coding.name, False)


def test_neighbour_that_is_older_is_stale(tree: Tree, tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt")
    written(tmp_path / "a.txt.br", b"packed", PAST - 1)
    assert chosen(tree, path, BROWSER) == ("", BEST.name, True)


def test_neighbour_that_leads_out_is_not_sent(tree: Tree, tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt")
    (tmp_path / "a.txt.br").symlink_to("/etc/passwd")
    (tmp_path / "a.txt.zst").mkdir()
    assert chosen(tree, path, BROWSER) == ("", BEST.name, True)


@pytest.mark.parametrize(
    ("size", "fields", "content_type"),
    [
        (PACKED_FROM - 1, BROWSER, "text/plain"),
        (10 * PACKED_FROM + 1, BROWSER, "text/plain"),
        (PACKED_FROM, {}, "text/plain"),
        (PACKED_FROM, {"accept-encoding": "identity"}, "text/plain"),
        (PACKED_FROM, {"accept-encoding": "br"}, "text/plain"),
        (PACKED_FROM, {**BROWSER, "range": "bytes=0-0"}, "text/plain"),
        (PACKED_FROM, BROWSER, "image/png"),
    ],
)
def test_sent_as_it_is(tree: Tree, tmp_path: Path, size: int, fields: dict[str, str], content_type: str) -> None:
    path = written(tmp_path / "a", b"x" * size)
    assert chosen(tree, path, fields, content_type) == ("", "", False)


def test_part_of_a_neighbour_can_be_sent(tree: Tree, tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt")
    written(tmp_path / "a.txt.gz")
    assert chosen(tree, path, {**BROWSER, "range": "bytes=0-0"}) == (".gz", "gzip", False)


# Validators


def status(path: Path, content: bytes = b"x", modified: float = PAST) -> os.stat_result:
    return os.stat(written(path, content, modified))


def test_each_state_has_a_tag_of_its_own(tmp_path: Path) -> None:
    states = [
        validators(status(tmp_path / "a")),
        validators(status(tmp_path / "a", b"xy")),
        validators(status(tmp_path / "a", modified=PAST + 0.5)),
        validators(status(tmp_path / "a"), GZIP),
        validators(status(tmp_path / "a"), ZSTD),
    ]
    assert len({state.etag for state in states}) == len(states)
    assert {state.modified for state in states} == {PAST}
    assert not any(state.etag.weak for state in states)


@pytest.mark.parametrize(("fraction", "tick"), [(0.0, COARSE_TICK), (0.5, TICK)])
def test_tag_is_weak_while_the_file_may_change_unseen(tmp_path: Path, fraction: float, tick: float) -> None:
    modified = PAST + fraction
    fresh = validators(status(tmp_path / "a", modified=modified), now=modified + tick * 0.9)
    settled = validators(status(tmp_path / "a", modified=modified), now=modified + tick * 1.1)
    assert (fresh.etag.weak, settled.etag.weak) == (True, False)
    assert fresh.etag.opaque == settled.etag.opaque


def test_no_file_is_from_the_future(tmp_path: Path) -> None:
    assert validators(status(tmp_path / "a", modified=PAST + 1000), now=PAST).modified == PAST


def test_resource_closes_its_descriptor(tree: Tree, tmp_path: Path) -> None:
    found: Resource = find(tree, written(tmp_path / "a"))
    found.close()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(found.descriptor)
