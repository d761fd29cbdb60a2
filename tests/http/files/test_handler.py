"""The file handler on the wire: what it answers, what it never lets out, and that every method can be overridden."""

import gzip
import io
import os
import re
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pytest

from portside.http.files import sending
from portside.http.files.options import FileOptions
from tests.conftest import Connect
from tests.http.files.conftest import PAST, Answer, QuietHandler, Serve, Site, ask, connected

pytestmark = pytest.mark.usefixtures("no_leaks")

CONTENT = bytes(range(256)) * 1200  # 300 KiB: longer than what is joined with a head
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
TEXT = b"text " * 1000
ETAG = re.compile(r'(W/)?"[0-9a-f]+-[0-9a-f]+(-gzip|-br|-zstd)?"')


# Whole files


@pytest.mark.parametrize("size", [0, 1, 1000, 64 * 1024, len(CONTENT)])
def test_file(site: Site, size: int) -> None:
    site.put("a.bin", CONTENT[:size])
    status, head, body = site.ask("/a.bin")
    assert (status, body) == (200, CONTENT[:size])
    assert (head["Content-Length"], head["Last-Modified"]) == (str(size), DATE)
    assert (head["Content-Type"], head["Accept-Ranges"]) == ("application/octet-stream", "bytes")
    assert ETAG.fullmatch(head["ETag"])


def test_head_is_that_of_get(site: Site) -> None:
    site.put("a.txt", TEXT)
    for fields in ({}, {"Accept_Encoding": "gzip"}):
        get, head = (site.ask("/a.txt", method, **fields) for method in ("GET", "HEAD"))
        del get.head["Date"], head.head["Date"]
        assert get.head.items() == head.head.items()
        assert (head.status, head.body) == (200, b"")


def test_many_files_on_one_connection(site: Site) -> None:
    site.put("a.bin", CONTENT)
    with connected(site.port) as client:
        for target, status in [("/a.bin", 200), ("/nothing", 404), ("/a.bin", 200), ("/", 200), ("/a.bin", 200)] * 3:
            assert ask(client, target).status == status


def test_large_files_go_by_sendfile(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that long passes through the program's memory."""

    def copies(*_: object) -> None:
        raise AssertionError("a long file was read")

    site.put("a.bin", CONTENT)
    monkeypatch.setattr(sending, "_copy", copies)
    assert site.ask("/a.bin").body == CONTENT


def test_file_that_becomes_shorter_ends_the_connection(serve: Serve) -> None:
    class Shortens(QuietHandler):
        def copyfile(self, source: Any, outputfile: Any) -> None:
            os.truncate(source.name, 100_000)
            super().copyfile(source, outputfile)

    site = serve(Shortens)
    site.put("a.bin", CONTENT)
    with connected(site.port) as client:
        client.request("GET", "/a.bin")
        response = client.getresponse()
        assert response.length == len(CONTENT)
        read = b"".join(iter(lambda: response.read1(65536), b""))
        assert read == CONTENT[:100_000]


@pytest.mark.parametrize(
    ("name", "content_type"),
    [("a.html", "text/html"), ("a.tar.gz", "application/gzip"), ("a.GZ", "application/gzip"), ("a", "x/default")],
)
def test_content_type(serve: Serve, name: str, content_type: str) -> None:
    class Handler(QuietHandler):
        default_content_type = "x/default"

    site = serve(Handler)
    site.put(name)
    assert site.ask(f"/{name}").head["Content-Type"] == content_type


# Names


@pytest.mark.parametrize(
    "name", ["grüße.txt", "a b.txt", "a#b.txt", "a?b.txt", "a%20b", "a:b", "日本.txt", "&amp;<i>.txt"]
)
def test_name_leads_from_the_listing_to_the_file(site: Site, name: str) -> None:
    site.put(name, name.encode())
    listing = site.ask("/").body.decode()
    target = re.search(r'<a href="([^"]+)">', listing)
    assert target
    assert site.ask("/" + target[1]).body == name.encode()


def test_name_that_is_not_utf8(site: Site) -> None:
    (site.folder / os.fsdecode(b"\xff.txt")).write_bytes(b"odd")
    assert b">\xff.txt<" in site.ask("/").body
    assert site.ask("/%ff.txt").body == b"odd"
    assert site.ask("/%ED%B3%BF.txt").body == b"odd"  # as the standard library writes it in its listings


def test_name_that_is_sent_as_it_is(site: Site, connect: Connect) -> None:
    site.put("grüße.txt", b"hello")
    with connect(("127.0.0.1", site.port)) as client:
        client.sendall("GET /grüße.txt HTTP/1.0\r\n\r\n".encode())
        assert client.makefile("rb").read().endswith(b"\r\n\r\nhello")


def test_target_in_the_form_that_proxies_are_asked_in(site: Site, connect: Connect) -> None:
    site.put("a.txt", b"hello")
    with connect(("127.0.0.1", site.port)) as client:
        client.sendall(b"GET http://example.org/a.txt HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n")
        assert client.makefile("rb").read().endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize(
    "target",
    [
        "/nothing",
        "/a.txt/",
        "/a.txt/more",
        "/a%00.txt",
        "/%00",
        "/" + "x" * 300,
        "/pipe",
        "/out.txt",
        "/out/secret",
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/loop",
    ],
)
def test_not_found(site: Site, target: str) -> None:
    site.put("a.txt")
    site.put("../secret")
    (site.folder / "out.txt").symlink_to("../secret")
    (site.folder / "out").symlink_to("..")
    (site.folder / "loop").symlink_to("loop")
    os.mkfifo(site.folder / "pipe")
    assert site.ask(target).status == 404


def test_links(serve: Serve) -> None:
    site = serve(follow_symlinks=True)
    site.put("../secret", b"outside")
    (site.folder / "out").symlink_to("../secret")
    assert site.ask("/out").body == b"outside"


def test_link_inside(site: Site) -> None:
    site.put("releases/5/a", b"inside")
    (site.folder / "current").symlink_to(site.folder / "releases" / "5")
    assert site.ask("/current/a").body == b"inside"


def test_out_of_descriptors_is_not_told_as_not_found(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put("a")
    site.put("b")
    with connected(site.port) as client:
        assert ask(client, "/a").status == 200
        monkeypatch.setattr("portside.http.files.handler.Tree", _exhausted)
        assert ask(client, "/b").status == 503


def _exhausted(*_: object, **__: object) -> None:
    raise OSError(24, "Too many open files")


# Folders


def test_folder(site: Site) -> None:
    site.put("folder/a.txt")
    for target in ("/folder", "/folder?a=b"):
        status, head, body = site.ask(target)
        assert (status, body) == (301, b"")
        assert head["Location"] == target.replace("folder", "folder/")
    assert b'<a href="../">' in site.ask("/folder/").body
    assert b'<a href="../">' not in site.ask("/").body


@pytest.mark.parametrize("target", ["//evil.example/..%2ffolder", "/\\evil.example/..%2ffolder"])
def test_redirection_stays_here(site: Site, connect: Connect, target: str) -> None:
    site.put("folder/a")
    with connect(("127.0.0.1", site.port)) as client:
        client.sendall(f"GET {target} HTTP/1.0\r\n\r\n".encode())
        reply = client.makefile("rb").read()
    assert b" 301 " in reply
    assert b"\r\nLocation: /evil.example/..%2ffolder/\r\n" in reply


def test_index_page(serve: Serve) -> None:
    class Handler(QuietHandler):
        index_pages = ("index.xhtml", "index.html")

    site = serve(Handler)
    assert b"Directory listing for /" in site.ask("/").body
    site.put("index.html", b"second")
    assert site.ask("/").body == b"second"
    site.put("index.xhtml", b"first")
    assert site.ask("/?x").body == b"first"
    assert site.ask("/").head["Content-Type"] == "application/xhtml+xml"


def test_without_listings(serve: Serve) -> None:
    site = serve(listings=False)
    assert site.ask("/").status == 404
    site.put("index.html", b"page")
    assert site.ask("/").status == 200


def test_dot_files(serve: Serve) -> None:
    site = serve(hide_dot_files=True)
    for name in (".git/config", ".env", "a/.b/c", ".well-known/x"):
        site.put(name, b"content")
    assert [site.ask(f"/{name}").status for name in (".git/config", ".env", "a/.b/c", ".git/")] == [404] * 4
    assert site.ask("/.well-known/x").status == 200
    assert b".env" not in site.ask("/").body


def test_dot_files_are_served_by_default(site: Site) -> None:
    site.put(".env", b"content")
    assert site.ask("/.env").status == 200


# Conditions and ranges


def test_conditions(site: Site) -> None:
    site.put("a.txt", TEXT)
    etag = site.ask("/a.txt").head["ETag"]
    for fields, status in [
        ({"If_None_Match": etag}, 304),
        ({"If_None_Match": f'"x", W/{etag}'}, 304),
        ({"If_None_Match": '"x"'}, 200),
        ({"If_Modified_Since": DATE}, 304),
        ({"If_Modified_Since": DATE, "If_None_Match": '"x"'}, 200),
        ({"If_Match": etag}, 200),
        ({"If_Match": '"x"'}, 412),
        ({"If_Unmodified_Since": "Sun, 06 Nov 1994 08:49:36 GMT"}, 412),
    ]:
        answer = site.ask("/a.txt", **fields)
        assert (answer.status, answer.body) == (status, TEXT if status == 200 else b""), fields
    unchanged = site.ask("/a.txt", If_None_Match=etag).head
    assert (unchanged["ETag"], unchanged["Vary"], unchanged["Content-Type"]) == (etag, "Accept-Encoding", None)


def test_change_is_seen(site: Site) -> None:
    site.put("a.txt", b"one")
    etag = site.ask("/a.txt").head["ETag"]
    site.put("a.txt", b"two", modified=PAST + 1)
    assert site.ask("/a.txt", If_None_Match=etag).body == b"two"


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=-1000", len(CONTENT) - 1000, len(CONTENT)),
        ("bytes=1000-", 1000, len(CONTENT)),
        ("bytes=0-", 0, len(CONTENT)),
        ("bytes=0-9,5-19", 0, 20),
    ],
)
def test_part(site: Site, wanted: str, start: int, stop: int) -> None:
    site.put("a.bin", CONTENT)
    status, head, body = site.ask("/a.bin", Range=wanted)
    assert (status, body) == (206, CONTENT[start:stop])
    assert head["Content-Range"] == f"bytes {start}-{stop - 1}/{len(CONTENT)}"
    assert head["Content-Length"] == str(stop - start)


def test_parts(site: Site) -> None:
    digits = "0123456789" * 30_000  # text, as the parser below changes what is none
    site.put("a.bin", digits.encode())
    status, head, body = site.ask("/a.bin", Range="bytes=0-9, -10, 1000-199999")
    assert status == 206
    assert len(body) == int(head["Content-Length"])
    assert parts(head["Content-Type"], body) == [
        ("bytes 0-9/300000", digits[:10]),
        ("bytes 299990-299999/300000", digits[-10:]),
        ("bytes 1000-199999/300000", digits[1000:200_000]),
    ]


def parts(content_type: str, body: bytes) -> list[tuple[str, str]]:
    """The parts of a multipart body, read by another parser than ours."""
    whole: Message = BytesParser().parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    return [(str(part["Content-Range"]), str(part.get_payload())) for part in whole.walk() if part is not whole]


@pytest.mark.parametrize("wanted", ["bytes=307200-", "bytes=-0"])
def test_part_beyond_the_end(site: Site, wanted: str) -> None:
    site.put("a.bin", CONTENT)
    status, head, body = site.ask("/a.bin", Range=wanted)
    assert (status, head["Content-Range"], body) == (416, f"bytes */{len(CONTENT)}", b"")


@pytest.mark.parametrize(
    "fields",
    [
        {"Range": "bytes=2-1"},
        {"Range": "lines=0-1"},
        {"Range": "bytes=0-9", "If_Range": '"x"'},
        {"Range": "bytes=0-9", "If_Range": "Sun, 06 Nov 1994 08:49:36 GMT"},
    ],
)
def test_whole_instead_of_a_part(site: Site, fields: dict[str, str]) -> None:
    site.put("a.bin", CONTENT)
    assert site.ask("/a.bin", **fields).status == 200


def test_part_of_the_same_state(site: Site) -> None:
    site.put("a.bin", CONTENT)
    for state in (site.ask("/a.bin").head["ETag"], DATE):
        assert site.ask("/a.bin", Range="bytes=0-9", If_Range=state).status == 206


# Codings


def test_text_is_gzipped(site: Site) -> None:
    site.put("a.txt", TEXT)
    status, head, body = site.ask("/a.txt", Accept_Encoding="gzip")
    assert (status, gzip.decompress(body)) == (200, TEXT)
    assert (head["Content-Encoding"], head["Vary"]) == ("gzip", "Accept-Encoding")
    assert site.ask("/a.txt", Accept_Encoding="gzip", If_None_Match=head["ETag"]).status == 304
    plain = site.ask("/a.txt")
    assert plain.body == TEXT
    assert plain.head["Vary"] == "Accept-Encoding"
    assert plain.head["ETag"] != head["ETag"]


def test_neighbour_is_sent(site: Site) -> None:
    site.put("a.txt", TEXT)
    site.put("a.txt.br", b"brotli")
    _, head, body = site.ask("/a.txt", Accept_Encoding="gzip, br")
    assert (head["Content-Encoding"], head["Content-Type"], body) == ("br", "text/plain", b"brotli")
    assert site.ask("/a.txt.br").head["Content-Encoding"] is None


def test_without_compression(serve: Serve) -> None:
    site = serve(compress=False)
    site.put("a.txt", TEXT)
    site.put("a.txt.br", b"brotli")
    _, head, body = site.ask("/a.txt", Accept_Encoding="gzip, br")
    assert (head["Content-Encoding"], head["Vary"], body) == (None, None, TEXT)


# Further fields


def test_cache_control(serve: Serve) -> None:
    site = serve(cache_control={"/assets/*": "max-age=31536000, immutable", "*.html": "no-cache"})
    for name in ("assets/a.html", "a.html", "a.txt"):
        site.put(name, b"x")
    controls = [site.ask(f"/{name}?x=.html").head["Cache-Control"] for name in ("assets/a.html", "a.html", "a.txt")]
    assert controls == ["max-age=31536000, immutable", "no-cache", None]
    assert site.ask("/a.html", If_Modified_Since=DATE).head["Cache-Control"] == "no-cache"
    assert site.ask("/missing.html").head["Cache-Control"] is None


def test_own_headers_are_in_every_answer(serve: Serve) -> None:
    site = serve(headers=(("X-Frame-Options", "DENY"), ("X-Twice", "1"), ("X-Twice", "2")))
    site.put("a")
    for target, method in (("/a", "GET"), ("/", "GET"), ("/nothing", "GET"), ("/a", "SPAM")):
        head = site.ask(target, method).head
        assert (head["X-Frame-Options"], head.get_all("X-Twice")) == ("DENY", ["1", "2"])


def test_extra_response_headers_are_in_answers_with_content(serve: Serve) -> None:
    class Handler(QuietHandler):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, extra_response_headers=[("X-Extra", "1"), ("X-Extra", "2")], **kwargs)

    site = serve(Handler)
    site.put("a", b"x")
    for target, fields, found in [
        ("/a", {}, ["1", "2"]),
        ("/a", {"Range": "bytes=0-0"}, ["1", "2"]),
        ("/", {}, ["1", "2"]),
        ("/nothing", {}, None),
        ("/a", {"If_Modified_Since": DATE}, None),
    ]:
        assert site.ask(target, **fields).head.get_all("X-Extra") == found


def test_cors(serve: Serve) -> None:
    site = serve(cors_origins=("https://app.example",))
    site.put("a")
    for target in ("/a", "/nothing"):
        head = site.ask(target, Origin="https://app.example").head
        assert head["Access-Control-Allow-Origin"] == "https://app.example"
        assert "Origin" in head.get_all("Vary")
    assert site.ask("/a", Origin="https://other.example").head["Access-Control-Allow-Origin"] is None
    status, head, _ = site.ask("/a", "OPTIONS", Origin="https://app.example", Access_Control_Request_Headers="range")
    assert (status, head["Access-Control-Allow-Methods"]) == (204, "GET, HEAD, OPTIONS")
    assert head["Access-Control-Allow-Headers"] == "range"


def test_methods_that_are_not_served(site: Site) -> None:
    assert [site.ask("/", method).status for method in ("PUT", "POST", "OPTIONS", "DELETE")] == [501] * 4


# Overriding


def test_every_method_can_be_overridden(serve: Serve, tmp_path: Path) -> None:
    calls: list[str] = []

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            calls.append("do_GET")
            super().do_GET()

        def send_head(self) -> Any:
            calls.append("send_head")
            return super().send_head()

        def translate_path(self, path: str) -> str:
            calls.append("translate_path")
            return str(tmp_path / "elsewhere") if path == "/elsewhere" else super().translate_path(path)

        def guess_type(self, path: Any) -> str:
            calls.append("guess_type")
            return "x/" + super().guess_type(path).partition("/")[2]

        def list_directory(self, path: str) -> Any:
            calls.append("list_directory")
            return super().list_directory(path)

        def end_headers(self) -> None:
            calls.append("end_headers")
            self.send_header("X-Mine", "1")
            super().end_headers()

        def copyfile(self, source: Any, outputfile: Any) -> None:
            calls.append("copyfile")
            super().copyfile(source, outputfile)

    site = serve(Handler)
    site.put("a.bin", CONTENT)
    site.put("../elsewhere", b"elsewhere")
    answer = site.ask("/a.bin")
    assert (answer.body, answer.head["Content-Type"], answer.head["X-Mine"]) == (CONTENT, "x/octet-stream", "1")
    order = ["do_GET", "send_head", "translate_path"]
    assert calls == [*order, "guess_type", "end_headers", "copyfile"]
    calls.clear()
    assert site.ask("/").status == 200
    assert calls == [*order, "list_directory", "end_headers", "copyfile"]
    assert site.ask("/elsewhere").body == b"elsewhere"


@pytest.mark.parametrize("fields", [{}, {"Range": "bytes=10-20000"}, {"Range": "bytes=0-9,20000-90000"}])
def test_copyfile_that_reads_by_itself(serve: Serve, fields: dict[str, str]) -> None:
    """A program may replace the copying: what it is given reads like the body, parts included."""

    class Copies(QuietHandler):
        def copyfile(self, source: Any, outputfile: Any) -> None:
            while data := source.read(1000):
                outputfile.write(data)

    site, plain = serve(Copies), serve()
    site.put("a.bin", CONTENT)
    mine, theirs = (each.ask("/a.bin", **fields) for each in (site, plain))
    assert mine.status == theirs.status
    assert without_boundary(mine) == without_boundary(theirs)


def without_boundary(answer: Answer) -> bytes:
    boundary = re.search("boundary=(.*)", answer.head["Content-Type"])
    return answer.body.replace(boundary[1].encode(), b"") if boundary else answer.body


def test_send_head_of_a_program(serve: Serve) -> None:
    class Handler(QuietHandler):
        def send_head(self) -> Any:
            body = b"made up"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            return io.BytesIO(body)

    assert serve(Handler).ask("/whatever").body == b"made up"


def test_body_that_a_program_changes(serve: Serve) -> None:
    """What `send_head` returns is a file: it can be read, and something else be sent."""

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.0"

        def do_GET(self) -> None:
            with self.send_head() as file:
                self.wfile.write(file.read(3)[::-1])

    site = serve(Handler)
    site.put("a", b"abc")
    assert site.ask("/a").body == b"cba"


def test_wfile_of_a_program(serve: Serve) -> None:
    """What counts or changes the bytes that are written gets all of them."""
    seen: list[int] = []

    class Counting(io.BufferedIOBase):
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            seen.append(len(data))
            return int(self.inner.write(data))

        def flush(self) -> None:
            self.inner.flush()

    class Handler(QuietHandler):
        def setup(self) -> None:
            super().setup()
            self.wfile: Any = Counting(self.wfile)

    site = serve(Handler)
    site.put("a.bin", CONTENT)
    assert site.ask("/a.bin").body == CONTENT
    assert sum(seen) >= len(CONTENT)


def test_options_of_the_class(serve: Serve) -> None:
    class Handler(QuietHandler):
        file_options = FileOptions(listings=False)

        def __init__(self, *args: Any, file_options: FileOptions, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)

    assert serve(Handler).ask("/").status == 404


def test_current_directory_by_default(serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Handler(QuietHandler):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "directory": None})

    (tmp_path / "here").write_bytes(b"here")
    monkeypatch.chdir(tmp_path)
    assert serve(Handler).ask("/here").body == b"here"
