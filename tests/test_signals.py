"""Signals that come at a bad moment: each in a process of its own, since the main thread has to serve."""

import subprocess
import sys

import pytest

# The kernel may give a signal to any thread, and one may come after the last instruction before a wait: in either case
# the main thread's wait is not interrupted. The program sends the signal to its own helper thread, when the loop waits.
TAKEN_BY_ANOTHER_THREAD = """
import signal, sys, threading
import portside

handler = portside.AsyncStreamRequestHandler if sys.argv[1] == "async" else portside.StreamRequestHandler

def kick(event):
    def later():
        threading.Event().wait(0.3)  # the loop waits by then; earlier would only make the test easier
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    threading.Thread(target=later, daemon=True).start()

portside.telemetry.subscribe(kick, portside.telemetry.ServerStarted)
portside.serve(handler, 0, engine=sys.argv[1])
print("ended")
"""

# Ctrl-C may come while a thread starts, when the handler has the connection already: its silent client must not keep
# the program alive.
WHILE_A_THREAD_STARTS = """
import socket
from portside import socketserver

class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)

class Server(socketserver.ThreadingTCPServer):
    def process_request(self, request, client_address):
        super().process_request(request, client_address)
        raise KeyboardInterrupt

with Server(("127.0.0.1", 0), Echo) as server, socket.create_connection(server.server_address):
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("ended")
"""


def output(program: str, *arguments: str) -> str:
    """What the program prints; a program that does not end within 50 s fails the test."""
    run = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=50, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


@pytest.mark.parametrize("engine", ["serial", "threads", "forks", "async"])
def test_signal_that_another_thread_takes(engine: str) -> None:
    assert output(TAKEN_BY_ANOTHER_THREAD, engine) == "ended\n"


def test_interrupt_while_a_thread_starts() -> None:
    assert output(WHILE_A_THREAD_STARTS) == "ended\n"
