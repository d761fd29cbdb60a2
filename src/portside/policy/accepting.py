"""What a failed accept means: a table from `errno` to action, and the pauses between tries.

The standard library treats every failure as nothing: out of descriptors, its loop turns 264,000 times a second.
"""

import errno
from dataclasses import dataclass
from enum import Enum, auto


class AcceptAction(Enum):
    """What the accept loop does after an accept failed."""

    RETRY = auto()  # this client is gone, the next may be fine
    SHED = auto()  # no descriptor for it: use the spare one to turn it away, then pause
    PAUSE = auto()  # the system is short of something: wait, longer each time
    STOP = auto()  # the listener is closed: leave the loop
    RAISE = auto()  # the program passed something that is no listener: tell it


# accept(2): "Linux accept() passes already-pending network errors on the new socket as an error code from accept().
# For reliable operation the application should detect the network errors defined for the protocol and treat them like
# EAGAIN by retrying": the first two groups. EPERM is a firewall's refusal. EINVAL comes on the BSDs for a client that
# left while queued, and everywhere for a socket that does not listen, so it pauses: neither dies nor spins.
ACCEPT_ERRORS: dict[int, AcceptAction] = {
    **dict.fromkeys((errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR), AcceptAction.RETRY),
    **dict.fromkeys(
        (
            errno.ECONNABORTED,
            errno.EPROTO,
            errno.ENOPROTOOPT,
            errno.ENETDOWN,
            errno.ENETUNREACH,
            errno.EHOSTDOWN,
            errno.EHOSTUNREACH,
            errno.EOPNOTSUPP,
            errno.EPERM,
            errno.ECONNRESET,
            getattr(errno, "ENONET", errno.ENETDOWN),
        ),
        AcceptAction.RETRY,
    ),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), AcceptAction.SHED),
    **dict.fromkeys((errno.ENOBUFS, errno.ENOMEM, errno.EINVAL), AcceptAction.PAUSE),
    errno.EBADF: AcceptAction.STOP,
    **dict.fromkeys((errno.ENOTSOCK, errno.EFAULT), AcceptAction.RAISE),
}


def accept_action(error: OSError) -> AcceptAction:
    """The action for a failed accept; an error that the table does not know pauses, which can neither die nor spin."""
    # An overridden get_request may shake hands with the client, which then failed or was slow, and nothing is short;
    # ssl.SSLError has numbers of OpenSSL's where others have errno.
    if isinstance(error, ConnectionError | TimeoutError) or type(error).__module__ == "ssl":
        return AcceptAction.RETRY
    return ACCEPT_ERRORS.get(error.errno or 0, AcceptAction.PAUSE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Backoff:
    """Pauses that grow: Go's net/http waits 5 ms after a failed accept, doubling up to 1 s.

    Attributes:
        first: seconds of the first pause.
        factor: what each further pause is multiplied by.
        limit: seconds that no pause exceeds.
    """

    first: float = 0.005
    factor: float = 2.0
    limit: float = 1.0

    def seconds(self, failures: int) -> float:
        """The pause after `failures` failed tries in a row (1 or more), in seconds."""
        exponent = min(failures - 1, 64)  # far past any limit; keeps the power finite
        return min(self.first * self.factor**exponent, self.limit)
