"""The file handler and clients that people use: curl and wget, over plain connections and over TLS."""

import gzip
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from portside.http.files.options import FileOptions
from portside.http.servers import ThreadingHTTPSServer
from tests.conftest import DEADLINE
from tests.http.files.conftest import QuietHandler, Serve, Site

pytestmark = [pytest.mark.usefixtures("no_leaks"), pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")]

CONTENT = os.urandom(3_000_000)
TEXT = b"text " * 10_000


@pytest.fixture
def site(serve: Serve) -> Site:
    site = serve(uploads=True)
    site.put("a.bin", CONTENT)
    site.put("a.txt", TEXT)
    return site


def run(*command: str | Path, cwd: Path | None = None, data: bytes | None = None, code: int = 0) -> bytes:
    """Run a client to its end; returns its output."""
    done = subprocess.run(command, cwd=cwd, input=data, capture_output=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr.decode()
    return done.stdout


def curl(site: Site, target: str, *options: str | Path, data: bytes | None = None, code: int = 0) -> bytes:
    base = f"http://127.0.0.1:{site.port}"
    return run("curl", "-sS", "--max-time", "50", *options, base + target, data=data, code=code)


STATUS = ("-o", os.devnull, "-w", "%{http_code}")


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
def test_whole_file(site: Site, version: str) -> None:
    assert curl(site, "/a.bin", version) == CONTENT


def test_ranges(site: Site) -> None:
    assert curl(site, "/a.bin", "-r", "100-199") == CONTENT[100:200]
    assert curl(site, "/a.bin", "-r", "-1000") == CONTENT[-1000:]
    assert curl(site, "/a.bin", "-r", "0-9,2000000-2999999").count(b"Content-Range: bytes ") == 2


@pytest.mark.parametrize("have", [0, 1, 1_000_000, 2_999_999, 3_000_000])
def test_resumed_download(site: Site, tmp_path: Path, have: int) -> None:
    part = tmp_path / "part"
    part.write_bytes(CONTENT[:have])
    curl(site, "/a.bin", "-C", "-", "-o", part)
    assert part.read_bytes() == CONTENT


@pytest.mark.skipif(not shutil.which("wget"), reason="needs wget")
def test_resumed_download_of_wget(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(CONTENT[:1_234_567])
    run("wget", "-q", "-c", "-T", "50", f"http://127.0.0.1:{site.port}/a.bin", cwd=tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_only_if_it_changed(site: Site, tmp_path: Path) -> None:
    etags = tmp_path / "etags"
    assert curl(site, "/a.txt", "--etag-save", etags) == TEXT
    assert curl(site, "/a.txt", "--etag-compare", etags, *STATUS) == b"304"
    assert curl(site, "/a.txt", "-z", "20200101", *STATUS) == b"304"
    assert curl(site, "/a.txt", "-z", "19900101") == TEXT


def test_compressed(site: Site) -> None:
    assert curl(site, "/a.txt", "--compressed") == TEXT
    assert gzip.decompress(curl(site, "/a.txt", "-H", "Accept-Encoding: gzip")) == TEXT
    assert int(curl(site, "/a.txt", "--compressed", "-o", os.devnull, "-w", "%{size_download}")) < len(TEXT) / 10


def test_head(site: Site) -> None:
    head = curl(site, "/a.bin", "-I")
    assert b"Content-Length: 3000000\r\n" in head
    assert b"Accept-Ranges: bytes\r\n" in head


@pytest.mark.parametrize("options", [(), ("-H", "Expect: 100-continue"), ("-H", "Transfer-Encoding: chunked")])
def test_upload(site: Site, tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "new.bin").write_bytes(CONTENT)
    assert curl(site, "/", "-T", tmp_path / "new.bin", *STATUS, *options) == b"201"
    assert (site.folder / "new.bin").read_bytes() == CONTENT


def test_upload_of_standard_input(site: Site) -> None:
    assert curl(site, "/piped", "-T", "-", *STATUS, data=CONTENT) == b"201"
    assert (site.folder / "piped").read_bytes() == CONTENT


def test_upload_by_form(site: Site, tmp_path: Path) -> None:
    for name in ("one", "grüße"):
        (tmp_path / name).write_bytes(CONTENT)
    files = [word for name in ("one", "grüße") for word in ("-F", f"file=@{tmp_path / name}")]
    assert curl(site, "/", *files, *STATUS) == b"303"
    assert (site.folder / "one").read_bytes() == (site.folder / "grüße").read_bytes() == CONTENT


def test_large_file_goes_both_ways(site: Site, tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(90_000_000)
    assert curl(site, "/", "-T", large, *STATUS) == b"201"
    assert curl(site, "/large", "-o", os.devnull, "-w", "%{size_download}") == b"90000000"


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path, "-out", path)
    name = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2")
    run("openssl", "req", "-x509", *key, *name)
    return path


@pytest.fixture
def secure(tmp_path: Path, certificate: Path) -> Iterator[int]:
    (tmp_path / "a.bin").write_bytes(CONTENT)
    handler_args = {"directory": tmp_path, "file_options": FileOptions(uploads=True)}
    with ThreadingHTTPSServer(
        ("127.0.0.1", 0), QuietHandler, certfile=certificate, handler_args=handler_args
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown(drain=DEADLINE)
        thread.join()


def test_over_tls(secure: int, certificate: Path, tmp_path: Path) -> None:
    base: list[str | Path] = ["curl", "-sS", "--max-time", "50", "--cacert", certificate]
    url = f"https://127.0.0.1:{secure}/"
    assert run(*base, f"{url}a.bin", f"{url}a.bin") == CONTENT * 2
    assert run(*base, "-r", "0-9", f"{url}a.bin") == CONTENT[:10]
    assert run(*base, "-T", tmp_path / "a.bin", *STATUS, f"{url}b.bin") == b"201"
    assert (tmp_path / "b.bin").read_bytes() == CONTENT
