"""The server's side of the stress test: a green handler that does its part of any plan, and how they ended."""

import contextlib
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import portside
from portside.core import hub
from portside.core.sockets import GreenSocket
from tests.core.stress.plans import KINDS, Plan, check, receipt

PATIENCE = 0.05  # seconds that a handler waits for a silent client
BEFORE_THE_KILL = 0.01  # seconds that a handler waits in vain before it is killed
HANGING = 60.0  # seconds after which a handler that should not have waited at all is reported

GO = b"go\n"
PIECE = 1 << 16

Serve = Callable[["Handler", Plan], None]


class Failure(Exception):
    """What a handler raises when its plan wants it to."""


class Book:
    """How handlers ended, and what they should not have done. Two hubs write into it from their threads."""

    def __init__(self) -> None:
        self.ends: Counter[tuple[str, str]] = Counter()
        self.unexpected: list[str] = []
        self.hubs: set[Any] = set()
        self._writing = threading.Lock()

    def note(self, plan: Plan, error: BaseException | None) -> None:
        """The handler of a plan has ended, with that exception."""
        end = "done" if error is None else type(error).__name__
        with self._writing:
            self.ends[plan.kind, end] += 1
            self.hubs.add(hub.running_hub())
        if end not in KINDS[plan.kind][1]:
            self.complain(plan, f"ended with {error!r}")

    def complain(self, plan: Plan, message: str) -> None:
        """Something went wrong."""
        with self._writing:
            self.unexpected.append(f"server: {plan}: {message}")


class Handler(portside.StreamRequestHandler):
    """Does the server's part of the plan that its client announces."""

    timeout = HANGING
    book: Book

    def handle(self) -> None:
        line = self.rfile.readline()
        if not line.endswith(b"\n"):
            return  # a client that was gone at once
        plan = Plan.from_line(line)
        error: BaseException | None = None
        try:
            SERVES[plan.kind](self, plan)
        except BaseException as caught:
            error = caught
            raise
        finally:
            self.book.note(plan, error)

    def expect(self, plan: Plan, condition: bool, message: str) -> None:
        """Note a condition that does not hold, and go on."""
        if not condition:
            self.book.complain(plan, message)


def echo(handler: Handler, plan: Plan) -> None:
    for line in handler.rfile:
        handler.wfile.write(line)


def raw(handler: Handler, plan: Plan) -> None:
    """Receive in every way, answer in every way."""
    dice, sock = plan.dice("server"), handler.request
    handler.wfile.write(GO)
    checksum, left = 0, plan.size
    while left:
        piece = dice.choice(RECEIVES)(sock, min(left, int(2 ** dice.uniform(0, 17))))
        if not piece:
            break
        checksum = check(piece, checksum)
        left -= len(piece)
    dice.choice(SENDS)(sock, receipt(plan.size - left, checksum))


def _recv_into(sock: socket.socket, count: int) -> bytes:
    buffer = bytearray(count)
    return bytes(buffer[: sock.recv_into(buffer)])


def _peek_first(sock: socket.socket, count: int) -> bytes:
    seen = sock.recv(count, socket.MSG_PEEK)
    found = sock.recv(len(seen))
    return found if found == seen else b"?" * len(found)


RECEIVES: list[Callable[[Any, int], bytes]] = [
    lambda sock, count: sock.recv(count),
    lambda sock, count: sock.recv(count, socket.MSG_WAITALL),
    lambda sock, count: sock.recvmsg(count)[0],
    lambda sock, count: sock.recvfrom(count)[0],
    _recv_into,
    _peek_first,
]
SENDS: list[Callable[[Any, bytes], Any]] = [
    lambda sock, data: sock.sendall(data),
    lambda sock, data: sock.sendall(memoryview(data)),
    lambda sock, data: sock.sendmsg([data]),
    lambda sock, data: sock.send(data),
]


def files(handler: Handler, plan: Plan) -> None:
    """Read in every way until the client has closed its half; answer through a file with a buffer."""
    dice, rfile = plan.dice("server"), handler.rfile
    checksum = count = 0
    while piece := dice.choice(READS)(rfile, int(2 ** dice.uniform(0, 17))):
        checksum = check(piece, checksum)
        count += len(piece)
    with handler.request.makefile("wb") as wfile:
        wfile.write(receipt(count, checksum))


def _readinto(rfile: Any, count: int) -> bytes:
    buffer = bytearray(count)
    return bytes(buffer[: rfile.readinto(buffer)])


def _peek(rfile: Any, count: int) -> bytes:
    seen = bytes(rfile.peek())
    found = bytes(rfile.read(len(seen)))
    return found if found == seen else b"?" * len(found)


READS: list[Callable[[Any, int], bytes]] = [
    lambda rfile, count: rfile.read(count),
    lambda rfile, count: rfile.read1(count),
    lambda rfile, count: rfile.readline(count),
    lambda rfile, count: rfile.readline(),
    _readinto,
    _peek,
]


def flood(handler: Handler, plan: Plan) -> None:
    """Send to a client that reads slowly."""
    plan.dice("server").choice(FLOODS)(handler, plan.data())


def _in_pieces(handler: Handler, data: bytes) -> None:
    for start in range(0, len(data), 1000):
        handler.wfile.write(data[start : start + 1000])


def _as_file(handler: Handler, data: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        handler.request.sendfile(file)


FLOODS: list[Callable[[Handler, bytes], Any]] = [
    lambda handler, data: handler.wfile.write(data),
    lambda handler, data: handler.request.sendall(data),
    _in_pieces,
    _as_file,
]


def relay(handler: Handler, plan: Plan) -> None:
    """Be a client of this server: what the client says goes there, what is answered comes back."""
    with GreenSocket(handler.request.family) as upstream:
        upstream.connect(handler.request.getsockname())
        upstream.sendall(Plan(**{**vars(plan), "kind": "echo"}).line())
        back = portside.spawn(_pump, upstream.recv, handler.request.sendall)
        _pump(handler.rfile.read1, upstream.sendall)
        upstream.shutdown(socket.SHUT_WR)
        back.result(HANGING)


def _pump(receive: Callable[[int], bytes], send: Callable[[bytes], Any]) -> None:
    while piece := receive(PIECE):
        send(piece)


def queue(handler: Handler, plan: Plan) -> None:
    """Pass the lines through tasks: one reads, one writes, and a bounded queue is between them."""
    lines: portside.Queue[bytes] = portside.Queue(4)
    finished = portside.Event()

    def write() -> None:
        for line in iter(lines.get, b""):
            handler.wfile.write(line)
        finished.set()

    writer = portside.spawn(write)
    for line in handler.rfile:
        lines.put(line)
    lines.put(b"")
    handler.expect(plan, finished.wait(HANGING), "the writer has not finished")
    writer.result(HANGING)


def silence(handler: Handler, plan: Plan) -> None:
    """Lose patience, in one of three ways."""
    if plan.seed % 3 == 0:
        handler.request.settimeout(PATIENCE)
        _expect_timeout(handler, plan)
        handler.request.settimeout(HANGING)
    elif plan.seed % 3 == 1:
        with portside.timeout(HANGING), portside.timeout(PATIENCE):
            _expect_timeout(handler, plan)
    else:
        portside.sleep(PATIENCE)
    handler.wfile.write(b"enough\n")


def _expect_timeout(handler: Handler, plan: Plan) -> None:
    with contextlib.suppress(TimeoutError):
        handler.expect(plan, False, f"read {handler.rfile.readline()!r} from a silent client")


def fail(handler: Handler, plan: Plan) -> None:
    handler.wfile.write(handler.rfile.readline())
    raise Failure(plan.number)


def kill(handler: Handler, plan: Plan) -> None:
    """Wait in vain, until a task of this handler's own kills it."""
    me = hub.current_task()
    portside.spawn(_kill_soon, me, plan.seed % 2)
    WAITS[plan.seed % len(WAITS)](handler)
    handler.expect(plan, False, "survived")


def _kill_soon(task: Any, wait_first: int) -> None:
    if wait_first:
        portside.sleep(BEFORE_THE_KILL)
    task.kill()


WAITS: list[Callable[[Handler], Any]] = [
    lambda handler: handler.rfile.readline(),
    lambda handler: handler.rfile.read(),
    lambda handler: handler.request.recv(PIECE),
    lambda handler: portside.sleep(HANGING),
    lambda handler: portside.Event().wait(),
    lambda handler: handler.wfile.write(bytes(1 << 25)),  # more than any socket's buffers hold
]

SERVES: dict[str, Serve] = {
    "echo": echo,
    "talk": echo,
    "raw": raw,
    "files": files,
    "flood": flood,
    "relay": relay,
    "queue": queue,
    "silence": silence,
    "reset": echo,
    "leave": echo,
    "fail": fail,
    "kill": kill,
}
