"""Processes of the supervisor's: forked with one end of a channel, and never back in its code."""

import os
from collections.abc import Callable
from typing import NoReturn

from portside.engines.forks import flush_standard_streams
from portside.service.channel import Channel


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
