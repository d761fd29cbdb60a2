"""The standard library's promises kept: its own tests pass on the drop-in faces, with its names and defaults."""

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stdlib.comparison import differences
from tests.stdlib.deviations import DEVIATIONS

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 300  # the slowest takes about 30 alone on a machine, more under coverage
FACES = {
    "socketserver": "portside.socketserver",
    "http.server": "portside.http.server",
    "wsgiref.simple_server": "portside.wsgi",
    "xmlrpc.server": "portside.xmlrpc",
}
TESTS = ["test_socketserver", "test_httpservers", "test_xmlrpc", "test_wsgiref", "test_logging"]


# Those that say which of their names are public.
COMPARED = [name for name in FACES if hasattr(importlib.import_module(name), "__all__")]


@pytest.fixture(params=COMPARED)
def standard(request: pytest.FixtureRequest) -> str:
    """The name of a replaced module."""
    return str(request.param)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 30)
@pytest.mark.parametrize("name", TESTS)
def test_own_tests_pass(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("test") is None or importlib.util.find_spec(f"test.{name}") is None:
        pytest.skip(f"this Python comes without its test.{name}; on Debian: apt install libpython3-testsuite")
    done = _run(name, tmp_path)
    assert done.returncode == 0, done.stdout


# What makes no sense for greenlets.
NOT_GREEN = {
    "test.test_socketserver.MiscTestCase.test_all": "two names for one class",
    "test.test_socketserver.MiscTestCase.test_threads_reaped": "it counts `_threads`",
    "test.test_socketserver.ErrorHandlerTest.test_threading_not_handled": "sys.exit() in a green handler is told",
}


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 30)
@pytest.mark.parametrize("name", ["test_socketserver", "test_logging"])
def test_own_tests_pass_with_green_servers_for_threading_ones(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("test") is None or importlib.util.find_spec(f"test.{name}") is None:
        pytest.skip(f"this Python comes without its test.{name}; on Debian: apt install libpython3-testsuite")
    done = _run(name, tmp_path, "--green", *(f"--without={test}" for test in NOT_GREEN))
    assert done.returncode == 0, done.stdout


def _run(name: str, folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    faces = [f"--face={standard}={ours}" for standard, ours in FACES.items()]
    return subprocess.run(
        [sys.executable, ROOT / "tests/stdlib/run.py", f"--seconds={SECONDS}", *faces, *options, name],
        cwd=folder,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        timeout=SECONDS + 20,
        check=False,
    )


def test_names_defaults_and_signatures(standard: str) -> None:
    found = differences(importlib.import_module(standard), importlib.import_module(FACES[standard]))
    assert {name: how for name, how in found.items() if name not in DEVIATIONS} == {}


def test_deviations_are_still_true(standard: str) -> None:
    found = differences(importlib.import_module(standard), importlib.import_module(FACES[standard]))
    listed = {name for name in DEVIATIONS if name.startswith(f"{standard}.")}
    assert listed - found.keys() == set()


def test_deviations_are_documented() -> None:
    page = (ROOT / "docs/differences.md").read_text(encoding="utf-8")
    assert [name for name in DEVIATIONS if f"`{name.partition('.')[2]}`" not in page] == []
