"""Tells Portside's own hooks from a program's overrides."""

from typing import Any


def is_ours(hook: Any) -> bool:
    """True for a bound method that a class of this package defines."""
    module: str = getattr(getattr(hook, "__func__", None), "__module__", None) or ""
    return module.partition(".")[0] == __name__.partition(".")[0]
