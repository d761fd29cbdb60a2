"""Every example of the documentation runs, and every command that it shows exists.

```python           a script that ends by itself, with success; one that begins with `# continues` goes on with the last
```python serves    a script that serves until it is interrupted
```python fragment  a part of a script: only has to be Python
```console, ```sh   commands: `portside`, `python` and `make` are looked up, `portside` with the options it is given
"""

import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil
import pytest
from markdown_it import MarkdownIt

from tests.conftest import pressed, wait_until

ROOT = Path(__file__).resolve().parent.parent
PAGES = [path for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))] if path.exists()]
SECONDS = 40.0
PYTHON = [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning"]


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: what its fence says, its text, and where it stands."""

    info: list[str]
    text: str
    place: str


def blocks(page: Path) -> Iterator[Block]:
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "fence" and token.map:
            place = f"{page.relative_to(ROOT)}:{token.map[0] + 1}"
            yield Block(info=token.info.split() or [""], text=token.content, place=place)


def scripts(page: Path) -> Iterator[Block]:
    """The Python of a page, each block behind the one that it continues."""
    text = ""
    for block in blocks(page):
        if block.info[0] == "python":
            text = text + block.text if block.text.startswith("# continues") else block.text
            yield Block(info=block.info, text=text, place=block.place)


def commands(block: Block) -> Iterator[str]:
    """The command lines of a block that this file knows how to look up; in a console they follow a `$`."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.info[0] == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    if block.info[0] in ("console", "sh"):
        yield from (line for line in lines if line.split()[:1] and line.split()[0] in LOOK_UP)


# Scripts


def compiles(path: Path) -> None:
    compile(path.read_text(encoding="utf-8"), path, "exec")


def ends(path: Path) -> None:
    with started(path) as process:
        output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output


def serves(path: Path) -> None:
    with started(path) as process:
        assert wait_until(lambda: process.poll() is not None or is_bound(process), SECONDS), "nothing was bound"
        output, _ = pressed(process, signal.SIGINT, SECONDS)
    assert process.returncode == 0 or output.rstrip().endswith("KeyboardInterrupt"), output


@contextmanager
def started(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run a script in its own folder, and in its own session, of which nothing outlives the block."""
    with subprocess.Popen(
        [*PYTHON, path],
        cwd=path.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def is_bound(process: "subprocess.Popen[str]") -> bool:
    with suppress(psutil.Error):  # it ended while we looked
        connections = psutil.Process(process.pid).net_connections(kind="all")
        return any(each.status == psutil.CONN_LISTEN or (each.laddr and not each.raddr) for each in connections)
    return False


RUN = {"ends": ends, "serves": serves, "fragment": compiles}


@pytest.mark.slow
@pytest.mark.parametrize("script", [pytest.param(each, id=each.place) for page in PAGES for each in scripts(page)])
def test_script(script: Block, tmp_path: Path) -> None:
    path = tmp_path / "example.py"
    path.write_text(script.text, encoding="utf-8")
    RUN[[*script.info, "ends"][1]](path)


# Commands


@cache
def help_of(*subcommand: str) -> str:
    """What `portside SUBCOMMAND --help` prints."""
    program = Path(sysconfig.get_path("scripts")) / "portside"
    done = subprocess.run(
        [program, *subcommand, "--help"], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def is_portside(words: list[str]) -> None:
    subcommand = [word for word in words[:1] if re.fullmatch("[a-z][a-z-]*", word)]
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert {option for option in options if option not in help_of(*subcommand)} == set()


def is_python(words: list[str]) -> None:
    """A module must be there, and a file of this checkout; a bare name is the reader's own file."""
    if words[:1] == ["-m"]:
        assert importlib.util.find_spec(words[1]), f"there is no module {words[1]}"
    elif words and "/" in words[0]:
        assert (ROOT / words[0]).is_file(), f"there is no file {words[0]}"


def is_make(words: list[str]) -> None:
    subprocess.run(["make", "--dry-run", *words], cwd=ROOT, stdout=subprocess.DEVNULL, timeout=SECONDS, check=True)


LOOK_UP = {"portside": is_portside, "python": is_python, "python3": is_python, "make": is_make}
OPERATORS = {"|", "||", "&", "&&", ";", "<", ">", ">>"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        pytest.param(line, id=f"{block.place}-{number}")
        for page in PAGES
        for block in blocks(page)
        for number, line in enumerate(commands(block))
    ],
)
def test_command(line: str) -> None:
    words = shlex.split(line, comments=True)
    end = next((number for number, word in enumerate(words) if word in OPERATORS), len(words))
    LOOK_UP[words[0]](words[1:end])
