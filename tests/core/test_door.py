"""How many clients are let in before the handlers have a turn: more where there are many handlers."""

import itertools
import socket
from typing import Any

import pytest

from portside import socketserver
from portside.core import hub
from portside.dispatcher import ACCEPT_BATCH
from tests.conftest import DEADLINE
from tests.http.kit import running

pytestmark = pytest.mark.usefixtures("no_leaks")

CLIENTS = 40  # that come at once: more than a batch, fewer than a quarter of the handlers
BUSY = 200


class Crowded(socketserver.GreenTCPServer):
    """Notes in which turn of the hub each client is let in."""

    request_queue_size = 2 * BUSY

    def __init__(self, busy: int) -> None:
        super().__init__(("127.0.0.1", 0), Busy)
        self.busy = busy
        self.turns: list[int] = []
        self.stopping = False

    def verify_request(self, request: Any, client_address: Any) -> bool:
        self.turns.append(hub.get_hub().turns)
        return True


class Busy(socketserver.BaseRequestHandler):
    """The first spawns tasks that are always ready, lets a crowd come while nobody has a turn, and sees it in."""

    server: Crowded

    def handle(self) -> None:
        if len(self.server.turns) > 1:
            return
        tasks = [hub.get_hub().spawn(self.stay_ready) for _ in range(self.server.busy)]
        hub.give_way()
        hub.give_way()
        clients = [socket.create_connection(self.server.server_address, DEADLINE) for _ in range(CLIENTS)]
        while len(self.server.turns) < 1 + CLIENTS:
            hub.give_way()
        self.server.stopping = True
        for task in tasks:
            task.join(DEADLINE)
        for client in clients:
            client.close()

    def stay_ready(self) -> None:
        while not self.server.stopping:
            hub.give_way()


@pytest.mark.parametrize(("busy", "most"), [(0, ACCEPT_BATCH), (BUSY, CLIENTS)])
def test_clients_in_a_row(busy: int, most: int) -> None:
    with running(Crowded(busy)) as server, socket.create_connection(server.server_address, DEADLINE) as client:
        assert client.recv(1) == b""
    rows = [len(list(row)) for _, row in itertools.groupby(server.turns)]
    assert max(rows) == most
