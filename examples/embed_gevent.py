"""Blocking handlers inside a gevent program: a handler waits for a greenlet of gevent's, and the others run on.

Run: python examples/embed_gevent.py [PORT]

Needs gevent. Talk to it with examples/echo_client.py.
"""

import signal
import sys
from collections.abc import Callable

import gevent

import portside

PORT = int(sys.argv[1]) if sys.argv[1:] else 9000


def in_gevent(function: Callable[..., bytes], *arguments: object) -> bytes:
    """Call a function in a greenlet of gevent's, where it may wait as gevent does."""
    done = portside.Event()
    greenlet = gevent.spawn(function, *arguments)
    greenlet.link(lambda _: done.set())
    done.wait()
    return bytes(greenlet.get(block=False))


def think(line: bytes) -> bytes:
    gevent.sleep(0.001)
    return line


class EchoHandler(portside.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(in_gevent(think, line))


if __name__ == "__main__":
    with portside.embed(EchoHandler, f"tcp://127.0.0.1:{PORT}") as server:
        for number in (signal.SIGINT, signal.SIGTERM):
            gevent.signal_handler(number, server.request_stop)
        print(f"serving at 127.0.0.1:{server.endpoint.address[1]}", flush=True)
        server.wait()
