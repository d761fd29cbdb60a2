"""Python's HTTP clients behind one face: each asks on a session of its own, and reads the whole answer."""

import asyncio
import io
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from tests.http.clients.conftest import Site

SECONDS = 50.0

# Bytes, which have a length; or pieces, which are sent in chunks.
Body = bytes | list[bytes] | None


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a client made of an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Library(Protocol):
    """A session."""

    def ask(self, method: str, path: str, body: Body = None, **headers: str) -> Reply:
        """One request, after all that were before; `if_range="x"` sends If-Range."""

    def close(self) -> None:
        """Close its connections."""


def fields(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def library(name: str) -> Any:
    return pytest.importorskip(name, reason=f"there is no {name}: pip install {name}")


class Requests:
    """Of requests, on urllib3."""

    def __init__(self, site: Site) -> None:
        self._url = site.url
        self._session = library("requests").Session()
        self._session.trust_env = False  # no proxies
        self._session.verify = site.authority or True

    def ask(self, method: str, path: str, body: Body = None, **headers: str) -> Reply:
        data = iter(body) if isinstance(body, list) else body
        got = self._session.request(method, self._url + path, data=data, headers=fields(headers), timeout=SECONDS)
        return Reply(status=got.status_code, headers=got.headers, body=got.content)

    def close(self) -> None:
        self._session.close()


class Httpx:
    """Of httpx, on h11."""

    def __init__(self, site: Site) -> None:
        self._client = library("httpx").Client(
            base_url=site.url, verify=site.trust, trust_env=False, timeout=SECONDS, follow_redirects=True
        )

    def ask(self, method: str, path: str, body: Body = None, **headers: str) -> Reply:
        content = iter(body) if isinstance(body, list) else body
        got = self._client.request(method, path, content=content, headers=fields(headers))
        return Reply(status=got.status_code, headers=got.headers, body=got.content)

    def close(self) -> None:
        self._client.close()


class Aiohttp:
    """Of aiohttp, on llhttp and an event loop of its own."""

    def __init__(self, site: Site) -> None:
        self._module = library("aiohttp")
        self._runner = asyncio.Runner()
        self._url, self._trust = site.url, site.trust
        self._session = self._runner.run(self._opened())

    async def _opened(self) -> Any:
        limits = self._module.ClientTimeout(total=SECONDS)
        return self._module.ClientSession(self._url, timeout=limits)

    def ask(self, method: str, path: str, body: Body = None, **headers: str) -> Reply:
        return self._runner.run(self._ask(method, path, body, **headers))

    def ask_all(self, paths: Iterable[str]) -> list[Reply]:
        """Get all of them at once."""
        return self._runner.run(self._ask_all(paths))

    async def _ask_all(self, paths: Iterable[str]) -> list[Reply]:
        return await asyncio.gather(*(self._ask("GET", path) for path in paths))

    async def _ask(self, method: str, path: str, body: Body = None, **headers: str) -> Reply:
        waits = headers.pop("expect", None) is not None
        data = _sent(body) if isinstance(body, list) else body and io.BytesIO(body)  # of long bytes it would warn
        options = {"data": data, "headers": fields(headers), "expect100": waits, "ssl": self._trust}
        async with self._session.request(method, path, **options) as got:
            return Reply(status=got.status, headers=got.headers, body=await got.read())

    def close(self) -> None:
        self._runner.run(self._session.close())
        self._runner.close()


async def _sent(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


LIBRARIES: dict[str, type[Any]] = {"requests": Requests, "httpx": Httpx, "aiohttp": Aiohttp}
