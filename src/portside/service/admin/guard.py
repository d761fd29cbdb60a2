"""Who may ask what: protection against pages of the web that a person's browser has open beside the admin page.

Such a page can have its own name lead to this machine (DNS rebinding), and then read what it likes: so the name that
was asked for has to be ours. It can also send requests without reading the answers (cross-site request forgery): so
what changes something has to come as JSON, which a page of another origin may not send, and from our origin.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from portside.service.admin.options import Admin, is_address, is_loopback

# A header field of the request by its name; None where there is none.
Lookup = Callable[[str], str | None]

# What browsers say of a request that no other site has caused (Fetch Metadata Request Headers, W3C).
_OWN_SITES = (None, "same-origin", "none")


def refuse_host(admin: Admin, field: Lookup) -> str | None:
    """Why a request is refused for the name that it asks for, in a sentence; None where it is not."""
    asked = field("host") or ""
    if admin.endpoint.scheme == "unix" or _is_ours(admin, _hostname(asked)):
        return None
    return (
        f"this endpoint is not called {asked!r}: ask for localhost or an address, or add the name to Admin(hosts=...)"
    )


def _is_ours(admin: Admin, host: str) -> bool:
    return is_loopback(host) or host in admin.hosts or (admin.public and is_address(host))


def _hostname(authority: str) -> str:
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


def refuse_action(field: Lookup) -> str | None:
    """Why a request that changes something is refused, in a sentence; None where it is not."""
    kind = (field("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return "a command is sent as JSON: Content-Type: application/json"
    origin = field("origin")
    if origin is not None and origin != f"http://{field('host')}":
        return f"a page of {origin} may not give commands here"
    if field("sec-fetch-site") not in _OWN_SITES:
        return "a page of another site may not give commands here"
    return None
