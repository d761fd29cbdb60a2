"""The usual way of a request and its answer, compiled where it could be: see `portside.core.requests`.

Each of these classes stands before the one that knows every case. Where there is no compiled core they are empty, and
everything goes the long way: the same, for more.
"""

from collections.abc import Iterable
from typing import Any

try:
    from portside.core.fields import FieldCollector, look_for
    from portside.core.replies import QuickWriter, know
    from portside.core.requests import QuickRequests, stand_before
except ImportError:
    FieldCollector = None  # type: ignore[assignment,misc]

    def look_for(names: Iterable[str]) -> None:
        """Nobody does."""

    class QuickWriter:  # type: ignore[no-redef]
        """Nothing."""

    class QuickRequests:
        """Nothing."""

    def know(**names: Any) -> None:
        """Nothing needs to know."""

    def stand_before(handler: type, event: type) -> None:
        """Nothing does."""
