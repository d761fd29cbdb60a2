"""Uploads on the wire: stored whole or not at all, within the limit, in the folder, and from nobody's page."""

import os
import socket
from pathlib import Path

import pytest

from portside.http.files.folders import PARTIAL
from tests.conftest import Connect, wait_until
from tests.http.files.conftest import Answer, Serve, Site, ask, connected

pytestmark = pytest.mark.usefixtures("no_leaks")

EDGE = "edge"
FORM = f"multipart/form-data; boundary={EDGE}"


@pytest.fixture
def site(serve: Serve) -> Site:
    return serve(uploads=True, upload_limit=100_000)


def form(*files: tuple[str, bytes]) -> bytes:
    head = f'--{EDGE}\r\nContent-Disposition: form-data; name="file"; filename="'
    parts = [f'{head}{name}"\r\n\r\n'.encode() + content + b"\r\n" for name, content in files]
    return b"".join(parts) + f"--{EDGE}--\r\n".encode()


def post(site: Site, target: str, body: bytes, **fields: str) -> Answer:
    return site.ask(target, "POST", body, **{"Content_Type": FORM, **fields})


def stored(site: Site) -> dict[str, bytes]:
    """Everything in the folder, unfinished uploads too."""
    return {str(path.relative_to(site.folder)): path.read_bytes() for path in site.folder.rglob("*") if path.is_file()}


# PUT


@pytest.mark.parametrize("size", [0, 1, 65_536, 100_000])
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_file(site: Site, size: int, method: str) -> None:
    content = os.urandom(size)
    status, head, body = site.ask("/a%20b.bin?x", method, content)
    assert (status, head["Location"], body) == (201, "/a%20b.bin", b"")
    assert stored(site) == {"a b.bin": content}
    assert site.ask("/a%20b.bin").body == content
    assert site.ask("/a%20b.bin").head["ETag"].removeprefix("W/") == head["ETag"].removeprefix("W/")


def test_chunked(site: Site) -> None:
    with connected(site.port) as client:
        client.request("PUT", "/a", iter([b"one ", b"two"]), encode_chunked=True)
        response = client.getresponse()
        response.read()
        assert response.status == 201
    assert stored(site) == {"a": b"one two"}


def test_file_that_is_there(site: Site, serve: Serve) -> None:
    site.put("a", b"first")
    assert site.ask("/a", "PUT", b"second").status == 409
    assert stored(site) == {"a": b"first"}
    overwriting = serve(uploads=True, overwrite=True)
    assert overwriting.ask("/a", "PUT", b"second").status == 204
    assert stored(site) == {"a": b"second"}


def test_conditions(serve: Serve) -> None:
    site = serve(uploads=True, overwrite=True)
    site.put("a", b"first")
    etag = site.ask("/a").head["ETag"]
    assert site.ask("/a", "PUT", b"x", If_None_Match="*").status == 412
    assert site.ask("/a", "PUT", b"x", If_Match='"other"').status == 412
    assert site.ask("/new", "PUT", b"x", If_Match="*").status == 412
    assert stored(site) == {"a": b"first"}
    assert site.ask("/a", "PUT", b"second", If_Match=etag).status == 204
    assert site.ask("/b", "PUT", b"third", If_None_Match="*").status == 201
    assert stored(site) == {"a": b"second", "b": b"third"}


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/", 409),
        ("/folder/", 409),
        ("/folder", 409),
        ("/missing/a", 409),
        ("/out/a", 409),
        ("/file/a", 409),
        ("/a%0a", 400),
        ("/a%00", 400),
        ("/" + "x" * 300, 400),
        (f"/{PARTIAL}x", 403),
    ],
)
def test_place_that_is_refused(site: Site, target: str, status: int) -> None:
    (site.folder / "folder").mkdir()
    site.put("file", b"x")
    outside = site.folder.parent / "outside"
    outside.mkdir()
    (site.folder / "out").symlink_to(outside)
    assert site.ask(target, "PUT", b"x").status == status
    assert stored(site) == {"file": b"x"}
    assert os.listdir(outside) == []


def test_names_that_are_hidden_cannot_be_sent(serve: Serve) -> None:
    site = serve(uploads=True, hide_dot_files=True)
    assert site.ask("/.htaccess", "PUT", b"x").status == 403
    assert site.ask("/.git/x", "PUT", b"x").status == 403
    assert stored(site) == {}


def test_part_of_a_file_is_refused(site: Site) -> None:
    assert site.ask("/a", "PUT", b"x", Content_Range="bytes 0-0/10").status == 400
    assert stored(site) == {}


def test_too_large_is_refused_before_it_is_read(site: Site, connect: Connect) -> None:
    with connect(("127.0.0.1", site.port)) as client:
        client.sendall(b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\nExpect: 100-continue\r\n\r\n")
        assert client.makefile("rb").readline().startswith(b"HTTP/1.1 413 ")
    assert stored(site) == {}


def test_too_large_is_refused_while_it_is_read(site: Site) -> None:
    with connected(site.port) as client:
        client.request("PUT", "/a", iter([b"x" * 50_000] * 3), encode_chunked=True)
        assert client.getresponse().status == 413
    assert wait_until(lambda: stored(site) == {})


def test_nothing_stays_of_a_client_that_left(site: Site, connect: Connect) -> None:
    with connect(("127.0.0.1", site.port)) as client:
        client.sendall(b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        assert wait_until(lambda: len(stored(site)) == 1)
        assert site.ask("/a").status == 404
        assert [site.ask(f"/{name}").status for name in stored(site)] == [404]
        assert PARTIAL.encode() not in site.ask("/").body
        client.shutdown(socket.SHUT_WR)
        assert wait_until(lambda: stored(site) == {})


def test_connection_can_be_used_again(site: Site) -> None:
    with connected(site.port) as client:
        for number in range(3):
            assert ask(client, f"/{number}", "PUT", b"x" * 1000).status == 201
            assert ask(client, f"/{number}", "PUT", b"x" * 1000).status == 409
            assert ask(client, f"/{number}").body == b"x" * 1000


# Forms


def test_form(site: Site) -> None:
    (site.folder / "folder").mkdir()
    sent = [("a.txt", b"one"), ("grüße.bin", os.urandom(50_000)), ("empty", b"")]
    status, head, _ = post(site, "/folder/?x", form(*sent))
    assert (status, head["Location"]) == (303, "/folder/?x")
    assert stored(site) == {f"folder/{name}": content for name, content in sent}


def test_form_is_in_the_listing(site: Site) -> None:
    assert b'<form method="post" enctype="multipart/form-data">' in site.ask("/").body


def test_form_is_stored_when_it_is_whole(site: Site) -> None:
    whole = form(("a", b"one"), ("b", b"two"))
    for cut in (len(whole) - 4, len(whole) // 2, 10, 0):
        assert post(site, "/", whole[:cut]).status == 400
        assert stored(site) == {}


@pytest.mark.parametrize(
    ("target", "name", "status"),
    [
        ("/", "taken", 409),
        ("/", ".hidden", 400),
        ("/", "..", 400),
        ("/", "a\x1b", 400),
        ("/", PARTIAL, 400),
        ("/", "x" * 300, 400),
        ("/missing/", "a", 409),
        ("/taken/", "a", 409),
    ],
)
def test_form_that_is_refused(site: Site, target: str, name: str, status: int) -> None:
    site.put("taken", b"x")
    assert post(site, target, form(("first", b"1"), (name, b"2"))).status == status
    assert stored(site) == {"taken": b"x"}


def test_folders_before_a_name_are_dropped(site: Site) -> None:
    assert post(site, "/", form(("../../a", b"1"), ("C:\\folder\\b", b"2"))).status == 303
    assert stored(site) == {"a": b"1", "b": b"2"}


def test_form_that_is_too_large(site: Site) -> None:
    assert post(site, "/", form(("a", b"x" * 100_000))).status == 413
    assert stored(site) == {}


def test_form_without_boundary(site: Site) -> None:
    assert post(site, "/", b"x", Content_Type="multipart/form-data").status == 400


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://127.0.0.1:{}", 303), ("https://app.example", 303), ("https://other.example", 403), ("null", 403)],
)
def test_form_of_another_page(serve: Serve, origin: str, status: int) -> None:
    site = serve(uploads=True, cors_origins=("https://app.example",))
    answer = post(site, "/", form(("a", b"x")), Origin=origin.format(site.port))
    assert answer.status == status
    assert stored(site) == ({"a": b"x"} if status == 303 else {})


def test_methods_in_the_answer_to_a_page(serve: Serve) -> None:
    site = serve(uploads=True, cors_origins=("*",))
    head = site.ask("/", "OPTIONS", Origin="https://app.example").head
    assert head["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS, POST, PUT"


def test_disk_that_is_full(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with connected(site.port) as client:
        assert ask(client, "/").status == 200
        monkeypatch.setattr("portside.http.files.storing.os.write", write)
        assert ask(client, "/a", "PUT", b"x").status == 507
    assert stored(site) == {}


def test_folder_that_may_not_be_written(site: Site, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    site.folder.chmod(0o500)
    assert site.ask("/a", "PUT", b"x").status == 403
    site.folder.chmod(0o700)
