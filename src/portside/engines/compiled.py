"""The compiled core, where it could be built."""

from functools import cache
from types import ModuleType
from typing import Any

MISSING = (
    "engine='green' needs Portside's compiled core, which this installation lacks: install Portside on Linux with a C "
    "compiler (Debian: apt install build-essential python3-dev), or choose engine='threads'"
)


@cache
def core() -> Any:
    """The package `portside.core` with its compiled modules.

    Raises:
        RuntimeError: it is missing.
    """
    import importlib

    try:
        package: ModuleType = importlib.import_module("portside.core")
        for name in ("hub", "sockets", "heads", "network", "watchdog"):
            importlib.import_module(f"portside.core.{name}")
    except ImportError as error:
        raise RuntimeError(MISSING) from error
    return package
