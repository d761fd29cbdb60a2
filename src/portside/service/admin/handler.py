"""The admin endpoint's HTTP: a table of paths, and what every answer says of itself."""

import base64
import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

from portside.http.handler import BaseHTTPRequestHandler
from portside.http.limits import HTTPLimits
from portside.service.admin.console import Console
from portside.service.admin.guard import refuse_action, refuse_host
from portside.service.admin.options import Admin
from portside.service.control import LISTED
from portside.telemetry.exposition import CONTENT_TYPE

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
_HTML = "text/html; charset=utf-8"

# Every answer is of this moment, and for nobody's frame, script or picture but our own page's.
_ALWAYS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


class AdminHandler(BaseHTTPRequestHandler):
    """Answers the requests of one connection.

    Attributes:
        console: whom to ask.
        admin: who may ask.
    """

    protocol_version: str = "HTTP/1.1"
    http_limits: HTTPLimits = HTTPLimits(body_bytes=65_536)  # a command has a hundred bytes
    console: Console
    admin: Admin

    def do_GET(self) -> None:
        """Tell something."""
        self._route(_GET)

    def do_HEAD(self) -> None:
        """Tell what would be told."""
        self._route(_GET)

    def do_POST(self) -> None:
        """Do something."""
        self._route(_POST)

    def _route(self, routes: Mapping[str, Callable[["AdminHandler"], None]]) -> None:
        path = urlsplit(self.path).path
        refusal = refuse_host(self.admin, self.headers.get)
        if refusal is not None:
            self._fail(HTTPStatus.MISDIRECTED_REQUEST, refusal)
        elif path in routes:
            routes[path](self)
        elif path in {**_GET, **_POST}:
            self._fail(HTTPStatus.METHOD_NOT_ALLOWED, f"{path} does not answer {self.command}")
        else:
            self._fail(HTTPStatus.NOT_FOUND, f"there is no {path} here: try {', '.join(_GET)}")

    # -- what there is --

    def _page(self) -> None:
        page, policy = page_and_policy()
        self._answer(HTTPStatus.OK, _HTML, page, {"Content-Security-Policy": policy})

    def _metrics(self) -> None:
        self._answer(HTTPStatus.OK, CONTENT_TYPE, self.console.metrics().encode())

    def _healthz(self) -> None:
        self._verdict(self.console.health()[0], "ok", "a process does not answer")

    def _readyz(self) -> None:
        self._verdict(self.console.health()[1], "ready", "not every endpoint accepts clients")

    def _verdict(self, good: bool, praise: str, complaint: str) -> None:
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(status, _TEXT, f"{praise if good else complaint}\n".encode())

    def _snapshot(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        limit = query.get("limit", [str(LISTED)])[-1]
        if not limit.isdecimal() or len(limit) > 9:
            self._fail(HTTPStatus.BAD_REQUEST, f"limit={limit!r} is not accepted; accepted is a whole number")
            return
        self._reply(HTTPStatus.OK, self.console.snapshot(int(limit), stacks=query.get("stacks") != ["0"]))

    def _stacks(self) -> None:
        self._reply(HTTPStatus.OK, self.console.stacks())

    # -- what can be done --

    def _command(self) -> None:
        refusal = refuse_action(self.headers.get)
        if refusal is not None:
            self._fail(HTTPStatus.FORBIDDEN, refusal)
            return
        try:
            command = json.loads(self.rfile.read())
        except (ValueError, RecursionError):
            self._fail(HTTPStatus.BAD_REQUEST, 'the body is no JSON: a command looks like {"do": "pause"}')
            return
        done, reply = self.console.command(command)
        self._reply(HTTPStatus.OK if done else HTTPStatus.CONFLICT, reply)

    # -- answers --

    def _fail(self, status: HTTPStatus, sentence: str) -> None:
        self._reply(status, {"error": sentence})

    def _reply(self, status: HTTPStatus, content: Any) -> None:
        self._answer(status, _JSON, json.dumps(content).encode() + b"\n")

    def _answer(self, status: HTTPStatus, kind: str, body: bytes, fields: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**_ALWAYS, **(fields or {}), "Content-Type": kind}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        """What answers, and not which version of it."""
        return "Portside"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a probe a second is nothing to tell of."""


_GET: Mapping[str, Callable[[AdminHandler], None]] = {
    "/": AdminHandler._page,
    "/metrics": AdminHandler._metrics,
    "/healthz": AdminHandler._healthz,
    "/readyz": AdminHandler._readyz,
    "/api/snapshot": AdminHandler._snapshot,
    "/api/stacks": AdminHandler._stacks,
}
_POST: Mapping[str, Callable[[AdminHandler], None]] = {"/api/commands": AdminHandler._command}


@functools.cache
def page_and_policy() -> tuple[bytes, str]:
    """The page, and the policy by which a browser runs its own style and script, by their hashes, and nothing else."""
    page = (resources.files(__package__) / "page.html").read_bytes()
    policy = {"script-src": b"script", "style-src": b"style"}
    hashes = (f"{rule} {_hash(page, tag)}" for rule, tag in policy.items())
    rest = ("connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'")
    return page, "; ".join(["default-src 'none'", *hashes, *rest])


def _hash(page: bytes, tag: bytes) -> str:
    found = re.search(b"<%b>(.*?)</%b>" % (tag, tag), page, re.DOTALL)
    content = found[1] if found else b""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"
