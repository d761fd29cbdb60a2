"""Files that are asked for again: the same answers for less, and never one of a state that is over."""

import http.server as stdlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.http.files import handler as files
from portside.http.files import known
from portside.http.files.names import LONGEST
from portside.http.files.sending import SENDFILE_FROM
from portside.http.servers import GreenHTTPServer, ThreadingHTTPServer
from tests.conftest import descriptors, wait_until
from tests.http.files.conftest import PAST, Answer, QuietHandler, Serve, Site, ask, connected, served
from tests.http.kit import running

pytest.importorskip("portside.core.knownfiles", reason="the core is not compiled")

pytestmark = [
    pytest.mark.usefixtures("no_leaks"),
    pytest.mark.skipif(known._reader() is None, reason="this kernel has no openat2(2), or hides it"),
]

BROWSER = "gzip, deflate, br, zstd"


class Clock:
    """Stands in for the module `time`, where only the test moves the time."""

    def __init__(self) -> None:
        self.now = PAST + 1e9

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(known, "time", clock)
    return clock


@pytest.fixture
def anew(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose answers were made anew in this test, within one second."""
    made: list[str] = []
    look_up: Any = files._look_up

    def noted(handler: Any, path: str, fields: Any) -> Any:
        made.append(os.path.basename(path))
        return look_up(handler, path, fields)

    monkeypatch.setattr(files, "_look_up", noted)
    return made


def head(answer: Answer) -> list[tuple[str, str]]:
    """All but the time."""
    return sorted((name, value) for name, value in answer.head.items() if name != "Date")


# The same answer


@pytest.mark.parametrize("server_class", [ThreadingHTTPServer, GreenHTTPServer])
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize("size", [0, 1, 1024, SENDFILE_FROM - 1])
def test_second_answer_is_the_first(
    tmp_path: Path, anew: list[str], server_class: Any, version: str, size: int
) -> None:
    handler = type("Handler", (QuietHandler,), {"protocol_version": version})
    with served(tmp_path, handler, server_class, cache_control={"*": "no-cache"}) as site:
        content = os.urandom(size)
        site.put("a.bin", content)
        answers = [site.ask("/a.bin") for _ in range(3)]
    assert {answer.body for answer in answers} == {content}
    assert head(answers[0]) == head(answers[1]) == head(answers[2])
    assert anew == ["a.bin"]


@pytest.mark.parametrize("fields", [{}, {"Accept_Encoding": BROWSER}, {"User_Agent": "x"}])
def test_fields_that_make_no_difference(site: Site, anew: list[str], fields: dict[str, str]) -> None:
    site.put("a.bin", b"content")
    assert [site.ask("/a.bin", **fields).body for _ in range(3)] == [b"content"] * 3
    assert anew == ["a.bin"]


def test_fields_that_make_one(site: Site) -> None:
    site.put("a.txt", b"text" * 1000)
    etag = site.ask("/a.txt").head["ETag"]
    with connected(site.port) as client:
        for fields, status in [
            ({}, 200),
            ({"Range": "bytes=0-0"}, 206),
            ({}, 200),
            ({"If_None_Match": etag}, 304),
            ({"If_Match": '"x"'}, 412),
            ({}, 200),
        ]:
            assert ask(client, "/a.txt", **fields).status == status
        assert ask(client, "/a.txt", Accept_Encoding="gzip").head["Content-Encoding"] == "gzip"
        assert ask(client, "/a.txt", "HEAD").body == b""
        assert ask(client, "/a.txt").body == b"text" * 1000


def test_neighbour_that_appears_is_seen_at_once(site: Site) -> None:
    site.put("a.txt", b"text")
    for _ in range(3):
        assert site.ask("/a.txt", Accept_Encoding="br").head["Content-Encoding"] is None
    site.put("a.txt.br", b"brotli")
    assert site.ask("/a.txt", Accept_Encoding="br").body == b"brotli"
    assert site.ask("/a.txt").body == b"text"


@pytest.mark.parametrize("target", ["/large.bin", "/young.bin", "/" + "x" * 100 + "?" + "x" * LONGEST])
def test_not_kept(site: Site, anew: list[str], clock: Clock, target: str) -> None:
    """Large files are sent by the kernel; young ones may change unseen; targets are the clients' to choose."""
    site.put("large.bin", bytes(SENDFILE_FROM))
    site.put("young.bin", b"content", modified=clock.now - 1)
    site.put("x" * 100, b"content")
    assert [site.ask(target).status for _ in range(3)] == [200] * 3
    assert len(anew) == 3


def test_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MOST", 3)
    site.put("a", b"content")
    for number in range(10):
        assert site.ask(f"/a?{number}").body == b"content"
    assert len(known._READY) <= 3


# Another state


def rename_the_folder(site: Site) -> None:
    site.folder.rename(site.folder.with_name("old"))
    site.folder.mkdir()


def link_outwards(site: Site) -> None:
    path = site.put("../a.bin", b"outside")
    (site.folder / "a.bin").unlink()
    (site.folder / "a.bin").symlink_to(path)


def remove(site: Site) -> None:
    (site.folder / "a.bin").unlink()


@pytest.mark.parametrize("change", [rename_the_folder, link_outwards, remove])
def test_file_that_is_no_longer_there(site: Site, clock: Clock, change: Callable[[Site], object]) -> None:
    site.put("a.bin", b"content")
    with connected(site.port) as client:
        assert [ask(client, "/a.bin").status for _ in range(3)] == [200] * 3
        change(site)
        assert [ask(client, "/a.bin").status for _ in range(3)] == [404] * 3


@pytest.mark.parametrize("standard", [True, False])
def test_folder_that_is_made_anew_is_followed(tmp_path: Path, clock: Clock, standard: bool) -> None:
    """At once, as by the standard library; there is no descriptor of the old one that would keep it."""
    with folder_by_either(tmp_path / "site", standard=standard) as site:
        site.put("sub/a.bin", b"old")
        with connected(site.port) as client:
            assert ask(client, "/sub/a.bin").body == b"old"
            for change in (site.folder / "sub", site.folder):
                change.rename(change.with_name("old"))
                site.put("sub/a.bin", b"new")
                assert [ask(client, "/sub/a.bin").body for _ in range(2)] == [b"new"] * 2
                site.put("sub/a.bin", b"old")


@contextmanager
def folder_by_either(folder: Path, *, standard: bool) -> Iterator[Site]:
    """A folder served by the standard library's class, or by ours."""

    class Standard(stdlib.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, directory=str(folder), **kwargs)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    if standard:
        with running(ThreadingHTTPServer(("127.0.0.1", 0), Standard)) as server:
            yield Site(folder, server.server_port)
    else:
        with served(folder) as site:
            yield site


def test_index_page(site: Site, anew: list[str]) -> None:
    site.put("index.htm", b"second")
    assert [site.ask("/").body for _ in range(2)] == [b"second"] * 2
    site.put("index.html", b"first")
    assert [site.ask("/").body for _ in range(3)] == [b"first"] * 3
    assert anew == [""] * 3
    (site.folder / "index.html").unlink()
    assert site.ask("/").body == b"second"


@pytest.mark.parametrize("server_class", [ThreadingHTTPServer, GreenHTTPServer])
def test_file_that_is_replaced_all_the_time(tmp_path: Path, server_class: Any) -> None:
    """No answer has the head of one state and the content of another; sizes differ, or times, or both."""
    states: dict[bytes, tuple[str, str]] = {}
    ended = threading.Event()

    def put(number: int) -> None:
        content = b"%d." % number + b"x" * (number % 3)
        path = site.put("new", content, modified=PAST + number % 7)
        status = path.stat()
        states[content] = (str(status.st_size), f'"{status.st_mtime_ns:x}-{status.st_size:x}"')
        path.replace(site.folder / "a.bin")

    def replace() -> None:
        number = 0
        while not ended.is_set():
            put(number := number + 1)

    with served(tmp_path, server_class=server_class) as site, connected(site.port) as client:
        put(0)
        changer = threading.Thread(target=replace)
        changer.start()
        try:
            answers = [ask(client, "/a.bin") for _ in range(500)]
        finally:
            ended.set()
            changer.join()
    for answer in answers:
        assert (answer.head["Content-Length"], answer.head["ETag"]) == states[answer.body]


STEPS = st.sampled_from([b"", b"a", b"b", b"aa", b"remove", b"touch"])


def test_whatever_happens_between_two_requests(site: Site) -> None:
    with connected(site.port) as client:

        @given(steps=st.lists(STEPS, max_size=12))
        def check(steps: list[bytes]) -> None:
            for number, step in enumerate(steps):
                take(site, step, number)
                assert_present(site, ask(client, "/a.bin"))

        check()


def take(site: Site, step: bytes, number: int) -> None:
    path = site.folder / "a.bin"
    if step == b"remove":
        path.unlink(missing_ok=True)
    elif step == b"touch" and path.exists():
        os.utime(path, (PAST + number, PAST + number))
    else:
        site.put("new", step, modified=PAST + number % 3).replace(path)


def assert_present(site: Site, answer: Answer) -> None:
    path = site.folder / "a.bin"
    if not path.exists():
        assert answer.status == 404
        return
    status = path.stat()
    assert answer.body == path.read_bytes()
    assert answer.head["ETag"] == f'"{status.st_mtime_ns:x}-{status.st_size:x}"'


def test_a_thousand_requests_leave_no_descriptor(site: Site) -> None:
    for name in ("a.bin", "b.bin", "c.txt"):
        site.put(name, b"content")
    with connected(site.port) as client:
        assert ask(client, "/a.bin").status == 200
        before = len(descriptors())
        for number in range(1000):
            target, status = [("/a.bin", 200), ("/b.bin?", 200), ("/c.txt", 200), ("/nothing", 404)][number % 4]
            assert ask(client, target).status == status
        assert wait_until(lambda: len(descriptors()) <= before)


# What a program changes


def test_program_that_changes_its_mind(serve: Serve, clock: Clock) -> None:
    """What is put in the place of an attribute counts at once; what is changed inside one within the second."""

    class Handler(QuietHandler):
        extensions_map: ClassVar[dict[str, str]] = {}
        now: ClassVar[Any] = None

        def do_GET(self) -> None:
            vars(self).update(self.now or {})
            super().do_GET()

    site = serve(Handler)
    site.put("a", b"content")
    with connected(site.port) as client:
        assert [ask(client, "/a").head["Content-Type"] for _ in range(2)] == ["application/octet-stream"] * 2
        for now, name, value in [
            ({"default_content_type": "x/default"}, "Content-Type", "x/default"),
            ({"extensions_map": {"": "x/map"}}, "Content-Type", "x/map"),
            ({"extra_response_headers": [("X-Extra", "1")]}, "X-Extra", "1"),
        ]:
            Handler.now = now
            assert [ask(client, "/a").head[name] for _ in range(2)] == [value] * 2
        Handler.now["extra_response_headers"][0] = ("X-Extra", "2")
        assert ask(client, "/a").head["X-Extra"] == "2"
    Handler.now = None
    assert site.ask("/a").head["Content-Type"] == "application/octet-stream"
    Handler.extensions_map[""] = "x/changed"
    clock.now += 1
    assert site.ask("/a").head["Content-Type"] == "x/changed"


@pytest.mark.parametrize(
    "name", ["send_head", "translate_path", "guess_type", "copyfile", "end_headers", "send_header", "send_response"]
)
def test_overridden_methods_are_called_each_time(serve: Serve, clock: Clock, name: str) -> None:
    calls: list[str] = []

    def overridden(self: Any, *args: Any) -> Any:
        calls.append(name)
        return getattr(QuietHandler, name)(self, *args)

    site = serve(type("Handler", (QuietHandler,), {name: overridden}))
    site.put("a.bin", b"content")
    counts = []
    for _ in range(3):
        calls.clear()
        assert site.ask("/a.bin").body == b"content"
        counts.append(len(calls))
    assert counts[0] >= 1
    assert counts == [counts[0]] * 3


def test_headers_that_a_program_changes(serve: Serve) -> None:
    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self.headers["Range"] = "bytes=0-0"
            super().do_GET()

    site, plain = serve(Handler), serve()
    site.put("a.bin", b"content")
    assert [(each.ask("/a.bin").status) for each in (plain, site, plain, site)] == [200, 206, 200, 206]
