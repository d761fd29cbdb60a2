"""TLS as other people's programs see it: openssl's client, curl, and the scanner sslyze."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import portside
from portside.http.server import SimpleHTTPRequestHandler
from tests.conftest import DEADLINE
from tests.tls.handlers import Tells
from tests.tls.kit import PKI

pytestmark = pytest.mark.usefixtures("no_leaks")


def ran(*command: str, said: str = "", expected: int | None = 0) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]}; on Debian: apt install {command[0]}")
    done = subprocess.run(command, input=said, capture_output=True, text=True, timeout=50, check=False)
    assert expected is None or done.returncode == expected, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("engine", ["threads", "green"])
def test_openssl(pki: PKI, engine: Any) -> None:
    tls = pki.tls(client_ca=pki.ca, client_certificates="asked", alpn=("spam",))
    with portside.start(Tells, "tls://127.0.0.1:0", engine=engine, tls=tls) as server:
        where = f"127.0.0.1:{server.endpoint.port}"
        client = ("openssl", "s_client", "-connect", where, "-CAfile", str(pki.ca), "-verify_return_error")
        talk = (*client, "-quiet", "-servername", "localhost", "-cert", str(pki.ann), "-alpn", "spam", "-ign_eof")
        assert "Ann TLSv1.3 TLS_AES_256_GCM_SHA384 spam localhost" in ran(*talk, said="hello\n", expected=None)
        told = ran(*client, "-tls1_2", "-servername", "localhost", said="hello\n", expected=None)
        assert "Verify return code: 0 (ok)" in told
        assert "Secure Renegotiation IS supported" in told
        assert "New, TLSv1.2" in told
        refused = ran(*client, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", said="hello\n", expected=None)
        assert "Cipher is (NONE)" in refused


def test_openssl_resumes_a_session(pki: PKI, tmp_path: Path) -> None:
    with portside.start(Tells, "tls://127.0.0.1:0", tls=pki.tls()) as server:
        client = ("openssl", "s_client", "-connect", f"127.0.0.1:{server.endpoint.port}", "-tls1_2")
        ran(*client, "-sess_out", str(tmp_path / "session"), said="hello\n", expected=None)
        assert "Reused, TLSv1.2" in ran(*client, "-sess_in", str(tmp_path / "session"), said="hello\n", expected=None)


@pytest.mark.parametrize("engine", ["threads", "green"])
def test_curl(pki: PKI, tmp_path: Path, engine: Any) -> None:
    (tmp_path / "file").write_text("contents\n")

    class Files(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

    files = {"handler_args": {"directory": str(tmp_path)}, "engine": engine}
    with portside.start(Files, f"https://localhost:0?cert={pki.local}", **files) as server:
        url = f"https://localhost:{server.endpoint.port}/file"
        found = ran("curl", "-sv", "--max-time", "40", "--cacert", str(pki.ca), url, url)
        assert found.count("contents\n") == 2
        assert "accepted to use http/1.1" in found or "server accepted http/1.1" in found
        ran("curl", "-s", "--max-time", "40", url, expected=60)  # nobody trusts it unasked
        ran("curl", "-s", "--max-time", "40", url.replace("https", "http"), expected=None)


@pytest.mark.slow
def test_sslyze_finds_nothing(pki: PKI) -> None:
    """Old versions, weak ciphers, compression, renegotiation, and the attacks that have names."""
    pytest.importorskip("sslyze", reason="the scanner sslyze is missing: pip install sslyze")
    with portside.start(Tells, "tls://127.0.0.1:0", tls=pki.named()) as server:
        host, port = "127.0.0.1", server.endpoint.port
        program = Path(__file__).with_name("scan.py")
        command = [sys.executable, str(program), host, str(port), str(pki.ca)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=55, check=False)
    assert done.stdout.splitlines()[-1:] == ["nothing to complain of"], done.stdout + done.stderr


# The command


@contextmanager
def command(*words: str, folder: Path) -> Iterator[tuple["subprocess.Popen[str]", list[str]]]:
    """`portside` with those words, and the first lines that it tells, up to where it serves."""
    environment = {"XDG_CACHE_HOME": str(folder), "PATH": ""}
    line = [sys.executable, "-m", "portside", *words]
    with subprocess.Popen(line, stderr=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stderr is not None
        told: list[str] = []
        try:
            while not told or not told[-1].startswith("serving"):
                told.append(process.stderr.readline())
                assert told[-1], told
            yield process, told
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(DEADLINE)


def test_development_certificate_on_the_command_line(tmp_path: Path) -> None:
    with command("echo", "--tls=dev", "tls://127.0.0.1:0", folder=tmp_path) as (_, told):
        assert str(tmp_path / "portside" / "development.pem") in told[0]
        assert len(told[0].rpartition(" ")[2].strip().split(":")) == 32
        where = told[1].split()[3]
        talk = (sys.executable, "-m", "portside", "connect", where)
        trusted = ran(*talk, "--ca", str(tmp_path / "portside" / "development.pem"), said="hello\n")
        assert trusted == "hello\n"
        assert ran(*talk, "--insecure", said="hello\n") == "hello\n"
        refused = ran(*talk, said="hello\n", expected=1)
        assert refused == f"portside: {where} cannot be reached: self-signed certificate\n"


def test_certificate_on_the_command_line(pki: PKI, tmp_path: Path) -> None:
    pair = f"{pki.local.with_suffix('.crt')},{pki.local.with_suffix('.key')}"
    with command("http", "--tls", pair, "https://localhost:0", folder=tmp_path) as (_, told):
        url = told[0].split()[3].replace("127.0.0.1", "localhost")
        found = ran("curl", "-s", "--max-time", "40", "--cacert", str(pki.ca), url)
        assert "<html" in found.lower()


def test_wrong_certificate_on_the_command_line() -> None:
    line = (sys.executable, "-m", "portside", "echo", "--tls", "nowhere.pem", "0")
    told = ran(*line, expected=2)
    problem = "the certificate file 'nowhere.pem' cannot be read: No such file or directory"
    assert told == f"portside: --tls: {problem}\n"
