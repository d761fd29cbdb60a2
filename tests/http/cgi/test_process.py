"""Scripts as processes: what they write, what they are fed, and how they end."""

import os
import pwd
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

from portside.http.cgi import process
from portside.http.cgi.options import CGIOptions
from portside.http.cgi.process import PIECE, Script, ScriptTimeout
from tests.conftest import wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")

SOON = 0.05  # seconds after which a deadline of a test passes
LONG = "import time; time.sleep" + "(600)"  # in pieces: the house's own tests never do that

Body = IO[bytes] | Callable[[], bytes] | None


@contextmanager
def script(code: str, body: Body = None, watched: int = -1, **options: Any) -> Iterator[Script]:
    with Script(
        [sys.executable, "-I", "-c", code],
        environment={"ONLY": "this"},
        directory=None,
        options=CGIOptions(**{"user": None, **options}),
        body=body,
        watched=watched,
    ) as running:
        yield running


def output(running: Script) -> bytes:
    return b"".join(iter(running.read, b""))


def pieces(*data: bytes) -> Callable[[], bytes]:
    left = iter(data)
    return lambda: next(left, b"")


def test_output_and_exit_code() -> None:
    with script("print('hello')") as running:
        assert output(running) == b"hello\n"
        assert running.finish() == 0


def test_environment_is_what_was_given() -> None:
    with script("import os; print(os.environ['ONLY'], 'HOME' in os.environ)") as running:
        assert output(running) == b"this False\n"


def test_exit_code_and_last_words_of_one_that_fails() -> None:
    with script("import sys; sys.stderr.write('x' * 100_000 + 'no cheese'); sys.exit(3)") as running:
        assert output(running) == b""
        assert running.finish() == 3
        assert running.errors.endswith(b"xno cheese")
        assert len(running.errors) == process.ERRORS


def test_one_that_is_killed() -> None:
    with script("import os, signal; os.kill(os.getpid(), signal.SIGKILL)") as running:
        assert output(running) == b""
        assert running.finish() == -signal.SIGKILL


def test_one_that_closes_its_output_and_goes_on() -> None:
    with script("import os, sys; os.close(1); sys.stderr.write('y' * 200_000); sys.exit(4)") as running:
        assert output(running) == b""
        assert running.finish() == 4


def test_output_comes_as_it_is_written() -> None:
    code = "import sys; print('first', flush=True); sys.stdin.read(1); print('second')"
    given = threading.Event()

    def body() -> bytes:
        return b"" if not given.wait(10) else b"x"

    with script(code, body) as running:
        given.set()
        assert output(running) == b"first\nsecond\n"


# What it is fed

ECHO = "import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"


@pytest.mark.parametrize("size", [0, 1, PIECE, 5_000_000])
def test_body_and_output_flow_at_once(size: int) -> None:
    data = os.urandom(size)
    body = pieces(*(data[start : start + 30_000] for start in range(0, size, 30_000)))
    with script(ECHO, body) as running:
        assert output(running) == data
        assert running.finish() == 0


def test_body_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"hello")
    with (tmp_path / "body").open("rb") as file, script(ECHO, file) as running:
        assert output(running) == b"hello"


def test_without_a_body_there_is_nothing_to_read() -> None:
    with script(ECHO) as running:
        assert output(running) == b""


@pytest.mark.parametrize("code", ["print('no, thanks')", "import os; os.close(0); print('no, thanks')"])
def test_body_that_nobody_wants(code: str) -> None:
    with script(code, lambda: bytes(PIECE)) as running:
        assert output(running).strip() == b"no, thanks"
        assert running.finish() == 0


# How it ends


def test_one_that_is_silent_is_ended() -> None:
    with script(LONG, silence=SOON) as running, pytest.raises(ScriptTimeout, match=r"wrote nothing for 0\.05 s"):
        running.read()
    assert running.exit_code == -signal.SIGTERM


def test_one_that_runs_for_too_long_is_ended() -> None:
    code = "while True: print('x' * 1000)"
    with script(code, seconds=0.5) as running, pytest.raises(ScriptTimeout, match=r"ran for more than 0.5 s"):
        while running.read():
            continue


def test_one_that_does_not_end_after_its_answer_is_ended() -> None:
    with script(f"import os; os.write(1, b'x'); os.close(1); {LONG}", seconds=2) as running:
        assert output(running) == b"x"
        with pytest.raises(ScriptTimeout, match="ran for more than 2 s"):
            running.finish()


def test_one_that_will_not_end_is_killed() -> None:
    code = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {LONG}"
    with script(code, grace=SOON) as running:
        assert running.read() == b"deaf\n"
    assert running.exit_code == -signal.SIGKILL


def test_its_children_end_with_it() -> None:
    code = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {LONG!r}]).pid, flush=True); {LONG}"
    with script(code) as running:
        child = psutil.Process(int(running.read()))
        assert child.is_running()
    assert wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_one_whose_client_left_is_ended() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        with listener.accept()[0] as accepted:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            with script(LONG, watched=accepted.fileno()) as running:
                client.close()
                with pytest.raises(ConnectionResetError, match="the client left while a script was at work"):
                    running.read()
    assert running.exit_code == -signal.SIGTERM


def test_client_that_only_ends_its_sending_is_not_gone() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as accepted,
    ):
        client.shutdown(socket.SHUT_WR)
        with script("print('hello')", watched=accepted.fileno()) as running:
            assert output(running) == b"hello\n"


def test_without_process_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_pidfd_open", lambda _: -1)
    with script("import os, sys; os.close(1); sys.exit(5)") as running:
        assert output(running) == b""
        assert running.finish() == 5
    with script(LONG):
        pass


def test_one_that_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Script([str(tmp_path / "none")], environment={}, directory=None, options=CGIOptions(user=None), body=None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to lose")
def test_roots_rights_are_taken_away() -> None:
    with Script(
        ["/bin/sh", "-c", "id -u; id -G"], environment={}, directory="/", options=CGIOptions(), body=None
    ) as running:
        assert output(running).split() == [
            str(process.nobody_uid()).encode(),
            str(pwd.getpwnam("nobody").pw_gid).encode(),
        ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to lose")
def test_one_whose_user_is_missing_does_not_run() -> None:
    with pytest.raises(OSError, match="there is no user 'no-such-user'"), script("", user="no-such-user"):
        pass


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"head": -1}, {"silence": float("nan")}])
def test_limits_are_above_zero(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be a number above 0"):
        CGIOptions(**wrong)
