"""The usual way of a request and its answer: compiled where the core is, else what `plain` has in its place.

A compiled class stands before the Python class that knows every case. What is usual ends in it; what is not goes on,
by `super()`: so nothing is decided twice, and a program's overrides are called as ever.
"""

from typing import TYPE_CHECKING

__all__ = ["QuickRequests", "QuickWriter", "Sender", "know", "receive", "stand_before"]

if TYPE_CHECKING:
    from portside.core.prompt import Sender, receive
    from portside.core.replies import QuickWriter, know
    from portside.core.requests import QuickRequests, stand_before
else:
    try:
        from portside.core.prompt import Sender, receive
        from portside.core.replies import QuickWriter, know
        from portside.core.requests import QuickRequests, stand_before
    except ImportError:
        from portside.http.plain import QuickRequests, QuickWriter, Sender, know, receive, stand_before
