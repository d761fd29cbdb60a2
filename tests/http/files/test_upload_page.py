"""The listing's form in a real browser: it tells how far an upload has come, and why one was refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import portside
from portside.http.files.options import FileOptions
from portside.http.server import SimpleHTTPRequestHandler
from tests.admin.browser import BROWSER, SECONDS, Tab, tab

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2 * SECONDS),
    pytest.mark.skipif(not BROWSER, reason="there is no chromium command; on Debian: apt install chromium"),
]

# As a person does: choose a file, and press the button.
CHOOSE = """
const chosen = new DataTransfer();
chosen.items.add(new File(["%s"], "note.txt"));
document.querySelector("input").files = chosen.files;
document.querySelector("button").click();
"""


class Uploads(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    file_options = FileOptions(uploads=True, upload_limit=1000)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Tab]:
    (tmp_path / "site").mkdir()
    with (
        portside.start(Uploads, "tcp://127.0.0.1:0", handler_args={"directory": tmp_path / "site"}) as running,
        tab(tmp_path / "profile") as seen,
    ):
        seen.order("Page.navigate", url=f"http://127.0.0.1:{running.endpoint.port}/")
        assert seen.wait_for("document.readyState === 'complete' && !!document.querySelector('form')")
        yield seen


def test_upload(page: Tab, tmp_path: Path) -> None:
    page.value(CHOOSE % "hello")
    assert page.wait_for("!!document.querySelector('a[href=\"note.txt\"]')")  # the page has loaded itself again
    assert (tmp_path / "site" / "note.txt").read_text() == "hello"


def test_refused_upload_says_why(page: Tab, tmp_path: Path) -> None:
    page.value(CHOOSE % ("x" * 2000))
    assert page.wait_for("document.querySelector('output').textContent.startsWith('refused: ')")
    assert page.value("document.querySelector('progress').hidden && !document.querySelector('button').disabled")
    assert [*(tmp_path / "site").iterdir()] == []
