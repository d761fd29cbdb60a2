"""Socket addresses as people write them."""

from typing import Any


def address_text(address: object) -> str:
    """`("::1", 9000, 0, 0)` as `[::1]:9000`, an abstract Unix name as `@name`; a Unix client need have no name."""
    match address:
        case (str(host), int(port), *_):
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        case bytes(name):
            return address_text(name.decode(errors="replace"))
        case "" | None:
            return "a local client"
        case str(name) if name.startswith("\0"):
            return "@" + name[1:]
        case _:
            return str(address)


def plain_address(address: Any) -> Any:
    """An IPv4 client of a dual-stack listener as IPv4 programs know it; any other address as it is.

    The kernel names it `("::ffff:192.0.2.1", ...)` (RFC 4291 section 2.5.5.2).
    """
    match address:
        case (str(host), port, *_) if host.startswith("::ffff:") and "." in host:
            return host.removeprefix("::ffff:"), port
        case _:
            return address
