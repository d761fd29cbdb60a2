"""Compares a face with the standard library's module: public names, ancestors, defaults and signatures."""

import inspect
from collections.abc import Iterator
from types import ModuleType


def differences(standard: ModuleType, ours: ModuleType) -> dict[str, str]:
    """What code written for the standard module would not find in ours: name -> how it differs."""
    prefix = standard.__name__
    return {f"{prefix}.{name}": how for name, how in _module(standard, ours)}


def _module(standard: ModuleType, ours: ModuleType) -> Iterator[tuple[str, str]]:
    for name in standard.__all__:
        if name not in ours.__all__ or not hasattr(ours, name):
            yield name, "is missing"
        elif inspect.isclass(getattr(standard, name)):
            yield from _class(name, getattr(standard, name), getattr(ours, name))


def _class(name: str, standard: type, ours: type) -> Iterator[tuple[str, str]]:
    if lost := {base.__name__ for base in standard.__mro__} - {base.__name__ for base in ours.__mro__}:
        yield name, f"is no subclass of {', '.join(sorted(lost))}"
    for attribute, value in vars(standard).items():
        promised = attribute == "__init__" or not attribute.startswith("_")
        if promised and (how := _attribute(value, getattr(ours, attribute, _MISSING))):
            yield f"{name}.{attribute}", how


def _attribute(standard: object, ours: object) -> str | None:
    if ours is _MISSING:
        return "is missing"
    if inspect.isfunction(standard) and callable(ours):
        return _signature(inspect.signature(standard), inspect.signature(ours))
    if isinstance(standard, str | int | float | tuple | None) and ours != standard:
        return f"is {ours!r}, not {standard!r}"
    return None


def _signature(standard: inspect.Signature, ours: inspect.Signature) -> str | None:
    """Ours takes every call that the standard one takes: the same parameters first, then only optional ones."""
    wanted, got = _parameters(standard), _parameters(ours)
    more = [p for p in ours.parameters.values() if p.kind is not p.VAR_KEYWORD][len(wanted) :]
    optional = all(p.default is not p.empty or p.kind is p.VAR_POSITIONAL for p in more)
    takes_any = _takes_any(ours) or not _takes_any(standard)
    return None if got[: len(wanted)] == wanted and optional and takes_any else f"takes {ours}, not {standard}"


def _parameters(signature: inspect.Signature) -> list[tuple[str, object, object]]:
    """All but `**names`, which stands last and takes what is left."""
    return [(p.name, p.kind, p.default) for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]


def _takes_any(signature: inspect.Signature) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())


_MISSING = object()
