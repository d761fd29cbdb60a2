"""Python's HTTP clients: all that a program asks, one request after the other on one connection, and many at once."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from portside.http.files.encodings import CODINGS, GZIP, packable
from tests.http.clients.conftest import CONTENT, PIECES, SMALL, TEXT, Site
from tests.http.clients.libraries import LIBRARIES, Aiohttp, Httpx, Library

BEST = (packable(CODINGS) or GZIP).name


@pytest.fixture(params=LIBRARIES)
def client(request: pytest.FixtureRequest, site: Site) -> Iterator[Library]:
    with closing(LIBRARIES[request.param](site)) as client:
        yield client


def test_conversation_stays_in_step_on_one_connection(client: Library, site: Site) -> None:
    for number in range(3):
        first = client.ask("GET", "/small.txt")
        assert (first.status, first.body) == (200, SMALL)
        head = client.ask("HEAD", "/content.bin")
        assert (head.status, head.headers["Content-Length"], head.body) == (200, str(len(CONTENT)), b"")
        assert client.ask("GET", "/text.txt", accept_encoding="gzip").body == TEXT
        assert client.ask("GET", "/small.txt", if_none_match=first.headers["ETag"]).status == 304
        assert client.ask("GET", "/pieces").body == b"".join(PIECES)
        assert client.ask("POST", "/echo", b"question").body == b"question"
        assert client.ask("POST", "/echo", b"").body == b""
        assert client.ask("POST", "/echo", PIECES).body == b"".join(PIECES)
        assert client.ask("PUT", f"/new-{number}", b"new").status == 201
    assert site.seen["opened"] == 1


def test_packed_text(client: Library) -> None:
    """In the best coding that the client asks for by itself; httpx takes zstd only with one more library."""
    reply = client.ask("GET", "/text.txt")
    assert reply.body == TEXT
    assert reply.headers["Content-Encoding"] in ({"gzip", BEST} if isinstance(client, Httpx) else {BEST})


def test_parts(client: Library) -> None:
    part = client.ask("GET", "/content.bin", range="bytes=1000-1999")
    assert (part.status, part.body) == (206, CONTENT[1000:2000])
    several = client.ask("GET", "/content.bin", range="bytes=0-9,2000000-2000099")
    assert several.headers["Content-Type"].startswith("multipart/byteranges; boundary=")
    assert CONTENT[2_000_000:2_000_100] in several.body
    beyond = client.ask("GET", "/small.txt", range="bytes=5000-")
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{len(SMALL)}")


def test_long_bodies_both_ways(client: Library, site: Site) -> None:
    assert client.ask("GET", "/content.bin").body == CONTENT
    assert client.ask("POST", "/echo", CONTENT).body == CONTENT
    assert client.ask("POST", "/echo", [CONTENT[:70_000], CONTENT[70_000:]]).body == CONTENT
    assert client.ask("PUT", "/copy", CONTENT).status == 201
    assert (site.folder / "copy").read_bytes() == CONTENT


def test_refusals(client: Library) -> None:
    assert client.ask("GET", "/nowhere").status == 404
    assert client.ask("PUT", "/small.txt", b"another").status == 409
    assert client.ask("DELETE", "/small.txt").status == 501
    assert client.ask("GET", "/small.txt", x_long="x" * 20_000).status == 431
    assert client.ask("GET", "/" + "x" * 9_000).status == 414
    assert client.ask("GET", "/small.txt").body == SMALL


def test_many_at_once(site: Site) -> None:
    for number in range(200):
        site.put(f"{number}.txt", b"%d" % number)
    with closing(Aiohttp(site)) as client:
        replies = client.ask_all(f"/{number}.txt" for number in range(200))
    assert [int(reply.body) for reply in replies] == list(range(200))


def test_client_that_waits_for_100(site: Site) -> None:
    with closing(Aiohttp(site)) as client:
        assert client.ask("POST", "/echo", CONTENT, expect="100-continue").body == CONTENT
        assert client.ask("PUT", "/small.txt", CONTENT, expect="100-continue").status == 409
        assert client.ask("GET", "/small.txt").body == SMALL
