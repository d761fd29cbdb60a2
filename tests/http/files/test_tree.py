"""What can be opened below a folder and what cannot, by openat2(2) and by the walk that stands in for it."""

import errno
import os
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.http.files import openat2
from portside.http.files.tree import Tree, open_without_links

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture(params=["openat2", "walk"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to open a file; the walk, where the kernel has openat2(2), by hiding that."""
    if request.param == "walk":
        monkeypatch.setattr(openat2, "is_available", lambda: False)
    elif not openat2.is_available():
        pytest.skip("this kernel has no openat2(2), or hides it")
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return filled(tmp_path)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled(tmp_path_factory.mktemp("standing"))


def filled(around: Path) -> Path:
    """A folder with links of every kind in it, and a secret beside it."""
    root = around / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "file").write_text("inside")
    (around / "secret").write_text("outside")
    (around / "root-beside").mkdir()
    (around / "root-beside" / "file").write_text("outside")
    for name, target in {
        "in": "sub/file",
        "in-folder": "sub",
        "in-absolute": str(root / "sub" / "file"),
        "in-by-way-of-out": "../root/sub/file",
        "out": "../secret",
        "out-absolute": str(around / "secret"),
        "out-folder": "..",
        "out-beside": "../root-beside",
        "out-by-way-of-in": "sub/../../secret",
        "loop": "loop",
        "dangling": "nowhere",
    }.items():
        (root / name).symlink_to(target)
    return root


def read(root: Path, name: str, *, confined: bool = True) -> str:
    with Tree(str(root), confined=confined) as tree, tree.opened(f"{root}/{name}") as file:
        return os.pread(file, 100, 0).decode()


@pytest.mark.parametrize(
    "name", ["sub/file", "sub//file", "./sub/file", "in", "in-folder/file", "in-absolute", "in-by-way-of-out"]
)
def test_what_lies_inside(way: str, root: Path, name: str) -> None:
    assert read(root, name) == "inside"


@pytest.mark.parametrize(
    "name",
    [
        "out",
        "out-absolute",
        "out-folder/secret",
        "out-beside/file",
        "out-by-way-of-in",
        "../secret",
        "../root-beside/file",
        "sub/../../secret",
        "loop",
        "dangling",
        "nothing",
        "sub/file/",
        "sub/file/more",
    ],
)
def test_what_does_not(way: str, root: Path, name: str) -> None:
    with pytest.raises(OSError):
        read(root, name)


@pytest.mark.parametrize("name", ["out", "out-absolute", "out-folder/secret", "out-beside/file", "out-by-way-of-in"])
def test_links_lead_out_where_they_may(root: Path, name: str) -> None:
    assert read(root, name, confined=False) == "outside"


@pytest.mark.parametrize("confined", [True, False])
def test_null_byte(way: str, root: Path, confined: bool) -> None:
    with pytest.raises(ValueError, match="null"):
        read(root, "sub/file\0.txt", confined=confined)


def test_folder_itself(way: str, root: Path) -> None:
    with Tree(str(root)) as tree:
        for path in (str(root), f"{root}/", f"{root}/sub/", f"{root}/in-folder/"):
            with tree.opened(path) as folder:
                assert os.listdir(folder)


def test_folder_may_be_a_link(way: str, root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("root")
    assert read(tmp_path / "link", "sub/file") == "inside"
    assert read(tmp_path / "link", "in-absolute") == "inside"


@pytest.mark.parametrize("folder", ["", ".", "./", "sub/..", "sub/../"])
def test_folder_by_a_relative_name(way: str, root: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.chdir(root)
    with Tree(folder) as tree, tree.opened(os.path.join(folder, "in")) as file:
        assert os.pread(file, 100, 0) == b"inside"


def test_path_of_a_program(way: str, root: Path, tmp_path: Path) -> None:
    """What an overridden `translate_path` says elsewhere, it means."""
    with Tree(str(root)) as tree, tree.opened(str(tmp_path / "secret")) as file:
        assert os.pread(file, 100, 0) == b"outside"
        assert tree.name_of(str(tmp_path / "root-beside")) is None


def test_named_pipe_does_not_block(way: str, root: Path) -> None:
    os.mkfifo(root / "pipe")
    with Tree(str(root)) as tree, tree.opened(f"{root}/pipe") as pipe:
        assert os.read(pipe, 1) == b""


def test_missing_folder(root: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Tree(str(root / "nothing"))


def test_kernel_that_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> int:
        raise OSError(errno.ENOSYS, "no such call")

    monkeypatch.setattr(openat2, "open_beneath", refuses)
    openat2.is_available.cache_clear()
    try:
        assert not openat2.is_available()
    finally:
        openat2.is_available.cache_clear()


def test_descriptors_are_not_inherited(way: str, root: Path) -> None:
    with Tree(str(root)) as tree, tree.opened(f"{root}/in") as file:
        assert not os.get_inheritable(file)


@given(words=st.lists(st.sampled_from(["sub", "file", "in", "out", "out-folder", "..", ".", "", "secret"]), max_size=6))
def test_no_name_leads_out(standing: Path, words: list[str]) -> None:
    name = "/".join(words)
    with suppress(OSError):
        assert read(standing, name) == "inside"
    with Tree(str(standing)) as tree, suppress(OSError), tree.opened(f"{standing}/{name}", os.O_RDONLY) as found:
        assert Path(os.readlink(f"/proc/self/fd/{found}")).is_relative_to(standing)


@given(words=st.lists(st.sampled_from(["sub", "file", "in", "out", "out-folder", "..", ".", "", "secret"]), max_size=6))
def test_no_name_leads_the_walk_out(standing: Path, words: list[str]) -> None:
    with ExitStack() as stack:
        folder = os.open(standing, os.O_RDONLY)
        stack.callback(os.close, folder)
        with suppress(OSError):
            found = open_without_links(folder, "/".join(words), os.O_RDONLY)
            stack.callback(os.close, found)
            assert Path(os.readlink(f"/proc/self/fd/{found}")).is_relative_to(standing)


def test_link_that_changes_meanwhile(way: str, root: Path) -> None:
    """A link that points inside and outside in turn never gives what is outside."""
    ended = threading.Event()
    changer = threading.Thread(target=_change, args=(root / "turning", ended))
    changer.start()
    try:
        found = {_outcome(root, "turning") for _ in range(3000)}
    finally:
        ended.set()
        changer.join()
    assert "outside" not in found


def _change(link: Path, ended: threading.Event) -> None:
    new = link.with_name("new")
    while not ended.is_set():
        for target in ("sub/file", "../secret", str(link.parent / "sub" / "file"), str(link.parent.parent / "secret")):
            new.symlink_to(target)
            new.replace(link)


def _outcome(root: Path, name: str) -> str:
    try:
        return read(root, name)
    except OSError:
        return "refused"
