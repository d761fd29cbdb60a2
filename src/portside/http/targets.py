"""The forms of a request's target (RFC 9112, section 3.2). Text in, text out."""


def origin_form(target: str) -> str | None:
    """Path and query of a target that names a resource here.

    A server has to understand the absolute form, in which clients ask proxies, too (RFC 9112, 3.2.2).

    Returns:
        What begins with a slash; None for `*`, for an authority, and for what belongs to another protocol.
    """
    if target[:1] == "/":
        return target
    scheme, colon, rest = target.partition("://")
    if not colon or scheme.lower() not in ("http", "https"):
        return None
    start = min((place for mark in "/?#" if (place := rest.find(mark)) >= 0), default=len(rest))
    return rest[start:] if rest[start : start + 1] == "/" else f"/{rest[start:]}"
