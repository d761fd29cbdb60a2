"""curl: versions, parts, resumed downloads, conditions, codings, uploads of every kind, many at once."""

import gzip
import os
import subprocess
from pathlib import Path

import pytest

from portside.http.files.encodings import ZSTD, packable
from tests.http.clients.conftest import CONTENT, PIECES, SMALL, TEXT, Site, needs

pytestmark = needs("curl")

STATUS = ("-o", os.devnull, "-w", "%{http_code}")


def curl(site: Site, target: str, *options: str | Path, data: bytes | None = None) -> bytes:
    """Run curl to its end; returns its output."""
    words = ["curl", "-sS", "--max-time", "50", "--noproxy", "*"]
    words += ["--cacert", site.authority] if site.authority else []
    done = subprocess.run(
        [*words, *options, site.url + target], input=data, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
@pytest.mark.parametrize(("target", "body"), [("/content.bin", CONTENT), ("/pieces", b"".join(PIECES))])
def test_whole_answer(site: Site, version: str, target: str, body: bytes) -> None:
    assert curl(site, target, version) == body


def test_ranges(site: Site) -> None:
    assert curl(site, "/content.bin", "-r", "100-199") == CONTENT[100:200]
    assert curl(site, "/content.bin", "-r", "-1000") == CONTENT[-1000:]
    assert curl(site, "/content.bin", "-r", "0-9,2000000-2999999").count(b"Content-Range: bytes ") == 2


@pytest.mark.parametrize("have", [0, 1, 1_000_000, len(CONTENT) - 1, len(CONTENT)])
def test_resumed_download(site: Site, tmp_path: Path, have: int) -> None:
    part = tmp_path / "part"
    part.write_bytes(CONTENT[:have])
    curl(site, "/content.bin", "-C", "-", "-o", part)
    assert part.read_bytes() == CONTENT


def test_only_if_it_changed(site: Site, tmp_path: Path) -> None:
    etags = tmp_path / "etags"
    assert curl(site, "/text.txt", "--etag-save", etags) == TEXT
    assert curl(site, "/text.txt", "--etag-compare", etags, *STATUS) == b"304"
    assert curl(site, "/text.txt", "-z", "20200101", *STATUS) == b"304"
    assert curl(site, "/text.txt", "-z", "19900101") == TEXT


def test_compressed(site: Site) -> None:
    assert curl(site, "/text.txt", "--compressed") == TEXT
    assert gzip.decompress(curl(site, "/text.txt", "-H", "Accept-Encoding: gzip")) == TEXT
    size = curl(site, "/text.txt", "--compressed", "-o", os.devnull, "-w", "%{size_download}")
    assert int(size) < len(TEXT) / 10


@pytest.mark.skipif(packable([ZSTD]) is None, reason="this Python has no zstd")
def test_compressed_in_zstd(site: Site) -> None:
    about = subprocess.run(["curl", "--version"], capture_output=True, timeout=60, check=True)
    if b"zstd" not in about.stdout:
        pytest.skip("this curl has no zstd")
    head = curl(site, "/text.txt", "--compressed", "-I")
    assert b"Content-Encoding: zstd\r\n" in head
    assert curl(site, "/text.txt", "--compressed", "-H", "Accept-Encoding: zstd") == TEXT


def test_head(site: Site) -> None:
    head = curl(site, "/content.bin", "-I")
    assert b"Content-Length: 3000000\r\n" in head
    assert b"Accept-Ranges: bytes\r\n" in head


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
@pytest.mark.parametrize("size", [0, 10, len(CONTENT)])
def test_post(site: Site, version: str, size: int) -> None:
    assert curl(site, "/echo", version, "--data-binary", "@-", data=CONTENT[:size]) == CONTENT[:size]


@pytest.mark.parametrize("options", [(), ("-H", "Expect: 100-continue"), ("-H", "Transfer-Encoding: chunked")])
def test_upload(site: Site, tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "new.bin").write_bytes(CONTENT)
    assert curl(site, "/", "-T", tmp_path / "new.bin", *STATUS, *options) == b"201"
    assert (site.folder / "new.bin").read_bytes() == CONTENT


def test_upload_of_standard_input(site: Site) -> None:
    assert curl(site, "/piped", "-T", "-", *STATUS, data=CONTENT) == b"201"
    assert (site.folder / "piped").read_bytes() == CONTENT


@pytest.mark.parametrize("size", [1, len(CONTENT)])
def test_client_that_waits_is_told_to_go_on(site: Site, tmp_path: Path, size: int) -> None:
    (tmp_path / "new.bin").write_bytes(CONTENT[:size])
    waits = ("-H", "Expect: 100-continue", "--expect100-timeout", "1000")  # longer than any test may last
    head = curl(site, "/", "-T", tmp_path / "new.bin", "-i", *waits)
    assert head.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\n")
    assert (site.folder / "new.bin").read_bytes() == CONTENT[:size]


def test_client_that_waits_is_refused_before_it_sends(site: Site, tmp_path: Path) -> None:
    (tmp_path / "small.txt").write_bytes(CONTENT)
    waits = ("-H", "Expect: 100-continue", "--expect100-timeout", "1000")
    told = ("-o", os.devnull, "-w", "%{http_code} %{size_upload}")
    assert curl(site, "/", "-T", tmp_path / "small.txt", *told, *waits) == b"409 0"


def test_refusal_reaches_a_client_in_the_middle_of_its_upload(site: Site, tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(50_000_000)
    for options in (("-H", "Expect:"), ("-H", "Expect:", "-H", "Transfer-Encoding: chunked")):
        assert curl(site, "/", "-T", tmp_path / "large", *STATUS, *options) == b"413"
    assert not (site.folder / "large").exists()


def test_upload_by_form(site: Site, tmp_path: Path) -> None:
    for name in ("one", "grüße"):
        (tmp_path / name).write_bytes(CONTENT[:1_000_000])
    files = [word for name in ("one", "grüße") for word in ("-F", f"file=@{tmp_path / name}")]
    assert curl(site, "/", *files, *STATUS) == b"303"
    assert (site.folder / "one").read_bytes() == (site.folder / "grüße").read_bytes() == CONTENT[:1_000_000]


def test_one_connection_for_many_requests(site: Site) -> None:
    assert curl(site, "/small.txt", *[f"{site.url}/small.txt"] * 99) == SMALL * 100
    assert site.seen["opened"] == 1


def test_many_connections_at_once(site: Site, tmp_path: Path) -> None:
    for number in range(100):
        site.put(f"{number}.txt", b"%d" % number)
    curl(site, "/[0-99].txt", "--parallel", "--parallel-immediate", "--parallel-max", "50", "-o", tmp_path / "#1")
    assert [int((tmp_path / str(number)).read_bytes()) for number in range(100)] == list(range(100))


def test_large_file(site: Site) -> None:
    with (site.folder / "large").open("wb") as file:
        file.truncate(90_000_000)
    assert curl(site, "/large", "-o", os.devnull, "-w", "%{size_download}") == b"90000000"
