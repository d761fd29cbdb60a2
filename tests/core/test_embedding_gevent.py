"""Green servers inside gevent's loop, in processes of their own, for gevent takes over the thread."""

import subprocess
import sys

import pytest

from tests.conftest import DEADLINE

pytest.importorskip("gevent")
pytest.importorskip("portside.core.hub", reason="the core is not compiled")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_leaks")]


def output_of(program: str) -> str:
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * DEADLINE, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout


BEGINNING = """
import gevent, gevent.socket, portside
from gevent.event import Event
class Shout(portside.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            before(line)
            self.wfile.write(line.upper())
def before(line):
    portside.sleep(0.001)
def ask(server, line):
    with gevent.socket.create_connection(server.servers[0].server_address) as sock, sock.makefile("rb") as file:
        sock.settimeout(10)
        sock.sendall(line + b"\\n")
        try:
            return file.readline()
        except ConnectionError:
            return b"cut"
def ask_all(server, lines):
    return [each.get(timeout=10) for each in [gevent.spawn(ask, server, line) for line in lines]]
"""


def test_handlers_run_beside_greenlets_of_gevents() -> None:
    program = """
with portside.embed(Shout, "tcp://127.0.0.1:0") as server:
    print(ask_all(server, [b"a", b"b", b"c"]))
with portside.embed(Shout, "tcp://127.0.0.1:0") as server:
    print(ask_all(server, [b"again"]))
"""
    assert output_of(BEGINNING + program) == "[b'A\\n', b'B\\n', b'C\\n']\n[b'AGAIN\\n']\n"


def test_a_handler_that_waits_in_gevent() -> None:
    program = """
def before(line):
    if line == b"sleeper\\n":
        gevent.sleep(0.01)
    portside.sleep(0.001)
    assert portside.offload(lambda: 1) == 1
with portside.embed(Shout, "tcp://127.0.0.1:0") as server:
    print(ask_all(server, [b"a", b"sleeper", b"b", b"sleeper", b"c"]))
"""
    assert output_of(BEGINNING + program) == "[b'A\\n', b'SLEEPER\\n', b'B\\n', b'SLEEPER\\n', b'C\\n']\n"


def test_greenlets_of_gevents_wake_handlers() -> None:
    program = """
def before(line):
    done = portside.Event()
    greenlet = gevent.spawn(lambda: gevent.sleep(0.001) or 5)
    greenlet.link(lambda _: done.set())
    assert done.wait(10) and greenlet.get(block=False) == 5
with portside.embed(Shout, "tcp://127.0.0.1:0") as server:
    print(ask_all(server, [b"a", b"b"]))
"""
    assert output_of(BEGINNING + program) == "[b'A\\n', b'B\\n']\n"


def test_gevent_goes_on_during_a_drain() -> None:
    program = """
finish, begun = portside.Event(), Event()
def before(line):
    begun.set()
    finish.wait()
with portside.embed(Shout, "tcp://127.0.0.1:0") as server:
    asking = gevent.spawn(ask, server, b"the last word")
    begun.wait(10)
    gevent.spawn_later(0.01, finish.set)
print(asking.get(timeout=10))
"""
    assert output_of(BEGINNING + program) == "b'THE LAST WORD\\n'\n"


def test_the_end_under_gevent() -> None:
    program = """
def before(line):
    try:
        server.stop()
    except RuntimeError as error:
        print(error)
    server.request_stop()
with portside.embed(Shout, "tcp://127.0.0.1:0") as server:
    asking = gevent.spawn(ask, server, b"stop")
    server.wait()
    print(asking.get(timeout=10))
begun, stopping = Event(), Event()
def stay(*_):
    begun.set()
    portside.Event().wait()
def stop():
    stopping.set()
    server.stop()
with portside.embed(stay, "tcp://127.0.0.1:0", drain=100) as server:
    asking = gevent.spawn(ask, server, b"stay")
    begun.wait(10)
    greenlet = gevent.spawn(stop)
    stopping.wait(10)
    greenlet.kill()
print(gevent.wait(timeout=10))
"""
    expected = "a green handler cannot wait for its own end: call request_stop(), which waits for nothing\nb'STOP\\n'\n"
    assert output_of(BEGINNING + program) == expected + "True\n"


def test_an_idle_hub_takes_no_turns_under_gevent() -> None:
    program = """
from portside.core.driving import GeventDriver
turn, turns = GeventDriver.turn, [0]
def counted(driver):
    turns[0] += 1
    turn(driver)
GeventDriver.turn = counted
with portside.embed(Shout, "tcp://127.0.0.1:0") as server:
    ask_all(server, [b"a"])
    seen = -1
    while seen != turns[0]:
        seen = turns[0]
        gevent.sleep(0.05)
print("at rest")
"""
    assert output_of(BEGINNING + program) == "at rest\n"


def test_what_a_turn_raises_ends_nothing() -> None:
    program = """
from portside.core.driving import driver_here
class Hub:
    def turn(self):
        raise LookupError("a bug")
told = []
gevent.get_hub().print_exception = lambda context, kind, *rest: told.append(kind.__name__)
with portside.embed(Shout, "tcp://127.0.0.1:0") as server:
    ask_all(server, [b"begin"])
    driver = driver_here()
    hub, driver.hub = driver.hub, Hub()
    hub.call_from_thread(lambda: None)
    while not told:
        gevent.sleep(0.001)
    driver.hub = hub
    print(told[0], ask_all(server, [b"goes on"]))
"""
    assert output_of(BEGINNING + program) == "LookupError [b'GOES ON\\n']\n"


def test_a_patched_program_is_refused() -> None:
    program = """
import portside
try:
    with portside.embed(print, "tcp://127.0.0.1:0"):
        pass
except RuntimeError as error:
    print(error)
"""
    output = output_of("from gevent import monkey\nmonkey.patch_all()\n" + program)
    assert output.startswith(
        "gevent.monkey has patched socket, ssl, select, selectors, threading, _thread, which green"
    )
