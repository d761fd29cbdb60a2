"""SIGHUP: new certificates without an end to any connection, in one process and below a supervisor."""

import dataclasses
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import portside
from portside import Endpoint, Service, Supervisor
from portside.policy.tls import ContextTLS
from portside.service.running import ended_by_signals
from portside.telemetry import CertificateRejected, ReloadFinished, subscribe
from tests.conftest import wait_until
from tests.tls.kit import PKI, fingerprint_of, secured
from tests.workers.kit import MODULE, PATIENCE, served

pytestmark = pytest.mark.usefixtures("no_leaks")

HERE = "tcp://127.0.0.1:0"


class Shout(portside.StreamRequestHandler):
    """Answers every line."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


@pytest.fixture
def cert(pki: PKI, tmp_path: Path) -> Path:
    """A certificate's file that may be changed."""
    return Path(shutil.copy(pki.local, tmp_path / "cert.pem"))


def shown(endpoint: Endpoint, pki: PKI) -> bytes:
    """The certificate that a new client sees, who is answered, too."""
    with secured(endpoint.connect(PATIENCE), pki.trusting()) as client:
        assert answered(client)
        seen: bytes = client.getpeercert(True)
        return seen


def answered(client: Any) -> bool:
    client.sendall(b"hello\n")
    return bool(client.recv(100) == b"HELLO\n")


@pytest.mark.parametrize("engine", ["threads", "green", "forks"])
def test_one_process_loads_certificates_and_goes_on(engine: Any, pki: PKI, cert: Path) -> None:
    tls = portside.TLS(cert, reload_seconds=None)
    with portside.start(Shout, HERE, engine=engine, tls=tls, drain=PATIENCE) as running, ended_by_signals(running):
        with secured(running.endpoint.connect(PATIENCE), pki.trusting()) as before:
            assert answered(before)
            shutil.copy(pki.renewed, cert)
            assert shown(running.endpoint, pki) == fingerprint_of(pki.local)
            os.kill(os.getpid(), signal.SIGHUP)
            assert wait_until(lambda: shown(running.endpoint, pki) == fingerprint_of(pki.renewed), PATIENCE)
            assert answered(before)
        cert.write_text("nothing of use")
        os.kill(os.getpid(), signal.SIGHUP)
        assert shown(running.endpoint, pki) == fingerprint_of(pki.renewed)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_without_files_the_signal_keeps_its_meaning(pki: PKI) -> None:
    with portside.start(Shout, HERE) as running, ended_by_signals(running):
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    tls = ContextTLS(pki.tls().context())
    with portside.start(Shout, HERE, tls=tls) as running, ended_by_signals(running):
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_a_supervisor_loads_certificates_for_all_workers(pki: PKI, cert: Path) -> None:
    tls = portside.TLS(cert, reload_seconds=None)
    reloaded, rejected = threading.Semaphore(0), threading.Event()
    with (
        subscribe(lambda _: reloaded.release(), ReloadFinished),
        subscribe(lambda _: rejected.set(), CertificateRejected),
    ):

        def talk(endpoint: Endpoint) -> None:
            assert shown(endpoint, pki) == fingerprint_of(pki.local)
            shutil.copy(pki.renewed, cert)
            os.kill(os.getpid(), signal.SIGHUP)
            assert reloaded.acquire(timeout=PATIENCE)
            assert {shown(endpoint, pki) for _ in range(4)} == {fingerprint_of(pki.renewed)}
            cert.write_text("nothing of use")
            os.kill(os.getpid(), signal.SIGHUP)
            assert rejected.wait(PATIENCE)
            assert reloaded.acquire(timeout=PATIENCE)
            assert shown(endpoint, pki) == fingerprint_of(pki.renewed)

        supervise(Service(handler=Shout, endpoints=(Endpoint.parse(HERE),), workers=2, tls=tls, drain=1.0), talk)


def supervise(service: Service, talk: Callable[[Endpoint], None]) -> None:
    """Run a service in this thread and `talk` to it in another; then it ends."""
    failures: list[BaseException] = []
    ready = threading.Event()

    def attend() -> None:
        try:
            assert ready.wait(PATIENCE)
            talk(supervisor.endpoints[0])
        except BaseException as error:
            failures.append(error)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    supervisor = Supervisor(service, ready=lambda _: ready.set())
    thread = threading.Thread(target=attend)
    thread.start()
    supervisor.run()
    thread.join()
    if failures:
        raise failures[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a start as root")
def test_workers_without_rights_need_not_read_the_key(
    pki: PKI, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint names its certificate, which only root may read."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # it could not write what it has measured
    key = Path(shutil.copy(pki.local, open_folder / "key.pem"))
    key.chmod(0o600)
    (open_folder / "talk.py").write_text(MODULE, encoding="utf-8")
    endpoint = f"tls://127.0.0.1:0?cert={key}"
    with served(open_folder, "talk:Talk", endpoint, workers={"count": 1}, user="nobody") as service:
        assert service.endpoint.scheme == "tls"
        plain = dataclasses.replace(service.endpoint, scheme="tcp")
        with secured(plain.connect(PATIENCE), pki.trusting()) as client:
            assert client.recv(100).endswith(b" one\n")
            client.sendall(b"hello\n")
            assert client.recv(100) == b"HELLO\n"
        service.signal(signal.SIGTERM)
        assert service.outcome() == (0, b"")
