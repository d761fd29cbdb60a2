"""`python -m portside.compat`: unmodified programs, which must see nothing but another socketserver."""

import os
import py_compile
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from portside import compat
from tests.conftest import DEADLINE, pressed

SECONDS = 40.0
PYTHON = [sys.executable, "-W", "error"]
COMPAT = [*PYTHON, "-m", "portside.compat"]

# What a program can see of how it was started.
VIEW = """
import sys

main = sys.modules["__main__"]
names = {name: value for name, value in vars(main).items() if name.startswith("__") and name != "__annotations__"}
names["__loader__"] = type(names["__loader__"]).__name__
names["__spec__"] = getattr(names["__spec__"], "name", None)
print(globals() is vars(main), names, sys.argv, sys.path, sep="\\n")
"""

SERVER = """
import signal
import socketserver


class Shout(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())


if __name__ == "__main__":
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Shout) as server:
        print(server.server_address[1], type(server).__module__, flush=True)
        server.serve_forever()
"""

DEPENDENTS = """
import http.server
import logging.config
import socketserver
import wsgiref.simple_server
import xmlrpc.server

servers = http.server.HTTPServer, wsgiref.simple_server.WSGIServer, xmlrpc.server.SimpleXMLRPCServer
print(socketserver.__name__, *(issubclass(each, socketserver.TCPServer) for each in servers))
print(logging.config.ThreadingTCPServer is socketserver.ThreadingTCPServer)
"""

# A thread that outlives the program's last line, and then looks its own module up.
OUTLIVING = """
import pickle
import threading


class Thing:
    pass


def late():
    threading.main_thread().join()
    print(type(pickle.loads(pickle.dumps(Thing()))) is Thing)


threading.Thread(target=late).start()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A current directory with the programs, and one of them in a folder of its own."""
    programs = {"view": VIEW, "server": SERVER, "dependents": DEPENDENTS, "outliving": OUTLIVING}
    for name, text in programs.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    for name in ("package", "scripts"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__main__.py").write_text(VIEW, encoding="utf-8")
        (tmp_path / name / "view.py").write_text(VIEW, encoding="utf-8")
    return tmp_path


def ran(command: list[str], *arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*command, *arguments], cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def printed(command: list[str], *arguments: str, folder: Path) -> list[str]:
    done = ran(command, *arguments, folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@contextmanager
def serving(*arguments: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A program that serves, and the first line that it prints."""
    with subprocess.Popen(
        [*COMPAT, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline()
        finally:
            process.kill()


PROGRAMS = [
    "view.py --flag value",
    "scripts/view.py",
    "-m view -m x",
    "-m package",
    "-m package.view --help",
]


@pytest.mark.parametrize("arguments", PROGRAMS)
def test_a_program_sees_what_the_interpreter_would_show_it(arguments: str, folder: Path) -> None:
    assert printed(COMPAT, *arguments.split(), folder=folder) == printed(PYTHON, *arguments.split(), folder=folder)


def test_safe_path(folder: Path) -> None:
    # In that mode the current directory is no place for modules, so the command itself is imported by name.
    safe = [*PYTHON, "-P"]
    assert printed([*safe, "-m", "portside.compat"], "view.py", folder=folder) == printed(
        safe, "view.py", folder=folder
    )


def test_link_to_a_script(folder: Path) -> None:
    (folder / "link.py").symlink_to(folder / "scripts" / "view.py")
    assert printed(COMPAT, "link.py", folder=folder) == printed(PYTHON, "link.py", folder=folder)


def test_folder(folder: Path) -> None:
    told, *_, arguments, path = printed(COMPAT, "scripts", "a", folder=folder)
    assert told == "True"
    assert arguments == str([str(folder / "scripts"), "a"])
    assert path == printed(PYTHON, "scripts", folder=folder)[-1]


def test_compiled_program(folder: Path) -> None:
    py_compile.compile(str(folder / "dependents.py"), str(folder / "compiled.pyc"), doraise=True)
    assert printed(COMPAT, "compiled.pyc", folder=folder)[0] == "portside.socketserver True True True"


@pytest.mark.parametrize("program", ["dependents.py", "-m dependents"])
def test_modules_that_depend_on_it_get_the_replacement(program: str, folder: Path) -> None:
    assert printed(COMPAT, *program.split(), folder=folder) == ["portside.socketserver True True True", "True"]
    assert printed(PYTHON, *program.split(), folder=folder) == ["socketserver True True True", "True"]


def test_every_face_is_in_its_place(folder: Path) -> None:
    program = "import sys, portside.compat as c; c.install(); print(*(sys.modules[n].__name__ for n in c.FACES))"
    assert printed([*PYTHON, "-c", program], folder=folder) == [" ".join(compat.FACES.values())]
    program = (
        "import sys, portside.socketserver; print(*(n for n in ('socketserver', 'http.server') if n in sys.modules))"
    )
    assert printed([*PYTHON, "-c", program], folder=folder) == [""]


@pytest.mark.parametrize("program", ["server.py", "-m server"])
def test_a_server(program: str, folder: Path) -> None:
    with serving(*program.split(), folder=folder) as (process, said):
        port, module = said.split()
        assert module == "portside.servers"
        with socket.create_connection(("127.0.0.1", int(port)), DEADLINE) as client:
            client.sendall(b"hello\n")
            assert client.recv(100) == b"HELLO\n"
        _, errors = pressed(process, signal.SIGINT, SECONDS)
    assert process.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_http_server(folder: Path) -> None:
    with serving("-m", "http.server", "0", "--bind", "127.0.0.1", folder=folder) as (process, said):
        port = said.split()[5]
        with urlopen(f"http://127.0.0.1:{port}/view.py", timeout=DEADLINE) as answer:
            assert answer.read().decode() == VIEW
        pressed(process, signal.SIGINT, SECONDS)
    assert process.returncode == 0


@pytest.mark.parametrize("program", ["outliving.py", "-m outliving"])
def test_a_thread_that_outlives_the_program_finds_its_module(program: str, folder: Path) -> None:
    assert printed(COMPAT, *program.split(), folder=folder) == ["True"]


@pytest.mark.parametrize(("text", "code"), [("", 0), ("raise SystemExit(3)", 3), ("import os; os._exit(4)", 4)])
@pytest.mark.parametrize("program", ["ends.py", "-m ends"])
def test_exit_code(program: str, text: str, code: int, folder: Path) -> None:
    (folder / "ends.py").write_text(text, encoding="utf-8")
    done = ran(COMPAT, *program.split(), folder=folder)
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize("program", ["fails.py", "-m fails"])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("this is no Python", "SyntaxError"),
    ],
)
def test_an_error_of_the_program_is_shown_with_its_traceback(program: str, text: str, told: str, folder: Path) -> None:
    (folder / "fails.py").write_text(text, encoding="utf-8")
    done = ran(COMPAT, *program.split(), folder=folder)
    assert done.returncode == 1
    assert told in done.stderr.splitlines()[-1]
    assert 'fails.py", line 1' in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ("nope.py", 2, "there is no file 'nope.py'"),
        ("-m nope", 1, "there is no module 'nope'"),
        ("-m nope.nope", 1, "there is no module 'nope.nope'"),
        ("-m package.nope", 1, "there is no module 'package.nope'"),
    ],
)
def test_a_program_that_is_not_there(arguments: str, code: int, told: str, folder: Path) -> None:
    done = ran(COMPAT, *arguments.split(), folder=folder)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.returncode == ran(PYTHON, *arguments.split(), folder=folder).returncode
    [said] = done.stderr.splitlines()
    assert told in said


def test_error_of_a_package_above_the_module_is_its_own(folder: Path) -> None:
    (folder / "package" / "__init__.py").write_text("import no_such_module", encoding="utf-8")
    done = ran(COMPAT, "-m", "package.view", folder=folder)
    assert done.returncode == 1
    assert "No module named 'no_such_module'" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("arguments", ["", "-m", "-x view.py", "-"])
def test_wrong_use(arguments: str, folder: Path) -> None:
    done = ran(COMPAT, *arguments.split(), folder=folder)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", compat.USAGE)


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(option: str, folder: Path) -> None:
    assert printed(COMPAT, option, folder=folder) == compat.USAGE.splitlines()


def test_path_of_the_environment_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.fspath(folder / "scripts"))
    assert printed(COMPAT, "view.py", folder=folder) == printed(PYTHON, "view.py", folder=folder)
