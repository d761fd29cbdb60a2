"""Handlers that are named, not given: loaded where they run, so that a new worker runs new code."""

import contextlib
import importlib
import operator
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

# A module, a colon, and a name in it; dots lead into packages and classes.
_NAME = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")


class LoadError(Exception):
    """A handler that there is not: one sentence says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Deferred:
    """A handler to be made later, in the process that serves.

    Attributes:
        opened: makes it, and keeps what it needs (an access log) until the service has ended.
        name: how it is announced.
    """

    opened: Callable[[], AbstractContextManager[Any]]
    name: str

    def __call__(self, *_: Any) -> Any:
        """Not for requests.

        Raises:
            TypeError: always: `opened` makes the handler.
        """
        raise TypeError(f"{self.name} was not loaded: it is made in the process that serves")

    @classmethod
    def named(cls, text: str) -> "Deferred":
        """The handler that `module:name` names, looked for in the current directory first.

        Raises:
            ValueError: the text is no such name.
        """
        if not _NAME.fullmatch(text):
            raise ValueError(f"{text!r} is no handler: write a module, a colon and a name in it, as in 'shout:Shout'")
        module, _, name = text.partition(":")
        return cls(opened=lambda: _loaded(module, name), name=name)


@contextlib.contextmanager
def _loaded(module: str, name: str) -> Iterator[Any]:
    yield load(module, name)


def load(module: str, name: str) -> Any:
    """Import a handler, with the current directory in front of `sys.path`.

    What the module itself raises goes through.

    Args:
        module: the module's name, with dots for packages.
        name: the handler's name in it, with dots for classes in classes.

    Raises:
        LoadError: there is no such module, or no such name in it.
    """
    if sys.path[:1] != [os.getcwd()]:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and lacks something itself
        raise LoadError(f"there is no module {error.name!r} in {os.getcwd()} or among the installed ones") from error
    try:
        return operator.attrgetter(name)(found)
    except AttributeError as error:
        raise LoadError(f"the module {module!r} ({_file(found)}) has no {name!r}") from error


def _file(module: Any) -> str:
    return getattr(module, "__file__", None) or "built in"
