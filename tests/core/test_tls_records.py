"""TLS on green sockets, record by record: what comes together, in pieces, broken, or after the goodbye."""

import hashlib
import select
import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from portside.core import hub
from tests.conftest import DEADLINE
from tests.core.test_tls import (
    Blocking,
    Green,
    Identity,
    Tls,
    World,
    certificate,
    identity,
    made_for,
    newest,
    play,
    read_all,
    secured,
    spawn,
    talk,
    until,
    world,
)
from tests.engines.instruments import BULK, PIECE, pattern

__all__ = ["certificate", "identity", "newest", "world"]  # fixtures

pytestmark = pytest.mark.usefixtures("no_leaks")


class ByHand:
    """A client's TLS whose records are a test's to send.

    Args:
        sock: connected to a server of TLS; blocking.
        context: the client's.
    """

    def __init__(self, sock: Any, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self._do(self.tls.do_handshake)
        sock.sendall(self._outgoing.read())

    def record(self, data: bytes) -> bytes:
        """What is to be sent for `data`."""
        self.tls.write(data)
        return self._outgoing.read()

    def goodbye(self) -> bytes:
        """What is to be sent at the end of TLS."""
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self._outgoing.read()

    def read(self, size: int) -> bytes:
        """Receive so many bytes."""
        data = b""
        while len(data) < size:
            data += self._do(partial(self.tls.read, size - len(data)))
        return data

    def _do(self, operation: Any) -> Any:
        while True:
            try:
                return operation()
            except ssl.SSLWantReadError:
                if self._outgoing.pending:
                    self._sock.sendall(self._outgoing.read())
                self._incoming.write(self._sock.recv(65536))


def served(world: World, identity: Identity, server: Any, client: Any) -> Any:
    """What a side of ours returned, whose client sends records by hand."""

    def serve(sock: Any) -> Any:
        with identity.serve(sock) as tls:
            return server(tls)

    return play(world, serve, lambda sock: client(sock, ByHand(sock, identity.client)))[0]


def test_records_that_come_together_are_all_there(world: World, identity: Identity) -> None:
    lines = [b"line %d\n" % number for number in range(40)]

    def server(tls: Tls) -> tuple[Any, ...]:
        first, left = tls.recv(4), tls.pending()
        rest = tls.recv(left)
        with tls.makefile("rb") as file:
            return first, rest, [file.readline() for _ in lines[1:]]

    def client(sock: Any, by_hand: ByHand) -> None:
        sock.sendall(b"".join(by_hand.record(line) for line in lines))
        sock.recv(1)

    assert served(world, identity, server, client) == (b"line", b" 0\n", lines[1:])


@pytest.mark.parametrize("world", [Green, Blocking], indirect=False)
def test_pending_counts_what_was_received_ahead(world: type[World], newest: Identity) -> None:
    def server(tls: Tls) -> tuple[Any, ...]:
        with tls.makefile("rb") as file:
            first = file.read(1)  # and, in the same receive, a record more
            ahead = file.peek()
        return first + ahead, tls.pending()

    def client(sock: Any, by_hand: ByHand) -> None:
        sock.sendall(by_hand.record(bytes(PIECE)) + by_hand.record(b"more"))
        with suppress(ConnectionResetError):  # by a server that has not received everything
            sock.recv(1)

    data, pending = served(world(), newest, server, client)
    assert len(data) + pending in (PIECE, PIECE + 4, 16_384)


def test_records_that_come_byte_by_byte(world: World, identity: Identity) -> None:
    def server(tls: Tls) -> bytes:
        with tls.makefile("rb") as file:
            line: bytes = file.readline()
        return line

    def client(sock: Any, by_hand: ByHand) -> None:
        for byte in by_hand.record(b"hel") + by_hand.record(b"lo\n"):
            sock.sendall(bytes([byte]))
            hub.give_way()
        sock.recv(1)

    assert served(world, identity, server, client) == b"hello\n"


def test_broken_record_ends_the_connection(world: World, newest: Identity) -> None:
    def server(tls: Tls) -> Any:
        with pytest.raises(ssl.SSLError) as caught:
            tls.recv(100)
        return caught.value.reason

    def client(sock: Any, by_hand: ByHand) -> None:
        record = bytearray(by_hand.record(b"hello"))
        record[-1] ^= 1
        sock.sendall(record)
        with pytest.raises(ssl.SSLError, match="ALERT"):
            by_hand.read(1)

    assert "BAD_RECORD_MAC" in served(world, newest, server, client)


def test_broken_record_costs_nothing_that_came_before(newest: Identity) -> None:
    def server(tls: Tls) -> Any:
        with tls.makefile("rb") as file:
            line = file.readline()
            with pytest.raises(ssl.SSLError):
                file.readline()
        return line

    def client(sock: Any, by_hand: ByHand) -> None:
        broken = bytearray(by_hand.record(b"hello\n") + by_hand.record(b"x"))
        broken[-1] ^= 1
        sock.sendall(broken)
        sock.recv(1)

    assert served(Green(), newest, server, client) == b"hello\n"


@pytest.mark.parametrize("ahead", [False, True], ids=["recv", "file"])
def test_what_comes_right_after_the_goodbye_is_no_tls(world: World, identity: Identity, ahead: bool) -> None:
    if ahead and not isinstance(world, Green):
        pytest.skip("the standard library's file would be in the way")

    def server(tls: Tls) -> Any:
        with tls.makefile("rb") as file:
            secret = file.readline() if ahead else tls.recv(10)
        tls.unwrap()
        with tls.makefile("rb") as file:
            found = (secret, tls.recv(3) if ahead else b"", file.readline())
        tls.sendall(b"too")
        return found

    def client(sock: Any, by_hand: ByHand) -> None:
        sock.sendall(by_hand.record(b"secret\n") + by_hand.goodbye() + b"in the open\n")
        while not sock.recv(100).endswith(b"too"):
            pass

    expected = (b"secret\n", b"in " if ahead else b"", b"the open\n" if ahead else b"in the open\n")
    assert served(world, identity, server, client) == expected


def test_goodbye_is_an_end(world: World, identity: Identity) -> None:
    def server(tls: Tls) -> Any:
        with tls.makefile("rb") as file:
            found = file.read(), file.read(), tls.recv(1)
        tls.sendall(b"bye")
        return found

    def client(sock: Any, by_hand: ByHand) -> bytes:
        sock.sendall(by_hand.record(b"hello") + by_hand.goodbye())
        return by_hand.read(3)

    assert served(world, identity, server, client) == (b"hello", b"", b"")


def test_who_does_not_wait_finds_in_the_kernel_what_it_has_not_read(world: World, newest: Identity) -> None:
    sent = threading.Event()

    def server(tls: Tls) -> Any:
        while not sent.is_set():
            hub.sleep(0.001)
        tls.settimeout(0)
        first = tls.recv(100)
        waiting = bool(select.select([tls], [], [], 0)[0]) or tls.pending()
        second = tls.recv(100)
        with pytest.raises(ssl.SSLWantReadError):
            tls.recv(1)
        return first, bool(waiting), second

    def client(sock: Any, by_hand: ByHand) -> None:
        sock.sendall(by_hand.record(b"one") + by_hand.record(b"two"))
        sent.set()
        sock.recv(1)

    assert served(world, newest, server, client) == (b"one", True, b"two")


def test_write_that_does_not_wait_is_offered_again(world: World, newest: Identity) -> None:
    data = pattern(BULK)

    def server(tls: Tls) -> int:
        tls.settimeout(0)
        refused = done = 0
        while done < len(data):
            try:
                done += tls.send(data[done : done + PIECE])
            except ssl.SSLWantWriteError:
                refused += 1
                hub.sleep(0.001)
        tls.settimeout(DEADLINE)
        return refused

    def client(tls: Tls) -> bytes:
        return hashlib.sha256(read_all(tls, BULK)).digest()

    refused, digest = play(world, *talk(newest, server, client))
    assert refused
    assert digest == hashlib.sha256(data).digest()


def test_threads_read_and_write_one_connection(newest: Identity) -> None:
    def both(tls: Tls) -> bytes:
        sending = threading.Thread(target=tls.sendall, args=(pattern(BULK),))
        sending.start()
        try:
            return hashlib.sha256(read_all(tls, BULK)).digest()
        finally:
            sending.join(DEADLINE)

    expected = hashlib.sha256(pattern(BULK)).digest()
    assert play(Blocking(), *talk(newest, both, both)) == (expected, expected)


def test_task_that_is_killed_in_the_line_of_writers_holds_nobody_up(newest: Identity) -> None:
    def server(tls: Tls) -> None:
        first, second, third = [spawn(partial(tls.sendall, bytes(BULK))) for _ in range(3)]
        while not third.is_parked:
            hub.give_way()
        second.kill()
        second.join(DEADLINE)
        first.result(DEADLINE)
        third.result(DEADLINE)

    _, data = play(Green(), *talk(newest, server, lambda tls: len(read_all(tls, 2 * BULK))))
    assert data == 2 * BULK


def test_peer_is_asked_for_its_certificate_later(world: World, certificate: Path) -> None:
    both = made_for(certificate, ssl.TLSVersion.TLSv1_3)
    both.server.load_verify_locations(certificate)
    both.server.verify_mode = ssl.CERT_REQUIRED
    both.client.load_cert_chain(certificate)
    both.server.post_handshake_auth = both.client.post_handshake_auth = True

    def server(tls: Tls) -> Any:
        before = tls.getpeercert()
        tls.verify_client_post_handshake()
        tls.sendall(b"who are you?")
        assert tls.recv(2) == b"me"
        return before, tls.getpeercert()["subject"]

    def client(tls: Tls) -> None:
        assert read_all(tls, 12) == b"who are you?"
        tls.sendall(b"me")
        tls.recv(1)

    assert play(world, *talk(both, server, client))[0] == (None, ((("commonName", "localhost"),),))


@pytest.mark.parametrize("command", [b"k\n", b"K\n"], ids=["told", "asked"])
def test_keys_change(newest: Identity, command: bytes) -> None:
    with secured(newest) as (stand, _):
        host, port = stand.server.server_address
        words = ["openssl", "s_client", "-tls1_3", "-connect", f"{host}:{port}"]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as it:
            assert it.stdin is not None
            assert it.stdout is not None
            for question, answer in ((b"before\n", b"BEFORE\n"), (command, b"KEYUPDATE\n"), (b"after\n", b"AFTER\n")):
                it.stdin.write(question)
                it.stdin.flush()
                while it.stdout.readline() != answer:
                    pass
            it.terminate()


def test_client_that_leaves_right_after_its_handshake(world: World, newest: Identity) -> None:
    def server(sock: Any) -> bytes:
        with newest.serve(sock) as tls:
            data: bytes = tls.recv(1)
        return data

    def client(sock: Any) -> None:
        ByHand(sock, newest.client)
        sock.shutdown(socket.SHUT_RDWR)

    assert play(world, server, client, socket.AF_INET)[0] == b""


@pytest.mark.parametrize("world", [Green, Blocking], indirect=False)
def test_client_that_reads_nothing_resets_nothing(world: type[World], newest: Identity) -> None:
    """Tickets that it leaves unread would have its kernel end the connection with a reset."""
    received, left = threading.Event(), threading.Event()

    def server(tls: Tls) -> tuple[bytes, bytes]:
        first = tls.recv(4)  # tickets are made now
        received.set()
        until(left)
        return first, tls.recv(4)

    def client(sock: Any, by_hand: ByHand) -> None:
        sock.sendall(by_hand.record(b"word"))
        until(received)
        sock.close()
        left.set()

    assert served(world(), newest, server, client) == (b"word", b"")


def test_tickets_come_with_the_first_answer(newest: Identity) -> None:
    def client(tls: Tls) -> bool:
        tls.sendall(b"?")
        return tls.recv(1) == b"!" and bool(tls.session.has_ticket)

    def server(tls: Tls) -> None:
        tls.recv(1)
        tls.sendall(b"!")

    assert play(Green(), *talk(newest, server, client))[1]
