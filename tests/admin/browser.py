"""A browser without a screen, spoken to over two pipes: Chrome's DevTools protocol, a JSON message and a NUL each."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tests.conftest import wait_until

SECONDS = 170.0  # a browser starts a dozen processes, and a busy machine takes its time
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
FLAGS = (
    *("--headless", "--disable-gpu", "--no-sandbox", "--no-first-run", "--disable-quic", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server"),
    *("--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--remote-debugging-pipe"),
)

# The browser reads orders from descriptor 3 and writes to 4, whatever our numbers are.
START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3]]
for number, end in enumerate(ends, 3):
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Tab:
    """One page.

    Args:
        orders: where messages are written to.
        news: where they are read from.
    """

    def __init__(self, orders: IO[bytes], news: IO[bytes]) -> None:
        self._orders = orders
        self._news = news
        self._last = 0
        self._session: str | None = None
        self.errors: list[str] = []
        target = self.order("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.order("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.order(f"{domain}.enable")

    def order(self, method: str, **words: Any) -> Any:
        """Have the browser do something; returns its answer."""
        self._last += 1
        number = self._last
        message = {"id": number, "method": method, "params": words}
        if self._session is not None:
            message["sessionId"] = self._session
        self._orders.write(json.dumps(message).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == number:
                assert "error" not in told, told
                return told["result"]
            self._note(told)

    def _next(self) -> dict[str, Any]:
        message = bytearray()
        while (byte := self._news.read(1)) not in (b"\0", b""):
            message += byte
        assert message, "the browser is gone"
        told: dict[str, Any] = json.loads(message)
        return told

    def _note(self, told: dict[str, Any]) -> None:
        if told.get("method") == "Page.javascriptDialogOpening":
            self._last += 1
            answer = {"id": self._last, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
            self._orders.write(json.dumps(answer | {"sessionId": self._session}).encode() + b"\0")
        elif told.get("method") == "Runtime.exceptionThrown":
            self.errors.append(told["params"]["exceptionDetails"]["text"])
        elif told.get("method") == "Log.entryAdded" and told["params"]["entry"]["source"] == "security":
            self.errors.append(told["params"]["entry"]["text"])

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript is, in the page."""
        return self.order("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait_for(self, expression: str) -> bool:
        """Wait until an expression is true."""
        return wait_until(lambda: bool(self.value(expression)), SECONDS / 4)

    def prefers(self, scheme: str) -> None:
        """Show the page as to somebody who likes it light, or dark."""
        self.order("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def click(self, selector: str) -> None:
        """Press a button; a question that comes of it is answered with yes."""
        # Not at once: a question holds the page's script up, and with it the answer to this order.
        assert self.value(f"!!document.querySelector({json.dumps(selector)})"), selector
        self.value(f"setTimeout(() => document.querySelector({json.dumps(selector)}).click(), 0)")


@contextlib.contextmanager
def tab(profile: Path) -> Iterator[Tab]:
    """A page of a browser, which ends with the block."""
    options = (*FLAGS, f"--user-data-dir={profile}")
    its_orders, orders = os.pipe()
    news, its_news = os.pipe()
    with (
        open(orders, "wb", buffering=0) as writer,
        open(news, "rb") as reader,
        subprocess.Popen(
            [sys.executable, "-c", START, *map(str, (its_orders, its_news)), BROWSER, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(its_orders, its_news),
            start_new_session=True,
        ) as process,
    ):
        os.close(its_orders)
        os.close(its_news)
        try:
            yield Tab(writer, reader)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
