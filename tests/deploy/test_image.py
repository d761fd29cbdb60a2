"""The Dockerfile, carried out without Docker: what its steps build in a folder starts, answers, and drains.

Its steps are read from the file. What differs is told in `OTHERWISE`: nothing is fetched here, so the package is
installed with the dependencies that the tests have; and paths lie below a folder of the test's.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from portside import Endpoint
from tests.conftest import wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
FILE = ROOT / "deploy" / "docker" / "Dockerfile"
PATIENCE = 300.0  # seconds; the compiler takes about 15 on an idle machine

OTHERWISE = {
    "pip install --no-cache-dir": "pip install --quiet --no-deps --no-index --no-build-isolation --no-cache-dir",
    "useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin portside": "true",  # a number needs no name
    "PATH=/opt/portside/bin:$PATH": f"PATH=/opt/portside/bin:{os.environ['PATH']}",
}


MADE = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info")  # as Dockerfile.dockerignore has it


# Whether an interpreter can compile extensions.
HAS_HEADERS = """
import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))
"""


# What somebody says to `docker run --env`.
GIVEN = {
    "PORTSIDE_ENDPOINTS": "tcp://127.0.0.1:0",
    "PORTSIDE_HANDLER": "patient:Patient",
    "PORTSIDE_DRAIN": "10min",
}

# What somebody puts into the image's working directory: it answers when the file `go` appears.
PATIENT = """
import os
import portside

class Patient(portside.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"begun\\n")
        while not os.path.exists("go"):
            portside.sleep(0.01)
        self.wfile.write(b"done\\n")
"""


class Step(NamedTuple):
    """An instruction."""

    word: str
    rest: str


def steps() -> list[list[Step]]:
    """The instructions of each stage."""
    text = re.sub(r"^\s*#.*\n", "", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    found = [Step(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines()) if word]
    begins = [number for number, step in enumerate(found) if step.word == "FROM"]
    return [found[begin:end] for begin, end in zip(begins, [*begins[1:], None], strict=True)]


def last(stage: Sequence[Step], word: str) -> str:
    return [step.rest for step in stage if step.word == word][-1]


class Image:
    """A folder in which the steps were carried out.

    Attributes:
        root: the image's root.
        environment: what ENV says, and what an interpreter needs here.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self._folder = root
        build, final = steps()
        self._play(build)
        self._play(final)

    def path(self, text: str) -> str:
        """With the image's paths, and what is done otherwise, in it."""
        for old, new in OTHERWISE.items():
            text = text.replace(old, new)
        return re.sub(r"(?<![\w./])/(opt/portside|run/portside|etc/portside|src|app)\b", rf"{self.root}/\1", text)

    def _play(self, stage: Sequence[Step]) -> None:
        does = {"RUN": self._run, "COPY": self._copy, "WORKDIR": self._enter, "ENV": self._set}
        for step in stage:
            if step.word in does:
                does[step.word](step.rest)

    def _enter(self, rest: str) -> None:
        self._folder = Path(self.path(rest))
        self._folder.mkdir(parents=True, exist_ok=True)

    def _set(self, rest: str) -> None:
        for each in shlex.split(self.path(rest)):
            name, _, value = each.partition("=")
            self.environment[name] = value

    def _copy(self, rest: str) -> None:
        if rest.startswith("--from="):
            return  # both stages are in one folder
        *sources, target = rest.split()
        final = self._folder / self.path(target)
        for source in sources:
            where = final / source if target.endswith("/") else final
            where.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(
                    ROOT / source, where, ignore=shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info")
                )
            else:
                shutil.copy(ROOT / source, where)

    def _run(self, rest: str) -> None:
        if "apt-get" in rest:
            return  # the compiler is here
        for command in self.path(rest).split("&&"):
            words = shlex.split(command)
            if words[1:3] == ["-m", "venv"]:
                self._environment(Path(words[3]))
                continue
            if os.geteuid() and words[0] == "install":
                words = [word for word in words if word not in ("--owner", "--group", "10001")]
            subprocess.run(
                words, cwd=self._folder, env=self.environment | {"CFLAGS": "-O0"}, check=True, timeout=PATIENCE
            )

    def _environment(self, folder: Path) -> None:
        """A virtual environment that has what the tests' one has; a package that is installed in it comes first."""
        subprocess.run([interpreter(), "-m", "venv", "--without-pip", folder], check=True, timeout=PATIENCE)
        packages = next(folder.glob("lib/python*/site-packages"))
        (packages / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        pip = folder / "bin" / "pip"
        pip.write_text(f'#!/bin/sh\nexec {sys.executable} -m pip --python {folder} "$@"\n', encoding="utf-8")
        pip.chmod(0o755)


def identity() -> Mapping[str, Any]:
    """What makes a process one of the image's user, where that can be: nobody but root may become another."""
    user, _, group = last(steps()[1], "USER").partition(":")
    return {} if os.geteuid() else {"user": int(user), "group": int(group), "extra_groups": []}


def interpreter() -> str:
    """This Python where the image's user may run it, or else the system's of the same version; a home may be closed."""
    tried = [sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"]
    for each in tried:
        with suppress(OSError):
            done = subprocess.run([each, "-c", HAS_HEADERS], cwd="/", timeout=PATIENCE, check=False, **identity())
            if done.returncode == 0:
                return each
    pytest.skip(f"the image's user can build with none of {' and '.join(tried)}: on Debian: apt install python3-dev")


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    if not (Path(sys.prefix) / "bin" / "pip").exists():
        pytest.skip("pip is not installed in this environment: python -m ensurepip")
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        Path(folder).chmod(0o755)  # the image's user has to come in
        yield Image(Path(folder))


def command(image: Image, text: str) -> list[str]:
    """A command in the form of a JSON list, whose program the image's PATH leads to."""
    name, *rest = json.loads(image.path(text))
    program = shutil.which(name, path=image.environment["PATH"])
    assert program and program.startswith(str(image.root))
    return [program, *rest]


@contextmanager
def running(image: Image) -> Iterator[tuple["subprocess.Popen[str]", Endpoint]]:
    """The image's command with a handler and a port (`docker run --volume --env`), and where it is."""
    final = steps()[1]
    with subprocess.Popen(
        command(image, last(final, "CMD")),
        cwd=image.path(last(final, "WORKDIR")),
        env=image.environment | GIVEN,
        stderr=subprocess.PIPE,
        text=True,
        **identity(),
    ) as process:
        try:
            assert process.stderr is not None
            said: list[str] = []
            while not (found := re.match(r"serving \S+ at (\S+) ", said[-1] if said else "")):
                said.append(process.stderr.readline())
                assert said[-1], said
            yield process, Endpoint.parse(found[1])
        finally:
            process.kill()


def health(image: Image) -> int:
    """The exit code of the image's health check."""
    _, _, check = last(steps()[1], "HEALTHCHECK").partition(" CMD ")
    return subprocess.run(
        command(image, check),
        env=image.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=PATIENCE,
        check=False,
        **identity(),
    ).returncode


def test_extras_that_are_installed_are_there() -> None:
    [extras] = re.findall(r'"\.\[([a-z,]+)\]"', FILE.read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {*extras.split(",")} <= {*project["optional-dependencies"]}


def test_builder_gets_what_is_copied_and_nothing_else() -> None:
    said = FILE.with_name("Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [rest.split()[:-1] for stage in steps() for word, rest in stage if word == "COPY" and "--from" not in rest]
    assert [line[1:] for line in said if line.startswith("!")] == [name for names in copied for name in names]
    assert {"*", "**/*.so", "**/__pycache__", "**/*.egg-info"} <= {*said}


@pytest.mark.slow
@pytest.mark.timeout(2 * PATIENCE)
def test_image_serves_tells_its_health_and_drains(image: Image) -> None:
    folder = Path(image.path(last(steps()[1], "WORKDIR")))
    (folder / "patient.py").write_text(PATIENT, encoding="utf-8")
    with running(image) as (process, endpoint):
        assert wait_until(lambda: health(image) == 0, PATIENCE)
        assert (image.root / "run" / "portside" / "admin.sock").stat().st_uid == identity().get("user", os.geteuid())
        with endpoint.connect(PATIENCE) as client, client.makefile("rb") as answers:
            assert answers.readline() == b"begun\n"
            process.send_signal(getattr(signal, last(steps()[1], "STOPSIGNAL")))
            assert wait_until(lambda: health(image) != 0, PATIENCE)
            (folder / "go").touch()
            assert answers.read() == b"done\n"
        assert process.wait(PATIENCE) == 0


@pytest.mark.slow
@pytest.mark.timeout(2 * PATIENCE)
def test_image_is_the_package_with_its_core_and_nothing_of_the_checkout(image: Image) -> None:
    program = "import portside.core.hub, portside; print(portside.core.hub.__file__, portside.__file__)"
    done = subprocess.run(
        [image.root / "opt" / "portside" / "bin" / "python", "-c", program],
        cwd=image.root,
        env=image.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert all(each.startswith(f"{image.root}/opt/portside/lib/") for each in done.stdout.split())
