"""What stands in for the `socket` module in tasks: names, connections, pairs, listeners."""

import errno
import socket
import threading
from typing import Any

import pytest

from portside.core import hub, network
from portside.core.sockets import GreenSocket
from tests.conftest import DEADLINE

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_names_are_those_of_the_socket_module() -> None:
    assert [name for name in network.__all__ if name != "adopted" and not hasattr(socket, name)] == []


def test_connection_to_a_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def main() -> Any:
            with network.create_connection(("localhost", port), DEADLINE, ("127.0.0.1", 0)) as sock:
                return type(sock), sock.gettimeout(), sock.getsockname()[0], sock.getpeername()

        assert hub.run(main) == (GreenSocket, DEADLINE, "127.0.0.1", ("127.0.0.1", port))


def test_looking_a_name_up_lets_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answered = threading.Event(), threading.Event()
    real = socket.getaddrinfo

    def slow(host: Any, *arguments: Any) -> Any:
        if host == "slow.example":
            asked.set()
            assert answered.wait(DEADLINE)
            host = "127.0.0.1"
        return real(host, *arguments)

    def main() -> Any:
        looking = hub.get_hub().spawn(network.getaddrinfo, "slow.example", 80, 0, socket.SOCK_STREAM)
        while not asked.is_set():
            hub.sleep(0.001)
        answered.set()
        return looking.result(DEADLINE)[0][4]

    # The name server is played here; the first try, which only takes numbers, is the system's own.
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: real(*args) if args[-1] else slow(*args))
    assert hub.run(main) == ("127.0.0.1", 80)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", None])
def test_numbers_need_no_thread(host: str | None) -> None:
    before = threading.enumerate()
    found = hub.run(network.getaddrinfo, host, 80, 0, socket.SOCK_STREAM)
    assert found == socket.getaddrinfo(host, 80, 0, socket.SOCK_STREAM)
    assert threading.enumerate() == before


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_nobody_there() -> None:
    address = ("127.0.0.1", closed_port())
    with pytest.raises(ConnectionRefusedError):
        hub.run(network.create_connection, address)
    with pytest.raises(ExceptionGroup) as caught:
        hub.run(lambda: network.create_connection(address, all_errors=True))
    assert [type(error) for error in caught.value.exceptions] == [ConnectionRefusedError]


def test_no_such_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(socket.gaierror, match="not known"):
        hub.run(network.create_connection, ("no-such-name.invalid", 80))


def test_connecting_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        filling = []
        try:
            with pytest.raises(TimeoutError):
                for _ in range(10):  # until the queue of those who wait is full
                    filling.append(hub.run(network.create_connection, listener.getsockname(), 0.2))
        finally:
            for sock in filling:
                sock.close()


def test_pair_and_listener_are_green() -> None:
    def main() -> Any:
        one, other = network.socketpair()
        with one, other, network.create_server(("127.0.0.1", 0)) as listener:
            reading = hub.get_hub().spawn(one.recv, 10)
            other.sendall(b"hello")
            accepting = hub.get_hub().spawn(listener.accept)
            with network.create_connection(listener.getsockname()), accepting.result(DEADLINE)[0] as taken:
                return reading.result(DEADLINE), {type(each) for each in (one, other, listener, taken)}

    assert hub.run(main) == (b"hello", {GreenSocket})


def test_adopted_socket_keeps_its_timeout() -> None:
    plain, other = socket.socketpair()
    plain.settimeout(3)
    with other, network.adopted(plain) as green:
        assert (type(green), green.gettimeout(), plain.fileno()) == (GreenSocket, 3, -1)
        assert network.adopted(green) is green


def test_outside_of_tasks_it_blocks() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, network.create_connection(listener.getsockname()) as sock:
        with listener.accept()[0] as taken:
            taken.sendall(b"hello")
            assert sock.recv(10) == b"hello"
        assert sock.recv(10) == b""
        with pytest.raises(OSError, match=str(errno.EISCONN)):
            sock.connect(listener.getsockname())
