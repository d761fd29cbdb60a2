"""The package as it is built: what is in it, and what works where the core could not be compiled."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from portside.engines.compiled import MISSING
from tools.shape import ROOT

CORE = ROOT / "src" / "portside" / "core"
INPUT = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
BUILD_SECONDS = 300  # Cython and the compiler take about 15 on an idle machine

# Both engines in one program; what it is told about the second is all that it prints.
TRY_GREEN = """
import portside

class Shout(portside.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline().upper())

with portside.start(Shout, "tcp://127.0.0.1:0") as server, portside.connect(server.endpoint) as client:
    client.wfile.write(b"hello\\n")
    assert client.rfile.readline() == b"HELLO\\n"
try:
    with portside.start(Shout, "tcp://127.0.0.1:0", engine="green") as server:
        with portside.connect(server.endpoint) as client:
            client.wfile.write(b"green\\n")
            print(client.rfile.readline().decode(), end="")
except RuntimeError as error:
    print(error)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout in which nothing was built yet."""
    leftovers = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", tmp_path / "tree" / "src", ignore=leftovers)
    for name in INPUT:
        shutil.copy(ROOT / name, tmp_path / "tree")
    return tmp_path / "tree"


def attempt(tree: Path, what: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Build the "sdist" or "wheel" as an installer does, but in this environment; its last line names the file."""
    program = f"import setuptools.build_meta as b, sys; print(b.build_{what}(sys.argv[1]))"
    return subprocess.run(
        [sys.executable, "-c", program, str(tree / what)],
        cwd=tree,
        env={**os.environ, "PORTSIDE_CORE": "", **environment},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )


def build(tree: Path, what: str, **environment: str) -> Path:
    """The same where it must succeed; returns the file."""
    done = attempt(tree, what, **environment)
    assert done.returncode == 0, done.stderr
    return tree / what / done.stdout.splitlines()[-1]


def try_green(wheel: Path, folder: Path) -> str:
    """What the program above prints with the package from this wheel."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-W", "error", "-c", TRY_GREEN]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def in_core(names: list[str]) -> set[str]:
    """The files of the core, without its pure Python ones."""
    return {Path(name).name for name in names if "/core/" in name and not name.endswith((".py", "/"))}


def sources(*patterns: str) -> set[str]:
    return {path.name for pattern in patterns for path in CORE.glob(pattern)}


def test_sdist_has_the_sources_of_the_core_and_nothing_generated(tree: Path) -> None:
    with tarfile.open(build(tree, "sdist")) as sdist:
        names = sdist.getnames()
    assert in_core(names) == sources("*.pyx", "*.pxd", "*.pxi", "*.pyi")
    assert not [name for name in names if name.endswith((".c", ".so"))]


@pytest.mark.parametrize("wish", ["no", pytest.param("", marks=[pytest.mark.slow, pytest.mark.timeout(BUILD_SECONDS)])])
def test_without_the_core_asking_for_green_says_what_is_missing(tree: Path, wish: str) -> None:
    wheel = build(tree, "wheel", PORTSIDE_CORE=wish, CC="false")
    assert in_core(names_in(wheel)) == sources("*.pyi")
    assert try_green(wheel, tree / "installed") == MISSING + "\n"


@pytest.mark.slow
@pytest.mark.timeout(BUILD_SECONDS)
def test_wheel_has_the_compiled_core(tree: Path) -> None:
    wheel = build(tree, "wheel", PORTSIDE_CORE="require", CFLAGS="-O0")
    found = in_core(names_in(wheel))
    compiled = {name for name in found if name.endswith(".so")}
    assert {name.split(".")[0] for name in compiled} == {path.stem for path in CORE.glob("*.pyx")}
    assert found - compiled == sources("*.pyi")
    assert try_green(wheel, tree / "installed") == "GREEN\n"


@pytest.mark.slow
@pytest.mark.timeout(BUILD_SECONDS)
def test_a_core_that_is_required_and_cannot_be_compiled_is_an_error(tree: Path) -> None:
    done = attempt(tree, "wheel", PORTSIDE_CORE="require", CC="false")
    assert done.returncode != 0
    assert re.search("^error: .*'false'", done.stderr, re.MULTILINE)
