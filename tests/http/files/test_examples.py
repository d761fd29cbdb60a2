"""The examples that serve files, run as their readers run them, with curl for a client."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.test_examples import FOLDER, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("no_leaks"),
    pytest.mark.skipif(not shutil.which("curl"), reason="needs curl"),
]


def curl(where: str, target: str, *options: str | Path) -> str:
    command = ["curl", "-sS", "--max-time", "50", *options, f"http://127.0.0.1:{where}{target}"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True, text=True)
    return done.stdout


@pytest.fixture(params=["ours", "the standard library's"])
def form_server(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The example, and the example with its import changed back."""
    text = (FOLDER / "http_form.py").read_text(encoding="utf-8")
    program = tmp_path / "http_form.py"
    program.write_text(
        text if request.param == "ours" else text.replace("portside.http.server", "http.server"), encoding="utf-8"
    )
    return program


def test_form(form_server: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "folder").mkdir(parents=True)
    (site / "a.txt").write_text("a file")
    with serving("http_form.py", tmp_path, "0", str(site), command=form_server) as server:
        assert "<form" in curl(server.where, "/")
        assert curl(server.where, "/a.txt") == "a file"
        assert curl(server.where, "/a.txt", "-I").startswith("HTTP/1.0 200 OK")
        page = curl(server.where, "/", "-d", "name=Zo%C3%AB+%26+Max&text=%3Cb%3E&text=2&empty=")
        assert "<li>name: Zoë &amp; Max</li><li>text: &lt;b&gt;, 2</li><li>empty: </li>" in page
        (site / "index.html").write_text("the index")
        assert curl(server.where, "/") == "the index"
        assert curl(server.where, "/", "-d", "x" * 100_000, "-o", "/dev/null", "-w", "%{http_code}") == "413"


def test_upload(tmp_path: Path) -> None:
    size = 64 * 1024**2
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(size)
    with serving("http_upload.py", tmp_path) as server:
        status = ("-o", "/dev/null", "-w", "%{http_code}")
        assert curl(server.where, "/", "-T", large, *status) == "201"
        assert curl(server.where, "/", "-T", large, *status) == "409"
        assert curl(server.where, "/", "-F", f"file=@{FOLDER / 'http_form.py'}", *status) == "303"
        assert curl(server.where, "/large", "-o", "/dev/null", "-w", "%{size_download}") == str(size)
        memory = Path(f"/proc/{server.process.pid}/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+) kB", memory)
    assert peak
    assert int(peak[1]) * 1024 < size
    assert (tmp_path / "uploads" / "large").stat().st_size == size
    assert (tmp_path / "uploads" / "http_form.py").read_bytes() == (FOLDER / "http_form.py").read_bytes()
