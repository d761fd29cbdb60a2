"""Socket activation with the real systemd-socket-activate, and notifications to a real socket."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from portside import Endpoint, EndpointError
from portside.service.systemd import Notifier, listening
from tests.workers.kit import MODULE, PATIENCE, PYTHON, Talker, converse

pytestmark = pytest.mark.usefixtures("no_leaks")

ACTIVATE = shutil.which("systemd-socket-activate")
needs_systemd = pytest.mark.skipif(ACTIVATE is None, reason="needs systemd-socket-activate (Debian: systemd)")


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room in the 108 bytes of a socket address, with the module `talk`."""
    with tempfile.TemporaryDirectory(prefix="ps-") as path:
        (Path(path) / "talk.py").write_text(MODULE, encoding="utf-8")
        yield Path(path)


# Which sockets


def environment(count: object = 2, names: str = "web:log", pid: object = None) -> dict[str, str]:
    return {"LISTEN_FDS": str(count), "LISTEN_FDNAMES": names, "LISTEN_PID": str(pid or os.getpid())}


def test_endpoints_of_systemd_are_descriptors() -> None:
    three, four = Endpoint(scheme="fd", fd=3), Endpoint(scheme="fd", fd=4)
    assert listening((), environment()) == (three, four)
    assert listening(("systemd:",), environment()) == (three, four)
    assert listening(("systemd:log", 80), environment()) == (four, Endpoint.parse(80))
    assert listening((80,), environment()) == (Endpoint.parse(80),)
    assert listening((), environment(names="")) == (three, four)


@pytest.mark.parametrize("given", [{}, environment(count="x"), environment(pid=1), environment(count=0)])
def test_sockets_of_others_are_left_alone(given: dict[str, str]) -> None:
    assert listening((), given) == ()
    with pytest.raises(EndpointError, match="systemd: is not among the sockets that systemd has passed"):
        listening(("systemd:",), given)


def test_socket_that_was_not_passed_is_told() -> None:
    with pytest.raises(EndpointError, match=r"systemd:mail is not among .* \(log, web\): start it through"):
        listening(("systemd:mail",), environment())


def test_endpoint_of_systemd_is_none_by_itself() -> None:
    endpoint = Endpoint.parse("systemd:web")
    assert (str(endpoint), endpoint.name) == ("systemd:web", "web")
    with pytest.raises(EndpointError, match="socket activation, which has not happened here"):
        assert endpoint.type
    with pytest.raises(EndpointError, match="is not accepted; accepted is the FileDescriptorName="):
        Endpoint(scheme="systemd", name="a:b")


# What it wants to hear


@contextmanager
def notified(folder: Path, *, abstract: bool) -> Iterator[tuple[socket.socket, str]]:
    """A socket as systemd has one, and what NOTIFY_SOCKET says."""
    name = f"@portside-notify-{os.getpid()}" if abstract else str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.bind(f"\0{name[1:]}" if abstract else name)
        yield sock, name


@pytest.mark.parametrize("abstract", [False, True])
def test_states_are_told(abstract: bool, short: Path) -> None:
    with notified(short, abstract=abstract) as (sock, name):
        notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())})
        assert notifier.watchdog == 2.0
        for tell, said in (
            (notifier.ready, b"READY=1"),
            (notifier.stopping, b"STOPPING=1"),
            (notifier.alive, b"WATCHDOG=1"),
        ):
            tell()
            assert sock.recv(1000) == said
        notifier.reloading()
        state, moment = sock.recv(1000).split(b"\n")
        assert state == b"RELOADING=1"
        assert moment.startswith(b"MONOTONIC_USEC=")
        assert moment.removeprefix(b"MONOTONIC_USEC=").isdigit()
        notifier.status("well")
        assert sock.recv(1000) == b"STATUS=well"
        notifier.succeeded_by(7)
        assert sock.recv(1000) == b"MAINPID=7"


@pytest.mark.parametrize(
    "given", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nobody/is/there"}, {"NOTIFY_SOCKET": "vsock:2:1"}]
)
def test_nobody_wants_to_hear(given: dict[str, str]) -> None:
    notifier = Notifier(given | {"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"})
    notifier.ready()
    assert notifier.watchdog is None


# The whole


@contextmanager
def portside(
    folder: Path, *arguments: str, before: list[str] | None = None, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    command = [*(before or []), *PYTHON, "-m", "portside", *arguments]
    with subprocess.Popen(command, cwd=folder, env=os.environ | (env or {}), stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def until(sock: socket.socket, *wanted: bytes) -> list[bytes]:
    """What is heard, up to a message that begins so."""
    heard = [sock.recv(1000)]
    while not heard[-1].startswith(wanted):
        heard.append(sock.recv(1000))
    return heard


@pytest.mark.parametrize("workers", [[], ["--workers", "2"]])
def test_service_tells_how_it_is(workers: list[str], short: Path) -> None:
    with (
        notified(short, abstract=False) as (sock, name),
        portside(short, "serve", "talk:Talk", "unix:s", *workers, env={"NOTIFY_SOCKET": name}) as process,
    ):
        heard = until(sock, b"READY=1")
        assert not workers or heard[-2] == b"STATUS=2 of 2 workers accept"
        with Endpoint(scheme="unix", path=str(short / "s")).connect(PATIENCE) as client:
            assert client.recv(100)
        if workers:
            process.send_signal(signal.SIGHUP)
            assert until(sock, b"RELOADING=1\nMONOTONIC_USEC=")
            assert until(sock, b"READY=1")
        process.send_signal(signal.SIGTERM)
        assert until(sock, b"STOPPING=1")
        assert process.wait(PATIENCE) == 0


def test_watchdog_hears_of_a_service_only_while_every_worker_answers(short: Path) -> None:
    with notified(short, abstract=True) as (sock, name):
        wanted = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "200000", "WATCHDOG_PID": ""}
        with portside(short, "serve", "talk:Talk", "unix:s", "--workers", "2", env=wanted) as process:
            until(sock, b"READY=1")
            until(sock, b"WATCHDOG=1")
            (stuck, _) = psutil.Process(process.pid).children()
            stuck.suspend()
            while not silent(sock, 1.0):  # what was on its way; then nothing for five times as long as systemd waits
                pass
            stuck.resume()
            until(sock, b"WATCHDOG=1")
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0


def silent(sock: socket.socket, seconds: float) -> bool:
    """Nothing is heard for so long; what is heard is taken."""
    sock.settimeout(seconds)
    try:
        sock.recv(1000)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(PATIENCE)
    return False


@needs_systemd
@pytest.mark.parametrize(
    "arguments", [["serve", "talk:Talk"], ["serve", "talk:Talk", "systemd:talk", "--workers", "2", "--engine", "green"]]
)
def test_socket_activation(arguments: list[str], short: Path) -> None:
    assert ACTIVATE is not None
    path = short / "s"
    before = [ACTIVATE, "--listen", str(path), "--fdname", "talk", *keep("PATH", "PYTHONPATH")]
    with portside(short, *arguments, before=before) as process:
        assert process.stderr is not None
        assert b"Listening on" in process.stderr.readline()
        endpoint = Endpoint(scheme="unix", path=str(path))
        talker = Talker(endpoint)  # the client that starts the service
        assert talker.ask() == b"HELLO\n"
        assert converse(endpoint)
        process.send_signal(signal.SIGTERM)
        assert talker.heard.read() == b""
        talker.close()
        assert process.wait(PATIENCE) == 0
        assert path.exists()  # it is systemd's


@needs_systemd
def test_hand_over_of_activated_sockets(short: Path) -> None:
    assert ACTIVATE is not None
    path = short / "s"
    before = [ACTIVATE, "--listen", str(path), "--fdname", "talk", *keep("PATH", "PYTHONPATH")]
    endpoint = Endpoint(scheme="unix", path=str(path))
    with portside(short, "serve", "talk:Talk", "--workers", "1", before=before) as process:
        assert process.stderr is not None
        assert b"Listening on" in process.stderr.readline()
        first = converse(endpoint)[0]
        process.send_signal(signal.SIGUSR2)
        assert process.wait(PATIENCE) == 0
        second = converse(endpoint)[0]
        assert first != second
        supervisor = psutil.Process(int(second)).parent()
        assert supervisor is not None
        supervisor.send_signal(signal.SIGTERM)
        psutil.wait_procs([psutil.Process(int(second))], PATIENCE)


def keep(*names: str) -> list[str]:
    """systemd-socket-activate passes no environment on, unless it is told to."""
    return [f"--setenv={name}" for name in names if name in os.environ]
