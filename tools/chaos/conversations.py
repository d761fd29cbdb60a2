"""Conversations of a client, each a generator that is resumed when what it waits for has come, in one epoll loop."""

import heapq
import itertools
import select
import socket
import ssl
import time
from collections.abc import Generator
from dataclasses import dataclass

PATIENCE = 60.0  # seconds without any progress after which a conversation counts as lost; only what hangs takes as long
BIND_ADDRESS_NO_PORT = 24  # Linux ip(7): the port is chosen in connect(), so that each destination has all of them
CHUNK = 65_536  # bytes that a client reads at once
PATTERN = b"0123456789abcdef"  # what a bulk answer is made of

# What a conversation waits for: an epoll mask, or some seconds.
Steps = Generator[int | float, None, None]


class Lost(Exception):
    """An answer that did not come, or not as it should have been."""


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How normal clients behave.

    Attributes:
        port: where the service listens, on 127.0.0.1.
        hosts: the first three numbers of the clients' addresses; there are 250 of them, taken in turn.
        exchanges: questions in a conversation, from 1 to so many; 0 for as long as it is let.
        pause: seconds between two questions.
        bulk: bytes of one more answer, which is read slowly; 0 for none.
        bulk_pause: seconds between two reads of it.
        tls: the conversation is encrypted.
    """

    port: int
    hosts: str = "127.1.0"
    exchanges: int = 5
    pause: float = 0.0
    bulk: int = 0
    bulk_pause: float = 0.05
    tls: bool = False


def source(hosts: str, number: int) -> tuple[str, int]:
    """A client's own address: one of 250."""
    return f"{hosts}.{number % 250 + 1}", 0


class Conversation:
    """One connection from its beginning to its end.

    Args:
        manner: how the client behaves.
        number: which it is; its questions are its own.

    Attributes:
        pid: the process that has greeted; 0 before.
        latencies: seconds that each answer took, the greeting included.
        stage: what is being waited for.
        began, moved: when it began, and when it last went on, in seconds.
        watched: the loop knows its descriptor.
        leaving: a client that stays is to go after its next answer.
    """

    def __init__(self, manner: Manner, number: int) -> None:
        self.manner = manner
        self.number = number
        self.began = self.moved = time.monotonic()
        self.watched = False
        self.pid = 0
        self.stage = "connect"
        self.latencies: list[float] = []
        self.leaving = False
        self._heard = self._taken = b""
        self.socket = socket.socket()
        self.socket.setblocking(False)

    def run(self) -> Steps:
        """The whole of it; raises `Lost` or OSError when something is lost."""
        yield from self._connect()
        yield from self._greet()
        wanted = 1 + self.number % self.manner.exchanges if self.manner.exchanges else 0
        for turn in itertools.count(1):
            yield from self._exchange(turn)
            if turn == wanted or (self.leaving and not wanted):
                break
            if self.manner.pause:
                yield self.manner.pause
        if self.manner.bulk:
            yield from self._read_slowly()
        yield from self._leave()

    def _connect(self) -> Steps:
        self.socket.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.manner.bulk:  # so that its reading slowly is felt
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHUNK)
        self.socket.bind(source(self.manner.hosts, self.number))
        if self.socket.connect_ex(("127.0.0.1", self.manner.port)):
            yield select.EPOLLOUT
            if error := self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, "connect")
        if self.manner.tls:
            self.stage = "handshake"
            self.socket = _context().wrap_socket(self.socket, do_handshake_on_connect=False)
            yield from self._handshake(self.socket)

    @staticmethod
    def _handshake(encrypted: ssl.SSLSocket) -> Steps:
        while True:
            try:
                return encrypted.do_handshake()
            except ssl.SSLWantReadError:
                yield select.EPOLLIN
            except ssl.SSLWantWriteError:
                yield select.EPOLLOUT

    def _greet(self) -> Steps:
        self.stage = "greeting"
        yield from self._line()
        self.pid = int(self._taken)
        self.latencies.append(time.monotonic() - self.began)

    def _exchange(self, turn: int) -> Steps:
        self.stage = f"answer {turn}"
        question = b"question %d of client %d, please\n" % (turn, self.number)
        asked = time.monotonic()
        self._say(question)
        yield from self._line()
        if self._taken != question.upper():
            raise Lost(f"the answer to {question!r} was {self._taken!r}")
        self.latencies.append(time.monotonic() - asked)

    def _read_slowly(self) -> Steps:
        self.stage = "bulk"
        self._say(b"BULK %d\n" % self.manner.bulk)
        position = 0
        while position < self.manner.bulk:
            yield from self._more()
            start = position % len(PATTERN)
            if self._heard != (PATTERN * (len(self._heard) // len(PATTERN) + 2))[start : start + len(self._heard)]:
                raise Lost(f"the bulk answer is wrong behind byte {position}")
            position, self._heard = position + len(self._heard), b""
            yield self.manner.bulk_pause

    def _leave(self) -> Steps:
        self.stage = "end"
        if self.manner.tls:
            return
        self.socket.shutdown(socket.SHUT_WR)
        yield select.EPOLLIN
        if rest := self._heard + self.socket.recv(CHUNK):
            raise Lost(f"behind the last answer came {rest!r}")

    def _say(self, text: bytes) -> None:
        """Questions are short: they go out whole, or the connection is broken."""
        self.socket.send(text)

    def _line(self) -> Steps:
        while b"\n" not in self._heard:
            yield from self._more()
        line, self._heard = self._heard.split(b"\n", 1)
        self._taken = line + b"\n"

    def _more(self) -> Steps:
        while True:
            try:
                received = self.socket.recv(CHUNK)
                break
            except (BlockingIOError, ssl.SSLWantReadError):
                yield select.EPOLLIN
        if not received:
            raise Lost("the connection ended")
        self._heard += received


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # who is there is not in question here
    return context


class Loop:
    """Resumes conversations; `finished` is called with each that has ended, and how."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._waiting: dict[int, tuple[Conversation, Steps]] = {}
        self._deadlines: list[tuple[float, int, int]] = []
        self._naps: list[tuple[float, int, Conversation, Steps]] = []
        self._order = itertools.count()
        self._done: list[tuple[Conversation, Exception | None]] = []
        self.open: set[Conversation] = set()

    def watch(self, descriptor: int) -> None:
        """Wake up for this one, too."""
        self._epoll.register(descriptor, select.EPOLLIN)

    def ignore(self, descriptor: int) -> None:
        """Do so no more."""
        self._epoll.unregister(descriptor)

    def begin(self, conversation: Conversation) -> None:
        """Have one more."""
        self.open.add(conversation)
        self._resume(conversation, conversation.run())

    def turn(self, seconds: float) -> list[tuple[Conversation, Exception | None]]:
        """Wait for so long at most; returns who has ended, and what was lost."""
        now = time.monotonic()
        if self._naps:
            seconds = min(seconds, self._naps[0][0] - now)
        for descriptor, _ in self._epoll.poll(max(0.0, seconds)):
            if descriptor in self._waiting:
                self._resume(*self._waiting.pop(descriptor))
        self._wake(time.monotonic())
        self._expire(time.monotonic())
        done, self._done = self._done, []
        return done

    def _wake(self, now: float) -> None:
        while self._naps and self._naps[0][0] <= now:
            _, _, conversation, steps = heapq.heappop(self._naps)
            self._resume(conversation, steps)

    def _expire(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            _, number, descriptor = heapq.heappop(self._deadlines)
            conversation, _ = self._waiting.get(descriptor, (None, None))
            if conversation is None or conversation.number != number:
                continue
            if conversation.moved + PATIENCE > now:
                heapq.heappush(self._deadlines, (conversation.moved + PATIENCE, number, descriptor))
            else:
                del self._waiting[descriptor]
                self._end(conversation, Lost("nothing came any more"))

    def _resume(self, conversation: Conversation, steps: Steps) -> None:
        conversation.moved = time.monotonic()
        try:
            wanted = next(steps)
        except StopIteration:
            self._end(conversation, None)
        except (OSError, Lost, ValueError) as error:
            self._end(conversation, error)
        else:
            self._park(conversation, steps, wanted)

    def _park(self, conversation: Conversation, steps: Steps, wanted: int | float) -> None:
        now = conversation.moved
        if isinstance(wanted, float):
            heapq.heappush(self._naps, (now + wanted, next(self._order), conversation, steps))
            return
        descriptor = conversation.socket.fileno()
        if conversation.watched:
            self._epoll.modify(descriptor, wanted | select.EPOLLONESHOT)
        else:
            conversation.watched = True
            self._epoll.register(descriptor, wanted | select.EPOLLONESHOT)
            heapq.heappush(self._deadlines, (now + PATIENCE, conversation.number, descriptor))
        self._waiting[descriptor] = conversation, steps

    def _end(self, conversation: Conversation, error: Exception | None) -> None:
        self.open.discard(conversation)
        conversation.socket.close()
        self._done.append((conversation, error))
