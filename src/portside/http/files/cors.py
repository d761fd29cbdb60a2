"""Which pages of other origins may read the answers (CORS, as the Fetch standard has it)."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

MAX_AGE: Final = 7200  # seconds that a browser may go by an answer about what is allowed; Chromium takes no more

# Fields of answers that a page's script may see besides those that it always may.
_EXPOSED: Final = "Accept-Ranges, Content-Encoding, Content-Length, Content-Range, ETag, Location"

Fields = list[tuple[str, str]]


def fields(allowed: Sequence[str], origin: str | None) -> Fields:
    """The fields of every answer.

    Args:
        allowed: the origins that may read answers; "*" is any.
        origin: the request's Origin; None where it names none.
    """
    if "*" in allowed:
        return [("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", _EXPOSED)]
    if not allowed:
        return []
    varies = [("Vary", "Origin")]  # whatever the origin, so that no cache gives one page's answer to another
    if origin is None or origin not in allowed:
        return varies
    return [*varies, ("Access-Control-Allow-Origin", origin), ("Access-Control-Expose-Headers", _EXPOSED)]


def preflight_fields(methods: Sequence[str], wanted: str | None) -> Fields:
    """Further fields of the answer to OPTIONS.

    Args:
        methods: those that are served.
        wanted: the request's Access-Control-Request-Headers; what a page asks to send is allowed, as none of it has a
            power here that the request would not have without.
    """
    found = [("Access-Control-Allow-Methods", ", ".join(methods)), ("Access-Control-Max-Age", str(MAX_AGE))]
    return [*found, ("Access-Control-Allow-Headers", wanted)] if wanted else found


def is_foreign(origin: str | None, host: str | None, allowed: Sequence[str]) -> bool:
    """Whether a request that changes something comes from a page that has no business here.

    A page may make its visitor's browser send forms to any server that the browser reaches, one behind the visitor's
    own firewall too. Browsers then say where the page is from; other clients say nothing.

    Args:
        origin: the request's Origin; None where it names none.
        host: the request's Host.
        allowed: origins that may; "*" is none of them, as it is meant for reading.
    """
    if origin is None or origin in allowed:
        return False
    try:
        own = urlsplit(origin).netloc.lower()  # none where the page is "null": a file, or a frame without rights
    except ValueError:
        return True
    return own == "" or own != (host or "").lower()
