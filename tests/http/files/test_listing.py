"""Folders as they are listed: which names, in which order, and a page that escapes whatever they hold."""

import html
import os
import re
import socket
import urllib.parse
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.http.files.folders import PARTIAL, Entry, entries, is_hidden
from portside.http.files.listing import page, readable_size
from portside.http.files.tree import Tree

pytestmark = pytest.mark.usefixtures("no_leaks")

# Names as a folder can hold them: any bytes but the slash and null.
names = (
    st.binary(min_size=1, max_size=20)
    .map(lambda name: os.fsdecode(name.replace(b"/", b"_").replace(b"\0", b"_")))
    .filter(lambda name: name not in (".", ".."))
)
files = st.builds(
    Entry, names, st.booleans(), st.booleans(), st.integers(0, 2**63), st.floats(allow_nan=False, width=64)
)


class Links(HTMLParser):
    """The links of a page, each with its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._target: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.append((dict(attrs)["href"] or "", ""))
            self._target = self.found[-1][0]

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._target = None

    def handle_data(self, data: str) -> None:
        if self._target is not None:
            target, text = self.found[-1]
            self.found[-1] = (target, text + data)


def listed(folder: Path, *, confined: bool = True, hide_dot_files: bool = False) -> list[str]:
    with Tree(str(folder), confined=confined) as tree:
        return [entry.name for entry in entries(tree, str(folder), hide_dot_files=hide_dot_files)]


# Folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    for name in ("b-folder", "A-folder", ".well-known"):
        (folder / name).mkdir(parents=True)
    for name in ("B", "a", "c", ".hidden", PARTIAL + "123", "grüße.txt"):
        (folder / name).write_text("x")
    (tmp_path / "outside").write_text("x")
    (folder / "link-in").symlink_to("a")
    (folder / "link-folder").symlink_to("b-folder")
    (folder / "link-out").symlink_to("../outside")
    (folder / "link-nowhere").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "socket"))
    return folder


def test_what_is_listed_and_in_which_order(folder: Path) -> None:
    folders = [".well-known", "A-folder", "b-folder", "link-folder"]
    assert listed(folder) == [*folders, ".hidden", "a", "B", "c", "grüße.txt", "link-in"]


def test_dot_files_hidden(folder: Path) -> None:
    assert ".hidden" not in listed(folder, hide_dot_files=True)
    assert ".well-known" in listed(folder, hide_dot_files=True)


def test_links_out_where_they_may_be_followed(folder: Path) -> None:
    assert "link-out" in listed(folder, confined=False)


def test_kinds(folder: Path) -> None:
    with Tree(str(folder)) as tree:
        found = {entry.name: entry[1:4] for entry in entries(tree, str(folder), hide_dot_files=False)}
    assert found["a"] == (False, False, 1)
    assert found["b-folder"][:2] == (True, False)
    assert found["link-folder"][:2] == (True, True)
    assert found["link-in"] == (False, True, 1)


@pytest.mark.parametrize(
    ("name", "always", "on_request"),
    [
        ("a", False, False),
        (".", False, False),
        ("..", False, False),
        ("a/.b/c", False, True),
        (".htaccess", False, True),
        (".well-known/acme-challenge/x", False, False),
        ("a/" + PARTIAL + "x", True, True),
    ],
)
def test_hidden(name: str, always: bool, on_request: bool) -> None:
    assert is_hidden(name, hide_dot_files=False) is always
    assert is_hidden(name, hide_dot_files=True) is on_request


# The page


@given(st.lists(files, max_size=5), st.booleans())
def test_page_leads_to_every_name(shown: list[Entry], is_root: bool) -> None:
    text = page("title", shown, is_root=is_root).decode("utf-8", "surrogateescape")
    found = Links(text).found
    assert [target for target, _ in found[: not is_root]] == ["../"] * (not is_root)
    for entry, (target, _) in zip(shown, found[not is_root :], strict=True):
        assert urllib.parse.unquote(target, errors="surrogatepass") == entry.name + "/" * entry.is_folder
        assert not urllib.parse.urlsplit(target).scheme


@given(st.lists(files, max_size=3), st.text(st.characters(exclude_categories=["Cs"])))
def test_nothing_gets_out_of_its_place(shown: list[Entry], title: str) -> None:
    tags = re.findall(rb"<[^>]*>", page(title, shown, is_root=True))
    allowed = rb"</?(html|head|meta|title|style|body|h1|ul|li|a|span|time|footer)\b[^<>]*>|<!DOCTYPE html>"
    assert [tag for tag in tags if not re.fullmatch(allowed, tag)] == []


def test_text_of_a_link() -> None:
    shown = [
        Entry("a&b<c>", False, False, 1, 0),
        Entry("folder", True, False, 1, 0),
        Entry("link", False, True, 1, 0),
        Entry("folder-link", True, True, 1, 0),
    ]
    text = page("t", shown, is_root=True).decode()
    assert [text for _, text in Links(text).found] == ["a&b<c>", "folder/", "link@", "folder-link@"]
    assert f">{html.escape('a&b<c>', quote=False)}<" in text


def test_bytes_that_are_not_utf8_stay() -> None:
    assert b">\xff.txt<" in page("t", [Entry("\udcff.txt", False, False, 1, 0)], is_root=True)


def test_page_is_for_phones_and_for_the_dark() -> None:
    text = page("t", [], is_root=True).decode()
    assert '<meta name="viewport" content="width=device-width' in text
    assert "color-scheme: light dark" in text
    assert "This folder is empty" in text


def test_form_only_where_uploads_are_taken() -> None:
    assert b"<form" not in page("t", [], is_root=True)
    assert b'<form method="post" enctype="multipart/form-data">' in page("t", [], is_root=True, uploads=True)


def test_time() -> None:
    text = page("t", [Entry("a", False, False, 1, 784111777.9)], is_root=True).decode()
    assert '<time datetime="1994-11-06T08:49:37Z">1994-11-06 08:49</time>' in text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (1024**2, "1.0 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (2**63, "8192.0 PiB"),
    ],
)
def test_size(size: int, text: str) -> None:
    assert readable_size(size) == text
