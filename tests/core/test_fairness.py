"""Fifty clients that send without pause hold up no others.

How long a ping takes is measured by the benchmarks; here it must only get through, on whatever machine.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import portside
from portside import socketserver
from tests.core.pinging import ROUNDS

pytestmark = pytest.mark.usefixtures("no_leaks")

CLIENTS = 50
PATIENCE = 60  # seconds that all the pings together may take


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


@contextlib.contextmanager
def clients(what: str, address: Any) -> "Iterator[subprocess.Popen[str]]":
    """Clients in a process of their own, until the end of the block at the latest."""
    program = Path(__file__).with_name("pinging.py")
    arguments = [sys.executable, str(program), what, address[0], str(address[1]), str(CLIENTS)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_pings_get_through_a_flood() -> None:
    with portside.start(Echo, "tcp://127.0.0.1:0", engine="green") as server:
        address = (server.endpoint.host, server.endpoint.port)
        with clients("flood", address) as flood, clients("ping", address) as pings:
            assert flood.stdout is not None
            assert flood.stdout.readline() == "flooding\n"
            output, _ = pings.communicate(timeout=PATIENCE)
    assert len(output.split()) == CLIENTS * ROUNDS
