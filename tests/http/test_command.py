"""`portside http`, and the example that starts and stops a server from a program."""

import http.client
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.conftest import DEADLINE

ROOT = Path(__file__).resolve().parent.parent.parent
SERVING = re.compile(r"serving \. at tcp://127\.0\.0\.1:(\d+) \(threads\)\n")


def portside(*words: str) -> list[str]:
    return [sys.executable, "-m", "portside", "http", *words]


def test_folder_is_served_over_kept_connections(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("here")
    line = portside("tcp://127.0.0.1:0", "--access-log", "log")
    with subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        told = SERVING.fullmatch(process.stderr.readline())
        assert told
        connection = http.client.HTTPConnection("127.0.0.1", int(told[1]), timeout=DEADLINE)
        for _ in range(2):
            connection.request("GET", "/a.txt")
            response = connection.getresponse()
            assert (response.version, response.read(), response.will_close) == (11, b"here", False)
        connection.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
    assert (tmp_path / "log").read_text().count('"GET /a.txt HTTP/1.1" 200 4') == 2


def test_folder_that_is_none_is_wrong_use(tmp_path: Path) -> None:
    done = subprocess.run(
        portside("--directory", "nowhere"), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "'nowhere' is not accepted; accepted is a folder that exists" in done.stderr


def test_example() -> None:
    line = [sys.executable, str(ROOT / "examples" / "http_hello.py")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True, env={**os.environ})
    assert done.stdout == "Portside says: It works\n"
