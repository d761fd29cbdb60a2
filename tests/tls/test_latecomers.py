"""Clients who have not shaken hands when a drain begins: they are let in, and served within it."""

import contextlib
import math
import threading

import pytest

from tests.conftest import DEADLINE, wait_until
from tests.engines.kit import Kit, Stand, bound
from tests.pains.serving import queue_is
from tests.tls.kit import PKI, secured

pytestmark = pytest.mark.usefixtures("no_leaks")

CLIENTS = 3


def test_all_of_them_are_served(kit: Kit, pki: PKI) -> None:
    with bound(kit, kit.handlers.Echo, tls=pki.tls()) as server, contextlib.closing(Stand(server)) as stand:
        server._portside.accept(False)
        server._portside.quiet = math.inf
        clients = [stand.dial() for _ in range(CLIENTS)]
        assert queue_is(server, CLIENTS)
        stand.start()
        assert wait_until(lambda: bool(server._portside.lifecycle.running()))
        stopping = threading.Thread(target=server.shutdown, kwargs={"drain": DEADLINE})
        stopping.start()
        for client in clients:
            with secured(client, pki.trusting()) as secret:
                secret.sendall(b"hello\n")
                assert secret.recv(100) == b"HELLO\n"
        stopping.join(DEADLINE)
        assert not stopping.is_alive()
