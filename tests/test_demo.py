"""The demo: ends well with the README's server, and with exit code 1 and a sentence with any server that is wrong."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tools import demo

SECONDS = 50.0  # a bound for a hang; a small run takes about two
SMALL = ["--clients=50", "--lines=3", "--pause=0.02"]

RIGHT = """
import portside

class Shout(portside.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())

portside.serve(Shout, "tcp://127.0.0.1:9000")
"""
WRONG = {
    "a wrong answer": RIGHT.replace("line.upper()", "line.lower()"),
    "the server hung up": RIGHT.replace("line.upper())", "line.upper())\n            return"),
    "more than the answers": RIGHT.replace("line.upper())", "line.upper())\n        self.wfile.write(b'bye')"),
    "the server ended with 3 instead of 0": RIGHT + "raise SystemExit(3)\n",
    "the conversation was not over after 2 s": RIGHT.replace("line.upper()", "b''"),
    "the example should name one tcp:// endpoint, and names 0": RIGHT.replace("tcp://", "udp://"),
}


def run(*arguments: str | Path, before: Sequence[str] = ()) -> "subprocess.CompletedProcess[str]":
    """The demo as a program; its output is no terminal's."""
    command = [*before, sys.executable, "-W", "error", Path(demo.__file__), *arguments]
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS, check=False
    )


def page(folder: Path, program: str) -> Path:
    """A page whose first Python block is `program`."""
    path = folder / "page.md"
    path.write_text(f"# Page\n\n```sh\nmake demo\n```\n\n```python serves\n{program}```\n", encoding="utf-8")
    return path


@pytest.mark.slow
def test_readme_server_answers_everybody() -> None:
    done = run(*SMALL)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert lines[-1] == "every answer was right"
    assert [line.split() for line in lines if line.startswith(("clients ", "messages ", "errors "))] == [
        ["clients", "50", "at", "once"],
        ["messages", "300", "of", "300", "answered", "well"],
        ["errors", "0"],
    ]
    assert [line.split()[0] for line in lines if line.endswith((" ms", " of the server"))] == ["p50", "p99", "peak"]


@pytest.mark.slow
def test_progress_is_plain_lines_without_a_terminal() -> None:
    done = run(*SMALL)
    told = [line for line in done.stdout.splitlines() if line.endswith("lines answered")]
    assert told == [f"{count} of 300 lines answered" for count in range(30, 301, 30)]
    assert "\x1b" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("complaint", WRONG)
def test_wrong_server_is_told(complaint: str, tmp_path: Path) -> None:
    limit = "--seconds=2" if "2 s" in complaint else "--seconds=40"
    done = run(*SMALL, limit, "--readme", page(tmp_path, WRONG[complaint]))
    assert done.returncode == 1, done.stdout
    assert complaint in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.slow
def test_server_that_fails_to_start_is_told(tmp_path: Path) -> None:
    done = run(*SMALL, "--seconds=40", "--readme", page(tmp_path, "raise SystemExit('no') " + RIGHT))
    assert done.returncode == 1, done.stdout
    assert done.stdout.splitlines()[-1] == "demo: not every answer was right"


@pytest.mark.slow
def test_page_without_a_program_is_told(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("# Nothing\n", encoding="utf-8")
    done = run("--readme", path)
    assert (done.returncode, done.stdout) == (1, f"demo: {path} holds no Python block to demonstrate\n")


@pytest.mark.slow
def test_more_clients_than_descriptors_are_told() -> None:
    done = run("--clients=100", before=["sh", "-c", 'ulimit -n 120 && exec "$@"', "sh"])
    assert done.returncode == 1, done.stdout
    assert "100 clients need 150 descriptors and this system allows 120" in done.stdout
    assert "--clients 70" in done.stdout
