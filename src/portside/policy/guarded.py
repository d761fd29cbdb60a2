"""What a server may be told of its guests: class attributes, off unless they are set."""

from portside.policy.access import Access
from portside.policy.limits import Limits


class Guarded:
    """The policies of a server; each is off where it is None.

    Attributes:
        limits: how many may come, how often, and how long they may stay.
        access: who may come in at all.
    """

    limits: Limits | None = None
    access: Access | None = None
