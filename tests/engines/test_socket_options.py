"""What the options of accepted sockets are, by every engine: none that a program did not ask for."""

import contextlib
import os
import socket
import struct
import sys
from typing import Any

import pytest

from portside import Limits
from tests.engines.instruments import Entry, Journal
from tests.engines.kit import STREAMS, Kit, serving
from tests.engines.test_limits import ENGINES

pytestmark = [pytest.mark.usefixtures("no_leaks"), pytest.mark.parametrize("kit", ENGINES, ids=str, indirect=True)]

PACING_RATE = 47  # SO_MAX_PACING_RATE of Linux


class Looks:
    """Stands before a server class: puts down what it finds at a socket that is about to be handled."""

    journal: Journal

    def verify_request(self, request: Any, client_address: Any) -> bool:
        with contextlib.closing(socket.socket(fileno=os.dup(request.fileno()))) as sock:
            on, seconds = struct.unpack("ii", sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
            with contextlib.suppress(OSError):
                self.journal.note("pace", rate=sock.getsockopt(socket.SOL_SOCKET, PACING_RATE))
            self.journal.note("linger", on=on, seconds=seconds)
        return True


def linger_of(kit: Kit, scheme: str, journal: Journal, **options: Any) -> Entry:
    """What one conversation's socket says of lingering."""
    hooks = {"hooks": (Looks,), "journal": journal}
    with serving(kit, kit.handlers.Echo, scheme=scheme, **hooks, **options) as stand:
        assert stand.ask(b"hello\n") == b"HELLO\n"
        return journal.next("linger")


@pytest.mark.parametrize("limits", [None, Limits()], ids=["drop-in", "modern"])
@pytest.mark.parametrize("scheme", STREAMS)
def test_nobody_lingers(kit: Kit, scheme: str, journal: Journal, limits: Limits | None) -> None:
    """With SO_LINGER a close could cut off what a client has not read yet (thousand_island #110)."""
    found = linger_of(kit, scheme, journal, limits=limits)
    assert (found.on, found.seconds) == (0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux paces a connection")
@pytest.mark.parametrize("rate", [None, 50_000])
def test_a_pace_is_the_kernels(kit: Kit, journal: Journal, rate: int | None) -> None:
    linger_of(kit, "tcp", journal, limits=Limits(send_rate=rate))
    assert [entry.rate for entry in journal.all("pace")] == [-1 if rate is None else rate]
