"""What a failed accept means, and how long the loop pauses."""

import errno
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.policy.accepting import ACCEPT_ERRORS, AcceptAction, Backoff, accept_action

# accept(2), "Error handling": what Linux passes on from the network, "treat them like EAGAIN by retrying".
FROM_THE_NETWORK = (
    errno.ENETDOWN,
    errno.EPROTO,
    errno.ENOPROTOOPT,
    errno.EHOSTDOWN,
    errno.ENONET,
    errno.EHOSTUNREACH,
    errno.EOPNOTSUPP,
    errno.ENETUNREACH,
)

EXPECTED = {
    AcceptAction.RETRY: (
        errno.EAGAIN,
        errno.EINTR,
        errno.ECONNABORTED,
        errno.ECONNRESET,
        errno.EPERM,
        *FROM_THE_NETWORK,
    ),
    AcceptAction.SHED: (errno.EMFILE, errno.ENFILE),
    AcceptAction.PAUSE: (errno.ENOBUFS, errno.ENOMEM, errno.EINVAL),
    AcceptAction.STOP: (errno.EBADF,),
    AcceptAction.RAISE: (errno.ENOTSOCK, errno.EFAULT),
}
ROWS = [(number, action) for action, numbers in EXPECTED.items() for number in numbers]


@pytest.mark.parametrize(("number", "action"), ROWS, ids=[errno.errorcode[number] for number, _ in ROWS])
def test_accept_error(number: int, action: AcceptAction) -> None:
    assert accept_action(OSError(number, os.strerror(number))) is action


def test_the_table_has_no_other_rows() -> None:
    assert dict(ROWS) == ACCEPT_ERRORS


@pytest.mark.parametrize("error", [OSError("without a number"), OSError(errno.EIO, "unheard of"), OSError()])
def test_an_unknown_error_neither_dies_nor_spins(error: OSError) -> None:
    assert accept_action(error) is AcceptAction.PAUSE


@given(st.integers(min_value=-(2**31), max_value=2**31 - 1))
def test_every_number_has_an_action(number: int) -> None:
    assert accept_action(OSError(number, "?")) in AcceptAction


def test_pauses_double_up_to_a_second() -> None:
    pauses = [Backoff().seconds(failures) for failures in range(1, 11)]
    assert pauses == [0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0]


@given(st.integers(min_value=1, max_value=10**9))
def test_a_pause_is_finite_and_bounded(failures: int) -> None:
    seconds = Backoff(first=0.25, factor=3.0, limit=7.0).seconds(failures)
    assert math.isfinite(seconds)
    assert 0.25 <= seconds <= 7.0
    assert seconds <= Backoff(first=0.25, factor=3.0, limit=7.0).seconds(failures + 1)
