"""Processes of the supervisor's: forked with one end of a channel, and never back in its code."""

import os
import warnings
from collections.abc import Callable
from typing import NoReturn

from portside.engines.forks import flush_standard_streams
from portside.service.supervision.channel import Channel

_BESIDE_THREADS = "This process .* is multi-threaded"


def forked(live: Callable[[], NoReturn], channel: Channel) -> int:
    """Fork a process.

    Args:
        live: its whole life, called there.
        channel: its end of the channel to the supervisor, which is closed here.

    Returns:
        Its process id.

    Raises:
        OSError: the system has no room for another process.
    """
    flush_standard_streams()
    try:
        pid = os.fork()
        if pid == 0:
            live()
    finally:
        channel.close()
    return pid


def expect_threads() -> None:
    """Have Python (3.12 and later) not warn of every handler's process that it is forked beside threads.

    For a process of ours, whose threads are: that of the supervisor's channel and those of the admin endpoint. What
    locks they hold is let go before a fork, or is nothing that a handler asks for. A program's own forks are warned of.
    """
    warnings.filterwarnings("ignore", _BESIDE_THREADS, DeprecationWarning, r"portside\.engines\.forks$")
