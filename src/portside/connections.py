"""What is open: one record for each accepted connection of a server, for its drain and its telemetry.

A record holds its socket weakly: a program that overrides every closing hook and never calls ours leaks nothing here.
What the kernel knows of a connection (bytes, when the client last sent) is asked of the kernel, and only when somebody
wants to know: no read or write of a handler's pays for it.
"""

import os
import select
import socket
import struct
import time
import weakref
from collections.abc import Callable
from typing import Any

from portside.addresses import plain_address
from portside.telemetry import CloseReason, ConnectionClosed
from portside.telemetry.tally import Tally

# struct tcp_info of linux/tcp.h, as far as it is of use here: the state (__u8 at byte 0), tcpi_last_data_sent and
# tcpi_last_data_recv (__u32 of milliseconds at 44 and 52), and the __u64 tcpi_bytes_received (at 128), tcpi_bytes_sent
# (200) and tcpi_bytes_retrans (208), and the __u32 tcpi_notsent_bytes (144).
_TCP_INFO = struct.Struct("=B43xI4xI72xQ8xI52xQQ")  # 216 bytes: Linux 4.19 and later

# A struct linger: closing throws away what was not sent, and resets the connection (socket(7)).
_NO_LINGER = struct.pack("@ii", 1, 0)

# Bytes of a struct timeval (sys/time.h).
_TIMEVAL = struct.calcsize("@ll")

# The states after the client's FIN, which the kernel counts as a byte received: FIN's sequence number.
_AFTER_FIN = frozenset({6, 8, 9, 11})  # TIME_WAIT, CLOSE_WAIT, LAST_ACK, CLOSING of net/tcp_states.h

# The state after both ends' FIN, and after a reset, which is no byte.
_CLOSE = 7


# What is known of a connection that was closed before anybody asked: bytes both ways, hung up, has a deadline.
_UNKNOWN: tuple[tuple[int | None, int | None], bool, bool] = ((None, None), False, False)


class Stalled(TimeoutError):
    """A client took nothing of what was written to it."""


class _Reference(weakref.ref[Any]):
    """A weak reference that remembers where its record is kept."""

    __slots__ = ("key",)
    key: int


class Connection:
    """One accepted connection.

    Attributes:
        client_address: as `get_request` gave it, or a gate has found out since.
        host: what it counts for where connections are counted by host; None where they are not.
        opened: when it was accepted, on the monotonic clock.
        gone: whoever was to be told has been told that it is closed, or that nobody holds it any more.
        reason: why it will have ended, as far as is known now.
        idle: its handler has said that it only waits for another request; see `portside.drain`.
        ending: a drain is under way, and its handler should begin nothing new.
        error: the exception behind the reason.
        proxy: what a proxy has said of the client, a `portside.policy.proxy_protocol.Proxied`; None where none has.
    """

    __slots__ = (
        "__weakref__",
        "_descriptor",
        "_inode",
        "_last",
        "_peer",
        "_request",
        "client_address",
        "ending",
        "error",
        "gone",
        "host",
        "idle",
        "opened",
        "proxy",
        "reason",
        "woken",
    )

    def __init__(self, request: Any, client_address: object, gone: Callable[[Any], object] | None = None) -> None:
        self._request = reference = _Reference(request, gone)
        reference.key = id(request)
        self._descriptor = _descriptor(request)
        self._peer = self.client_address = client_address
        self._inode = None if client_address else _inode(self._descriptor)
        self.host: int | None = None
        self.opened = time.monotonic()
        self.reason = CloseReason.DONE
        self.error: BaseException | None = None
        self.proxy: Any = None
        self.woken = self.idle = self.ending = self.gone = False
        self._last = _UNKNOWN

    def follow(self, request: Any, gone: Callable[[Any], object] | None = None) -> None:
        """Be the record of `request`, which leads to the same client as what it was the record of.

        Args:
            request: a socket, or what a program has made up in its place.
            gone: called with the weak reference when nobody knows `request` any more.
        """
        reference = _Reference(request, gone)
        reference.key = id(request)
        self._request, self._descriptor = reference, _descriptor(request)

    @property
    def key(self) -> int:
        """Where the record is kept: the identity of what `get_request` gave."""
        return self._request.key

    def blame(self, reason: CloseReason, error: BaseException | None = None) -> None:
        """Note why the connection ends; the first reason stays."""
        if self.reason is CloseReason.DONE:
            self.reason, self.error = reason, error

    def bytes_both_ways(self) -> tuple[int | None, int | None]:
        """Payload bytes received and sent so far; None where nobody tells.

        A green socket counts what went through it, which costs nothing to ask; of others the kernel is asked, which
        counts what waits to be read, too.
        """
        moved: tuple[int | None, int | None] | None = getattr(self._request(), "moved", None)
        return self.bytes_at_kernel() if moved is None else moved

    def bytes_at_kernel(self) -> tuple[int | None, int | None]:
        """The same as the kernel counts, which includes what the handler has not read yet."""
        info = self._tcp_info()
        if info is None:
            return self._last[0]
        state, _, _, received, unsent, sent, sent_again = info
        ended = state in _AFTER_FIN or (state == _CLOSE and self.reason is not CloseReason.CLIENT_LEFT)
        return received - ended, sent - sent_again + unsent

    def summary(self, server: object) -> ConnectionClosed:
        """The event that tells of the connection's end, as of now."""
        received, sent = self.bytes_both_ways()
        return ConnectionClosed(
            server=server,
            client_address=self.client_address,
            bytes_in=received,
            bytes_out=sent,
            seconds=time.monotonic() - self.opened,
            reason=self.reason,
            error=self.error,
        )

    def count(self, tally: Tally, request: Any) -> None:
        """Count the connection, which ends now; `request` is what it is the record of."""
        notes = tally.done if self.reason is CloseReason.DONE else tally.endings[self.reason._name_]
        told = getattr(request, "tell_moved", None)  # a green socket's
        if told is None or not told(notes, self.opened):
            notes.note(time.monotonic() - self.opened, *self.bytes_both_ways())

    def raised(self, error: BaseException) -> bool:
        """True when an error came out of a method of the connection's own socket, and not of another one's."""
        request, here = self._request(), error.__traceback__
        if getattr(request, "tls_failure", None) is error:  # compiled methods leave no frame
            return True
        while here is not None:
            if request is not None and here.tb_frame.f_locals.get("self") is request:
                return True
            here = here.tb_next
        return False

    def settle(self, *, lost: bool) -> None:
        """Ask the kernel for the last time: the connection is about to be closed, by other hands than the server's.

        Args:
            lost: it is known already that the client reset it.
        """
        self._last = (self.bytes_both_ways(), lost or self.hung_up(), self.has_deadline())

    def is_quiet(self, seconds: float) -> bool:
        """True when the client has sent nothing for `seconds`, or its socket does not tell."""
        info = self._tcp_info()
        return info is None or info[2] >= seconds * 1000

    def quiet_for(self) -> float | None:
        """Seconds since anything was sent or received; None where the kernel does not tell."""
        info = self._tcp_info()
        return None if info is None else min(info[1], info[2]) / 1000

    def hung_up(self) -> bool:
        """True when the connection is over in both directions: the client reset it, or it was cut."""
        if not self._is_open():
            return self._last[1]
        poller = select.poll()
        poller.register(self._descriptor, 0)  # POLLHUP and POLLERR are reported unasked
        return bool(poller.poll(0))

    def has_deadline(self) -> bool:
        """True when reads and writes have a deadline: `settimeout`, a handler's `timeout`, or an event loop's."""
        told: bool | None = getattr(self._request(), "has_deadline", None)
        if told is not None:  # a green socket, whose descriptor never blocks, tells by itself, closed or not
            return told
        if not self._is_open():
            return self._last[2]
        return not os.get_blocking(self._descriptor) or self.has_kernel_deadline()

    def has_kernel_deadline(self) -> bool:
        """True where a read has the kernel's own deadline (SO_RCVTIMEO), or a write whose client takes nothing."""
        return self._kernel_waits(socket.SO_RCVTIMEO) or (self._kernel_waits(socket.SO_SNDTIMEO) and self._is_stuffed())

    def stalled(self, error: BaseException) -> bool:
        """True when `error` came of a write that waited in vain, under `Limits.write_seconds`.

        After a read that took too long, or a deadline of the handler's own, the client may still be reading.
        """
        told: bool | None = getattr(self._request(), "stalled", None)
        return isinstance(error, Stalled) if told is None else told

    def forsake(self) -> None:
        """Have the close throw away what the client has not taken, which the kernel would keep for minutes."""
        borrowed = self._borrow()
        if borrowed is None:
            return
        try:
            borrowed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        except OSError:
            pass  # the client left first
        finally:
            borrowed.detach()

    def _kernel_waits(self, option: int) -> bool:
        """True where a wait has a time other than 0, and the socket blocks at all."""
        borrowed = self._borrow()
        if borrowed is None:
            return False
        try:
            waits = any(borrowed.getsockopt(socket.SOL_SOCKET, option, _TIMEVAL))
            return waits and os.get_blocking(self._descriptor)
        except OSError:
            return False
        finally:
            borrowed.detach()

    def _is_stuffed(self) -> bool:
        """True when the kernel has no room for more output."""
        poller = select.poll()
        poller.register(self._descriptor, select.POLLOUT)
        return not poller.poll(0)

    def end_input(self) -> None:
        """Let the handler read what has arrived, and then the end of the stream; it can still answer."""
        self.woken = True
        self._shut(socket.SHUT_RD)

    def cut(self) -> None:
        """End both directions: whatever the handler waits for on this connection, it waits no longer."""
        self.blame(CloseReason.CUT)
        self._shut(socket.SHUT_RDWR)

    def _shut(self, how: int) -> None:
        borrowed = self._borrow()
        if borrowed is None:
            return
        try:
            borrowed.shutdown(how)
        except OSError:
            pass  # the client left first
        finally:
            borrowed.detach()

    def _tcp_info(self) -> tuple[int, int, int, int, int, int, int] | None:
        request = self._request()
        if isinstance(request, socket.socket) and self._descriptor >= 0 and request.fileno() == self._descriptor:
            return _asked(request)  # which is what every connection is that nobody has wrapped, and costs no more
        borrowed = self._borrow()
        if borrowed is None:
            return None
        try:
            return _asked(borrowed)
        finally:
            borrowed.detach()

    def _borrow(self) -> socket.socket | None:
        """A plain socket over the connection's descriptor, to be detached again; None when that is closed.

        A handler may have wrapped the socket it was given (TLS in `setup()` detaches it and goes on with the same
        descriptor), so the descriptor is what counts, as long as it still leads to the same client.
        """
        try:
            return socket.socket(fileno=self._descriptor) if self._is_open() else None
        except OSError:
            return None

    def _is_open(self) -> bool:
        """True while the descriptor is this connection's; asks the system only where a program has detached it."""
        request = self._request()
        if request is None or self._descriptor < 0:
            return False
        return _descriptor(request) == self._descriptor or self._is_elsewhere()

    def _is_elsewhere(self) -> bool:
        """True when another object has taken the connection over, its descriptor with it."""
        if self._inode is not None:
            return self._inode == _inode(self._descriptor)
        try:
            borrowed = socket.socket(fileno=self._descriptor)
        except OSError:
            return False
        try:
            return bool(plain_address(borrowed.getpeername()) == plain_address(self._peer) != "")
        except OSError:
            return False
        finally:
            borrowed.detach()


class Connections:
    """The open connections of one server.

    Attributes:
        kind: what the records are.
        ending: a drain is under way, or about to be: whoever comes in yet begins nothing new after its first request.
        on_gone: called with each record that is taken out, in whatever thread that happens, even in the middle of
            anything: it must not wait, nor take a lock.
    """

    def __init__(self) -> None:
        self._open: dict[int, Connection] = {}
        self.kind: type[Connection] = Connection
        self.ending = False
        self.on_gone: Callable[[Connection], None] | None = None

    def __len__(self) -> int:
        return len(self._open)

    def add(self, request: Any, client_address: object) -> Connection | None:
        """Note a connection that was just accepted; returns its record, where it can have one."""
        try:
            record = self.kind(request, client_address, self._gone)
        except TypeError:  # what a program's get_request made up need not be a socket
            return None
        record.ending = self.ending
        self._open[id(request)] = record
        return record

    def _gone(self, reference: "_Reference") -> None:
        record = self._open.pop(reference.key, None)
        if record is not None and self.on_gone is not None:
            self.on_gone(record)

    def move(self, request: object, heir: Any, client_address: object = None) -> None:
        """Let the record of `request` follow `heir` from now on, which leads to the same client.

        Args:
            request: what has the record.
            heir: what gets it; may be the same.
            client_address: who the client has turned out to be; None for who it was.
        """
        record = self.get(request)
        if record is None:
            return
        if client_address is not None:
            record.client_address = client_address
        if heir is not request:
            record.follow(heir, self._gone)
            self._open[record.key] = record  # under both keys for a moment: a drain must not miss it
            self._open.pop(id(request), None)

    def clear(self) -> None:
        """Forget every record without closing anything: what a forked child does with its parent's."""
        self._open.clear()

    def get(self, request: object) -> Connection | None:
        """The record of `request`, if it is open."""
        return self._open.get(id(request))

    def pop(self, request: object) -> Connection | None:
        """Take the record of `request` out; None when it is out already."""
        record = self._open.pop(id(request), None)
        if record is not None and self.on_gone is not None:
            self.on_gone(record)
        return record

    def all(self) -> list[Connection]:
        """Every record, as of now."""
        return list(self._open.values())


def _inode(descriptor: int) -> tuple[int, int] | None:
    """By what a connection is known whose client has no address, as on Unix sockets; None where it is closed."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _asked(sock: socket.socket) -> tuple[int, int, int, int, int, int, int] | None:
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    except (AttributeError, OSError):
        return None  # no TCP, or no such option on this system
    return _TCP_INFO.unpack(info) if len(info) == _TCP_INFO.size else None


def _descriptor(request: Any) -> int:
    """The descriptor of a socket-like object; -1 for one that has none, or none any more."""
    try:
        return int(request.fileno())
    except (AttributeError, OSError, ValueError):
        return -1
