"""What takes the fields of a head apart: compiled where the core is, else what `plain` has in its place."""

from typing import TYPE_CHECKING

__all__ = ["FieldCollector", "look_for"]

if TYPE_CHECKING:
    from portside.core.fields import FieldCollector, look_for
else:
    try:
        from portside.core.fields import FieldCollector, look_for
    except ImportError:
        from portside.http.plain import FieldCollector, look_for
