"""A browser without a screen loads a page with 200 small files, which say in the page that they have come."""

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from portside.http.server import SimpleHTTPRequestHandler
from tests.admin.browser import tab
from tests.http.clients.conftest import Site
from tests.http.kit import serving

SECONDS = 170.0  # a browser starts a dozen processes, and a busy machine takes its time
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
FLAGS = (
    *("--headless", "--disable-gpu", "--no-sandbox", "--no-first-run", "--disable-quic", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server"),
    *("--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--ignore-certificate-errors"),
)
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="1"/>'
PAGE = """<!doctype html>
<title>A page with 200 files</title>
{links}{pictures}{scripts}
<p id="seen"></p>
<script>
addEventListener("load", () => {{
  const pictures = [...document.images].map((each) => each.naturalWidth);
  const rules = [...document.styleSheets].reduce((sum, each) => sum + each.cssRules.length, 0);
  const sum = (numbers) => numbers.reduce((one, other) => one + other, 0);
  document.getElementById("seen").textContent = [sum(pictures), rules, sum(numbers)].join(" ");
}});
</script>
"""

LINKS = "[...document.querySelectorAll('a')]"
TEXT_COLOUR = "getComputedStyle(document.body).color"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2 * SECONDS),
    pytest.mark.skipif(not BROWSER, reason="there is no chromium command; on Debian: apt install chromium"),
]


def make_page(site: Site) -> None:
    """100 scripts, 50 style sheets and 50 pictures; the scripts count up, one relying on the other."""
    site.put("0.js", b"var numbers = [0];")
    for number in range(1, 100):
        site.put(f"{number}.js", b"numbers.push(%d);" % number)
    for number in range(50):
        site.put(f"{number}.css", b"p { color: red }")
        site.put(f"{number}.svg", PICTURE.format(number + 1).encode())
    page = PAGE.format(
        links="".join(f'<link rel="stylesheet" href="{number}.css">' for number in range(50)),
        pictures="".join(f'<img src="{number}.svg">' for number in range(50)),
        scripts="".join(f'<script src="{number}.js"></script>' for number in range(100)),
    )
    site.put("page.html", page.encode())


def rendered(url: str, profile: Path) -> str:
    """What a page has become once it is loaded."""
    words = [BROWSER, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", url]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    ) as process:
        try:
            page, _ = process.communicate(timeout=SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return page


def test_page_with_200_files(site: Site, tmp_path: Path) -> None:
    make_page(site)
    pictures, rules, numbers = sum(range(51)), 50, sum(range(100))
    assert f'<p id="seen">{pictures} {rules} {numbers}</p>' in rendered(f"{site.url}/page.html", tmp_path / "profile")
    assert site.seen["opened"] < 50  # connections were used again


def test_listing_is_for_phones_and_for_the_dark(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    for name in ("a" * 200, "short.txt", "über uns.txt", "<b>&.txt"):
        (tmp_path / "site" / name).write_bytes(b"x" * 5000)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    with serving(handler) as server, tab(tmp_path / "profile") as page:
        page.order("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
        page.order("Page.navigate", url=f"http://127.0.0.1:{server.server_port}/")
        assert page.wait_for("document.querySelectorAll('a').length >= 4")
        assert page.value("document.documentElement.scrollWidth <= innerWidth")  # nobody scrolls sideways
        assert page.value(f"{LINKS}.every((each) => each.offsetHeight >= 24)")  # WCAG 2.2, 2.5.8: a target is 24 pixels
        light, dark = [page.value(TEXT_COLOUR) for _ in map(page.prefers, ("light", "dark"))]
        assert light != dark
        assert page.errors == []


def test_listing(site: Site, tmp_path: Path) -> None:
    site.put("über uns.txt", b"")
    assert "über uns.txt</a>" in rendered(f"{site.url}/", tmp_path / "profile")
