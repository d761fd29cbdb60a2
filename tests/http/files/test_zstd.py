"""Text in zstd while it is sent: to whom, which bytes, under which tag, and what happens where no module makes it."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.http.files.encodings import CODINGS, GZIP, PACKED_FROM, ZSTD, packable, packed
from tests.conftest import DEADLINE
from tests.http.files.conftest import Serve, Site, ask, connected

zstd = pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

pytestmark = pytest.mark.usefixtures("no_leaks")

TEXT = b"text that packs well, " * 500
WINDOW_LOG = 23  # 8 MiB, what RFC 9659 asks of every client


# To whom


@pytest.mark.parametrize(
    ("accepts", "coding"),
    [
        ("zstd", "zstd"),
        ("ZSTD", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, zstd", "zstd"),
        ("gzip;q=0.5, zstd;q=0.5", "zstd"),
        ("gzip;q=0.5, zstd;q=0.9", "zstd"),
        ("gzip;q=0.9, zstd;q=0.5", "gzip"),
        ("gzip, zstd;q=0.999", "gzip"),
        ("br, zstd;q=0.1", "zstd"),
        ("*", "zstd"),
        ("*;q=0.5, gzip", "gzip"),
        ("zstd;q=0, *", "gzip"),
        ("gzip;q=0, zstd", "zstd"),
        ("zstd;q=0", None),
        ("zstd;q=2", None),
        ("zstd;q=0.5, identity", None),
        ("br", None),
        ("identity", None),
        ("", None),
    ],
)
def test_negotiated(site: Site, accepts: str, coding: str | None) -> None:
    site.put("a.txt", TEXT)
    answer = site.ask("/a.txt", Accept_Encoding=accepts)
    assert (answer.status, answer.head["Content-Encoding"], answer.head["Vary"]) == (200, coding, "Accept-Encoding")
    decode = {"zstd": zstd.decompress, "gzip": gzip.decompress, None: bytes}[coding]
    assert decode(answer.body) == TEXT


@pytest.mark.parametrize("accepts", ["zstd, gzip", "zstd, gzip;q=0.1"])
def test_neighbours_come_first(site: Site, accepts: str) -> None:
    site.put("a.txt", TEXT)
    site.put("a.txt.gz", b"packed beforehand")
    assert site.ask("/a.txt", Accept_Encoding=accepts).body == b"packed beforehand"
    assert zstd.decompress(site.ask("/a.txt", Accept_Encoding="zstd").body) == TEXT
    site.put("a.txt.zst", b"and better")
    assert site.ask("/a.txt", Accept_Encoding="zstd").body == b"and better"


def test_the_limit_is_for_both(serve: Serve) -> None:
    site = serve(gzip_limit=PACKED_FROM)
    site.put("in.txt", b"x" * PACKED_FROM)
    site.put("beyond.txt", b"x" * (PACKED_FROM + 1))
    for coding in ("zstd", "gzip"):
        assert site.ask("/in.txt", Accept_Encoding=coding).head["Content-Encoding"] == coding
        assert site.ask("/beyond.txt", Accept_Encoding=coding).head["Content-Encoding"] is None


def test_parts_are_sent_as_they_are(site: Site) -> None:
    site.put("a.txt", TEXT)
    whole = site.ask("/a.txt", Accept_Encoding="zstd")
    assert whole.head["Accept-Ranges"] is None
    part = site.ask("/a.txt", Accept_Encoding="zstd", Range="bytes=5-8")
    assert (part.status, part.head["Content-Encoding"], part.body) == (206, None, b"that")
    resumed = site.ask("/a.txt", Accept_Encoding="zstd", Range="bytes=5-8", If_Range=whole.head["ETag"])
    assert (resumed.status, resumed.head["Content-Encoding"], resumed.body) == (200, None, TEXT)


# Under which tag


def test_codings_have_tags_of_their_own(site: Site) -> None:
    site.put("a.txt", TEXT)
    tags: dict[str, str] = {}
    with connected(site.port) as client:
        for accepts in ("", "", "zstd", "gzip", "zstd", "", "gzip"):  # the first of them is known when it comes again
            answer = ask(client, "/a.txt", Accept_Encoding=accepts)
            assert tags.setdefault(accepts, answer.head["ETag"]) == answer.head["ETag"]
            assert (answer.head["Content-Encoding"] or "") == accepts
    assert len(set(tags.values())) == 3


def test_conditions_are_about_the_coding_that_would_be_sent(site: Site) -> None:
    site.put("a.txt", TEXT)
    tag = site.ask("/a.txt", Accept_Encoding="zstd").head["ETag"]
    same = site.ask("/a.txt", Accept_Encoding="gzip, zstd", If_None_Match=tag)
    assert (same.status, same.head["ETag"], same.head["Vary"], same.body) == (304, tag, "Accept-Encoding", b"")
    assert site.ask("/a.txt", Accept_Encoding="gzip", If_None_Match=tag).status == 200
    assert site.ask("/a.txt", If_None_Match=tag).status == 200


def test_head_is_that_of_get(site: Site) -> None:
    site.put("a.txt", TEXT)
    get, head = (site.ask("/a.txt", method, Accept_Encoding="zstd") for method in ("GET", "HEAD"))
    del get.head["Date"], head.head["Date"]
    assert get.head.items() == head.head.items()
    assert (head.head["Content-Encoding"], head.head["Content-Length"]) == ("zstd", str(len(get.body)))
    assert (head.status, head.body) == (200, b"")


# Which bytes


@given(st.binary(max_size=2000))
def test_the_same_each_time(content: bytes) -> None:
    first = packed(content, ZSTD)
    assert packed(content, ZSTD) == first
    assert zstd.decompress(first) == content


def test_window_is_what_every_client_takes() -> None:
    """Also where the content is longer than any window may be, as `gzip_limit` may be raised."""
    content = b"".join(b"%d " % number for number in range(1_200_000))
    assert len(content) > 2**WINDOW_LOG
    options = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG}
    assert zstd.decompress(packed(content, ZSTD), options=options) == content


def test_is_here() -> None:
    assert packable(CODINGS) is ZSTD
    assert packable([GZIP, ZSTD]) is GZIP
    assert packable(CODINGS[:1]) is None


# Without the module

WITHOUT = """
import sys
from http.client import HTTPConnection

sys.modules["compression.zstd"] = sys.modules["backports.zstd"] = None
import portside
from portside.http.server import SimpleHTTPRequestHandler

with portside.start(SimpleHTTPRequestHandler, 0, handler_args={"directory": sys.argv[1]}) as running:
    for accepts in ("zstd, gzip", "zstd;q=1.0, gzip;q=0.1", "zstd"):
        client = HTTPConnection("127.0.0.1", running.endpoint.port, timeout=30)
        client.request("GET", "/a.txt", headers={"Accept-Encoding": accepts})
        answer = client.getresponse()
        print(answer.headers["Content-Encoding"], len(answer.read()))
        client.close()
"""


def test_without_the_module_text_is_gzipped(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(TEXT)
    line = [sys.executable, "-c", WITHOUT, str(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=DEADLINE * 3, check=True)
    told = f"gzip {len(packed(TEXT, GZIP))}"
    assert done.stdout.splitlines() == [told, told, f"None {len(TEXT)}"]
