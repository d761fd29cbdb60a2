"""The drop-in face, and `python -m portside.http.server` as people start it."""

import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

import portside.socketserver
from portside.http import server
from tests.conftest import DEADLINE, pressed
from tests.http.kit import trusting


def test_names() -> None:
    assert {*server.__all__} == {
        *("HTTPServer", "ThreadingHTTPServer", "GreenHTTPServer"),
        *("HTTPSServer", "ThreadingHTTPSServer", "GreenHTTPSServer"),
        *("BaseHTTPRequestHandler", "SimpleHTTPRequestHandler", "CGIHTTPRequestHandler"),
    }
    for name in ("test", "DEFAULT_ERROR_MESSAGE", "DEFAULT_ERROR_CONTENT_TYPE", "executable", "nobody_uid"):
        assert hasattr(server, name)


def test_names_that_programs_take_from_there_although_they_are_others() -> None:
    """`from http.server import HTTPStatus` stands in many programs, `http.server.socketserver` in some."""
    face = vars(server)
    assert face["HTTPStatus"] is HTTPStatus
    assert face["socketserver"] is portside.socketserver
    assert [face["os"], face["socket"], face["sys"]] == [os, socket, sys]


@contextmanager
def command(folder: Path, *words: str) -> Iterator[tuple[str, int]]:
    """The command at work in a folder; gives the scheme and the port that it tells."""
    line = [sys.executable, "-m", "portside.http.server", "--bind", "127.0.0.1", *words, "0"]
    with subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        told = process.stdout.readline()
        try:
            assert told.startswith("Serving HTTP"), told
            yield told.split("(")[1].split(":")[0], int(told.split(" port ")[1].split()[0])
        finally:
            pressed(process, signal.SIGINT, DEADLINE)
            assert process.returncode == 0


def fetch(connection: http.client.HTTPConnection, path: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def test_serves_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("here")
    with command(tmp_path) as (scheme, port):
        response, body = fetch(http.client.HTTPConnection("127.0.0.1", port), "/a.txt")
    assert (scheme, response.version, body) == ("http", 10, b"here")


def test_every_option(tmp_path: Path, certificate: dict[str, Any]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "strange").write_text("here")
    (tmp_path / "password").write_text("\n")
    tls = ["--tls-cert", str(certificate["certfile"]), "--tls-key", str(certificate["keyfile"])]
    words = ["-d", "folder", "-p", "HTTP/1.1", "--content-type", "text/odd", "--header", "X-One", "1", *tls]
    with command(tmp_path, *words, "--tls-password-file", "password", "--cgi") as (scheme, port):
        connection = http.client.HTTPSConnection("localhost", port, context=trusting(certificate))
        response, body = fetch(connection, "/strange")
    assert (scheme, response.version, body) == ("https", 11, b"here")
    assert (response.headers["Content-Type"], response.headers["X-One"]) == ("text/odd", "1")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--tls-key", "key.pem"], "need --tls-cert"),
        (["-d", "nowhere"], "accepted is a folder"),
        (["-p", "HTTP/3"], "accepted is HTTP/1.0 or HTTP/1.1"),
        (["--tls-cert", "nowhere.pem"], "No such file"),
        (["--tls-cert", "a.pem", "--tls-password-file", "nowhere"], "cannot be read"),
    ],
)
def test_wrong_use_is_told(tmp_path: Path, words: list[str], told: str) -> None:
    line = [sys.executable, "-m", "portside.http.server", *words, "0"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE * 3, check=False)
    assert done.returncode in (1, 2)
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_parser_is_told_in_a_sentence() -> None:
    program = "import sys; sys.modules['httptools'] = None\nimport portside.http.server"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "pip install 'portside[http]'" in done.stderr.splitlines()[-1]


def test_context_is_for_servers(certificate: dict[str, Any]) -> None:
    with server.HTTPSServer(("127.0.0.1", 0), server.BaseHTTPRequestHandler, **certificate) as https:
        context: Any = https.ssl_context
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
