"""What Python code sees of datagrams; datagrams.pyx documents it."""

from collections.abc import Callable
from typing import Any, final

from portside.core.hub import Channel

@final
class Datagrams(Channel):
    on_unsent: Callable[[Any, OSError], object] | None
