"""The events: one frozen dataclass each, named for what happened, in the past tense.

An event class carries its own subscribers, so that the sender's check is one attribute:

    if ConnectionOpened.subscribers:
        emit(ConnectionOpened(server=self, client_address=address))
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol


class CloseReason(StrEnum):
    """Why a connection ended."""

    DONE = "done"  # the handler returned
    CLIENT_LEFT = "client left"  # reset or broken pipe while the handler was at work
    TIMED_OUT = "timed out"  # a deadline of the handler's passed
    BAD_INPUT = "bad input"  # the client broke the framing it was promised to keep
    FAILED = "failed"  # the handler raised, or its process died
    CUT = "cut"  # the drain's deadline passed


class RefusalReason(StrEnum):
    """Why a connection was turned away before a handler saw it."""

    VERIFY_REQUEST = "verify_request"  # the hook said no
    DESCRIPTORS = "descriptors"  # the process has none left for it
    UNTRUSTED = "untrusted"  # it is no proxy that may say for whom it comes, and has to be, or does it
    CONNECTIONS = "connections"  # as many are open as `Limits.connections` allows
    PER_HOST = "per host"  # as many are open from its host as `Limits.per_host` allows
    RATE = "rate"  # its host has come, or sent datagrams, too often of late
    HANDSHAKES = "handshakes"  # it had the oldest of too many handshakes, and made room
    DENIED = "denied"  # `Access` keeps its network, or its user, out
    BANNED = "banned"  # its host is banned for a while


class ProcessRole(StrEnum):
    """What a child process was for."""

    HANDLER = "handler"  # one request of the forks engine
    WORKER = "worker"  # a worker of a service
    ADMIN = "admin"  # the admin endpoint of a service with workers


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened at a server.

    Attributes:
        server: the server object it happened at.
    """

    subscribers: ClassVar[tuple[Callable[[Any], None], ...]] = ()

    server: object

    def __init_subclass__(cls) -> None:
        cls.subscribers = ()  # each type has its own


@dataclass(frozen=True, kw_only=True)
class ServerStarted(Event):
    """`serve_forever` begins to accept at `address` (as the socket module writes addresses)."""

    address: object


@dataclass(frozen=True, kw_only=True)
class ServerStopped(Event):
    """`serve_forever` has left its loop."""

    address: object


@dataclass(frozen=True, kw_only=True)
class ConnectionOpened(Event):
    """A client was accepted; no hook has seen it yet."""

    client_address: object


@dataclass(frozen=True, kw_only=True)
class ConnectionClosed(Event):
    """A connection that was opened has ended.

    Attributes:
        bytes_in: payload bytes received, or None where the kernel does not tell (it does for TCP on Linux). Those that
            wait unread are among them, except with green connections, which count by themselves.
        bytes_out: payload bytes sent, or None likewise.
        seconds: from accept to close.
        reason: why it ended.
        error: the exception behind the reason, where there is one.
    """

    client_address: object
    bytes_in: int | None
    bytes_out: int | None
    seconds: float
    reason: CloseReason
    error: BaseException | None = None


@dataclass(frozen=True, kw_only=True)
class ConnectionRefused(Event):
    """A client was turned away before a handler saw it."""

    client_address: object
    reason: RefusalReason


@dataclass(frozen=True, kw_only=True)
class AcceptPaused(Event):
    """The server does not accept for `seconds`, because of `error`; clients wait in the system's queue."""

    error: BaseException
    seconds: float


@dataclass(frozen=True, kw_only=True)
class AcceptResumed(Event):
    """The first accept after a pause succeeded."""


@dataclass(frozen=True, kw_only=True)
class HandlerFailed(Event):
    """A handler raised `error`: a bug in the handler, not a client that left."""

    client_address: object
    error: BaseException


@dataclass(frozen=True, kw_only=True)
class HubBlocked(Event):
    """A green handler has kept the thread for `seconds` without giving way: everybody else waits, and goes on waiting.

    Told once for each time, from another thread, while the handler is still at it.

    Attributes:
        stack: where it is, as a traceback writes it, the innermost call last.
    """

    seconds: float
    stack: str


@dataclass(frozen=True, kw_only=True)
class DatagramTruncated(Event):
    """A datagram was longer than `max_packet_size` bytes (`limit`); its handler sees only its beginning."""

    client_address: object
    limit: int


@dataclass(frozen=True, kw_only=True)
class DatagramUnsent(Event):
    """An answer could not be sent, and its handler is through: green servers send the answers of a batch together."""

    client_address: object
    error: OSError


@dataclass(frozen=True, kw_only=True)
class DrainStarted(Event):
    """No client is accepted any more; `running` handlers have `seconds` to finish."""

    running: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class DrainFinished(Event):
    """The drain is over: `cut` connections were ended by it, `abandoned` handlers still run."""

    cut: int
    abandoned: int


@dataclass(frozen=True, kw_only=True)
class CertificateReloaded(Event):
    """New TLS handshakes use what the certificates' files hold now; `server` is None where nobody said for whom."""


@dataclass(frozen=True, kw_only=True)
class CertificateRejected(Event):
    """The certificates' files have changed and cannot be used: the ones before stay in use. Told once a change.

    Attributes:
        error: what is wrong with them; between two files of a pair that are renewed one after the other, that the key
            does not fit.
    """

    error: Exception


@dataclass(frozen=True, kw_only=True)
class WorkerExited(Event):
    """A child process ended in another way than by returning.

    Attributes:
        pid: its process id.
        exit_code: its exit status, or the negated number of the signal that killed it.
        role: what it was: the process of one handler, or a worker of a service (whose supervisor is `server`).
    """

    pid: int
    exit_code: int
    role: ProcessRole = ProcessRole.HANDLER


@dataclass(frozen=True, kw_only=True)
class WorkerStarted(Event):
    """A worker was forked, and is about to load its handler. `server` of this and the following is the supervisor.

    Attributes:
        pid: its process id.
        slot: its place among the workers, from 0 on; a successor takes the place of its predecessor.
    """

    pid: int
    slot: int


@dataclass(frozen=True, kw_only=True)
class WorkerReady(Event):
    """A worker accepts at every endpoint, `seconds` after it was forked."""

    pid: int
    slot: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class WorkerFailed(Event):
    """A worker could not start, for the `reason` that it gives."""

    pid: int
    slot: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class WorkerRestarted(Event):
    """The place of a worker that has gone unasked is filled again after `seconds`."""

    slot: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class WorkerWorn(Event):
    """A worker has had its share of connections, or of memory (the `reason`), and is replaced by a fresh one."""

    pid: int
    slot: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class ReloadStarted(Event):
    """So many `workers` are replaced, one by one."""

    workers: int


@dataclass(frozen=True, kw_only=True)
class ReloadFinished(Event):
    """All workers are replaced, `seconds` after the reload began; the old ones may still drain."""

    seconds: float


@dataclass(frozen=True, kw_only=True)
class ReloadFailed(Event):
    """A new worker could not start, because of `error`: those that were not replaced yet go on."""

    error: str


@dataclass(frozen=True, kw_only=True)
class HandOverStarted(Event):
    """A new version of the program was started, as process `pid`, with the same listeners."""

    pid: int


@dataclass(frozen=True, kw_only=True)
class HandOverFinished(Event):
    """The new version, process `pid`, has taken over, and the old one retires."""

    pid: int


@dataclass(frozen=True, kw_only=True)
class HandOverFailed(Event):
    """The new version, process `pid`, has not taken over, because of `error`; the old one goes on."""

    pid: int
    error: str


class HeaderLookup(Protocol):
    """The header fields of a request, as far as a subscriber needs them; `http.client.HTTPMessage` is one."""

    def get(self, name: str, /) -> str | None:
        """The field's value, whatever the case of its name; None where the client sent none."""


@dataclass(frozen=True, kw_only=True)
class RequestServed(Event):
    """An HTTP request was answered.

    Attributes:
        client_address: who asked.
        request_line: what was asked, as the client wrote it; empty where no line could be read.
        status: the answer's status.
        bytes_out: bytes of the answer's body that were sent, without head and chunk sizes; None where nobody counts.
        seconds: from the request's first line to the end of its answer.
        headers: the request's header fields; a lookup costs nothing before it is made.
    """

    client_address: object
    request_line: str
    status: int
    bytes_out: int | None
    seconds: float
    headers: HeaderLookup


@dataclass(frozen=True, kw_only=True)
class ScriptFailed(Event):
    """A CGI script did not end well.

    Attributes:
        client_address: who asked for it.
        script: its path in the URL.
        exit_code: its exit status, or the negated number of the signal that killed it; None for one that could not
            be started.
        reason: what was wrong, in words: a deadline that passed, an answer that is none; empty where only the exit
            status tells.
        errors: the end of what it wrote to its standard error.
    """

    client_address: object
    script: str
    exit_code: int | None
    reason: str
    errors: str
