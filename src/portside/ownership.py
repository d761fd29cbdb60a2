"""Tells Portside's own hooks from a program's overrides."""

from typing import Any


def is_ours(hook: Any) -> bool:
    """True for a bound method that a class of this package defines."""
    module: str = getattr(getattr(hook, "__func__", None), "__module__", None) or ""
    return module.partition(".")[0] == __name__.partition(".")[0]


def is_plain_class(candidate: Any) -> bool:
    """True for a class whose instances are made as `object`'s are: no metaclass and no `__new__` has a say.

    That of a compiled class of ours has none either.
    """
    maker = getattr(getattr(candidate, "__new__", None), "__self__", None)
    return type(candidate) is type and (maker is object or getattr(maker, "__module__", "").startswith(_CORE))


_CORE = __name__.partition(".")[0] + ".core."
