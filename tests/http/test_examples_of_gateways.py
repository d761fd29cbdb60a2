"""The examples of CGI and XML-RPC, run as their readers run them, with curl where there is one."""

import http.client
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import DEADLINE

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_leaks")]

FOLDER = Path(__file__).resolve().parent.parent.parent / "examples"
SECONDS = 20.0  # for a process to start, or to end, on a busy machine


@contextmanager
def serving(name: str) -> Iterator[int]:
    """Run a server example; its port."""
    with subprocess.Popen([sys.executable, FOLDER / name, "0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said.startswith("serving at 127.0.0.1:"), said
            yield int(said.rpartition(":")[2])
        finally:
            process.kill()


def test_post_to_a_script() -> None:
    with serving("http_cgi.py") as port:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        client.request("GET", "/")
        assert b'action="cgi-bin/greet.py"' in client.getresponse().read()
        for sent, name in (("name=Ada+%3CL%3E", b"Ada &lt;L&gt;"), ("", b"stranger")):
            client.request("POST", "/cgi-bin/greet.py", sent)
            assert b"<p>Hello, " + name + b"!" in client.getresponse().read()
        client.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl command")
def test_post_to_a_script_with_curl() -> None:
    with serving("http_cgi.py") as port:
        command = ["curl", "--silent", "--fail", "-d", "name=Ada", f"http://127.0.0.1:{port}/cgi-bin/greet.py"]
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=True)
    assert done.stdout == b"<!DOCTYPE html><p>Hello, Ada!\n"


def test_xml_rpc() -> None:
    with serving("xmlrpc_portside_server.py") as port:
        command = [sys.executable, str(FOLDER / "xmlrpc_client.py"), str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    assert done.stdout == "2 + 3 = 5\nserved by portside.servers\n"
