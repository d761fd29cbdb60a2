"""Clients that no worker has accepted yet: when one leaves they are for the others, when all do they are served first.

Handlers run in the accept loops here, one a worker, so that a client who talks keeps all others in the queue.
"""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from portside import Endpoint
from tests.workers.kit import PATIENCE, Served, Talker, served

pytestmark = pytest.mark.usefixtures("no_leaks")

WAITING = 4


@contextmanager
def crowded(folder: Path, workers: int) -> Iterator[tuple[Served, Endpoint, list[socket.socket]]]:
    """A service whose workers all talk to somebody, and clients in its queue, each of which has sent its line."""
    with served(folder, workers={"count": workers}, engine="serial") as service, ExitStack() as stack:
        service.wait("WorkerReady", workers)
        endpoint = service.endpoint
        for _ in range(workers):
            stack.callback(Talker(endpoint).close)
        waiting = [stack.enter_context(endpoint.connect(timeout=PATIENCE)) for _ in range(WAITING)]
        for client in waiting:
            client.sendall(b"hello\n")
        yield service, endpoint, waiting


def answered(client: socket.socket) -> int:
    """The worker that has greeted and answered a client, which leaves then."""
    with client, client.makefile("rb") as heard:
        pid, _ = heard.readline().split()
        assert heard.readline() == b"HELLO\n"
    return int(pid)


@pytest.mark.parametrize("workers", [1, 2])
def test_all_of_them_are_served_when_the_service_ends(workers: int, folder: Path) -> None:
    with crowded(folder, workers) as (service, endpoint, waiting):
        service.signal(signal.SIGTERM)
        for client in waiting:
            assert answered(client) in service.workers()
        assert service.outcome() == (0, b"")
        with pytest.raises(ConnectionError):
            endpoint.connect(timeout=PATIENCE)


def test_they_wait_for_the_successor_of_a_worker_that_leaves(folder: Path) -> None:
    with crowded(folder, 1) as (service, _, waiting):
        (leaving,) = service.workers()
        os.kill(leaving, signal.SIGTERM)
        service.wait("WorkerReady", 2)
        assert {answered(client) for client in waiting} == {service.workers()[1]}
        service.signal(signal.SIGTERM)
        assert service.outcome() == (0, b"")


def test_they_wait_for_the_workers_of_a_reload(folder: Path) -> None:
    with crowded(folder, 1) as (service, _, waiting):
        service.signal(signal.SIGHUP)
        service.wait("WorkerReady", 2)
        assert {answered(client) for client in waiting} == {service.workers()[1]}


def test_they_are_served_when_the_supervisor_has_died(folder: Path) -> None:
    with crowded(folder, 1) as (service, _, waiting):
        service.process.kill()
        assert {answered(client) for client in waiting} == set(service.workers())
