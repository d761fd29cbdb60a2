"""The page, in a real browser: what it shows of a service, and what its buttons do."""

from pathlib import Path

import pytest

from tests.admin.browser import BROWSER, SECONDS, Tab, tab
from tests.admin.kit import connections, started, talk

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2 * SECONDS),
    pytest.mark.usefixtures("no_leaks"),
    pytest.mark.skipif(not BROWSER, reason="there is no chromium command; on Debian: apt install chromium"),
]

ROWS = "document.querySelectorAll('#connections tr').length"
STATE = "document.getElementById('state').textContent"
GROUND = "getComputedStyle(document.body).backgroundColor"


def test_the_page_shows_the_service_and_its_buttons_work(tmp_path: Path) -> None:
    with started("green") as running, talk(running.endpoint) as first, talk(running.endpoint) as second:
        assert running.admin is not None
        with tab(tmp_path / "profile") as page:
            page.order("Page.navigate", url=f"http://127.0.0.1:{running.admin.endpoint.port}/")
            assert page.wait_for(f"{STATE} === 'serving' && {ROWS} === 2")
            shown = page.value("document.body.innerText")
            for client in (first, second):
                assert f"127.0.0.1:{client.socket.getsockname()[1]}" in shown
            assert "admin/kit.py:" in shown
            assert "6 B" in shown
            assert page.wait_for("document.querySelectorAll('.tile svg path').length > 4")

            # Live: what happens is seen without a click.
            second.send(b"x" * 100)
            second.receive()
            assert page.wait_for("document.getElementById('connections').innerText.includes('107 B')")

            page.click("#pause")
            assert page.wait_for(f"{STATE} === 'paused'")
            page.click("#resume")
            assert page.wait_for(f"{STATE} === 'serving'")

            oldest = connections(running)[0]["id"]
            page.click(f"[data-close='{oldest}']")
            assert first.socket.recv(1) == b""
            assert page.wait_for(f"{ROWS} === 1")

            page.click("[data-ban='127.0.0.1']")  # from the service, not from its admin endpoint
            assert page.wait_for("document.getElementById('said').textContent.includes('banned 127.0.0.1')")
            assert second.socket.recv(1) == b""

            light, dark = _grounds(page)
            assert light != dark
            assert _fits_a_phone(page)

            page.click("#drain")
            assert page.wait_for(f"['draining', 'no answer'].includes({STATE})")
            assert page.errors == []


def _grounds(page: Tab) -> list[str]:
    """The page's ground as somebody sees it who likes it light, and dark."""
    found = []
    for scheme in ("light", "dark"):
        page.prefers(scheme)
        found.append(page.value(GROUND))
    return found


def _fits_a_phone(page: Tab) -> bool:
    """Whether nobody has to scroll sideways on 360 pixels, and buttons are large enough for a thumb."""
    page.order("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
    fits = page.value("document.documentElement.scrollWidth <= innerWidth")
    tall = page.value("Math.min(...[...document.querySelectorAll('button')].map((each) => each.offsetHeight)) >= 36")
    page.order("Emulation.clearDeviceMetricsOverride")
    return bool(fits and tall)
