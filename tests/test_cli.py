"""The `portside` command, as a process with real sockets: what it says, what it does, how it ends."""

import itertools
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.cli import conversation, main
from portside.cli.arguments import parser
from portside.cli.flags import ENGINES, FLAGS
from portside.cli.given import configured
from portside.endpoints import Endpoint
from portside.policy.limits import NO_LIMITS, Limits
from portside.service.config.kinds import OFF
from portside.service.config.options import options
from portside.service.description import EngineName, Service
from tests.conftest import DEADLINE, pressed, wait_until

PORTSIDE = [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-m", "portside"]
SECONDS = 40.0
COMMANDS = ["serve", "http", "wsgi", "echo", "time", "discard", "chargen", "connect"]
HEAVY = ["asyncio", "concurrent.futures", "selectors", "socket", "ssl", "portside.servers", "portside.endpoints"]

SHOUT = '''
import os
import threading

import portside


class Shout(portside.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())


class AsyncShout(portside.AsyncStreamRequestHandler):
    async def handle(self):
        async for line in self.reader:
            self.writer.write(line.upper())


class Outer:
    Shout = Shout


class Patient(portside.StreamRequestHandler):
    """Answers when the file `go` appears."""

    def handle(self):
        self.wfile.write(b"begun\\n")
        while not os.path.exists("go"):
            threading.Event().wait(0.01)
        self.wfile.write(b"done\\n")


class Failing(portside.StreamRequestHandler):
    def handle(self):
        raise RuntimeError("out of cheese")


class OnDatagrams(portside.DatagramRequestHandler):
    pass


def function(request, client_address, server):
    request.sendall(b"called")


not_callable = 1
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A current directory with the module `shout`."""
    (tmp_path / "shout.py").write_text(SHOUT, encoding="utf-8")
    (tmp_path / "broken.py").write_text("import no_such_dependency\n", encoding="utf-8")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "inner.py").write_text(SHOUT, encoding="utf-8")
    return tmp_path


@contextmanager
def started(
    *arguments: object, folder: Path | None = None, stdin: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[bytes]]:
    """The command, killed at the block's end if it still runs."""
    with subprocess.Popen(
        [*PORTSIDE, *map(str, arguments)], cwd=folder, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ran(*arguments: object, folder: Path | None = None, given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    """The command, from start to end."""
    return subprocess.run(
        [*PORTSIDE, *map(str, arguments)], cwd=folder, input=given, capture_output=True, timeout=SECONDS, check=False
    )


def line(stream: IO[bytes] | None) -> str:
    assert stream is not None
    return stream.readline().decode().rstrip("\n")


@contextmanager
def serving(
    *arguments: object, folder: Path | None = None, announced: int = 1
) -> Iterator[tuple[subprocess.Popen[bytes], list[Endpoint]]]:
    """A server command, with the endpoints that it announced."""
    with started(*arguments, folder=folder) as process:
        lines = [line(process.stderr) for _ in range(announced)]
        found = [re.fullmatch(r"serving \S+ at (\S+) \(\w+\)", each) for each in lines]
        assert all(found), lines
        yield process, [Endpoint.parse(each[1]) for each in found if each]


def ended(process: subprocess.Popen[bytes], number: int = signal.SIGINT) -> tuple[int, str]:
    """Send a signal; returns the exit code and what was said on stderr."""
    _, errors = pressed(process, number, SECONDS)
    return process.returncode, errors.decode()


@contextmanager
def asking(endpoint: object, question: bytes, folder: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """The client with an input that has ended; it waits for datagrams until the end of the block."""
    with started("connect", endpoint, "--wait", 3600, folder=folder) as process:
        assert process.stdin is not None
        process.stdin.write(question)
        process.stdin.close()
        process.stdin = None
        yield process
        assert process.poll() is None
        assert ended(process) == (130, "")


def is_served(endpoint: Endpoint) -> bool:
    try:
        endpoint.connect(DEADLINE).close()
    except OSError:  # there is no socket file yet, or nobody who listens
        return False
    return True


def answer(endpoint: Endpoint, question: bytes) -> bytes:
    """What a server sends back until it ends the connection."""
    with endpoint.connect(DEADLINE) as client:
        client.sendall(question)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65536), b""))


@contextmanager
def listening() -> Iterator[tuple[socket.socket, str]]:
    """A listener of our own, and its endpoint's text."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)
        yield listener, f"tcp://127.0.0.1:{listener.getsockname()[1]}"


def accepted(listener: socket.socket) -> socket.socket:
    client, _ = listener.accept()
    client.settimeout(DEADLINE)
    return client


def one_sentence(done: "subprocess.CompletedProcess[bytes]") -> str:
    """What a failed command said, which has to be one line that names the command."""
    assert done.returncode == 1, done
    [said] = done.stderr.decode().splitlines()
    assert said.startswith("portside: ")
    assert "[Errno" not in said
    return said


# Help and wrong use


def help_of(*command: str) -> str:
    done = ran(*command, "--help")
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


def test_help_lists_the_commands() -> None:
    assert [name for name in COMMANDS if not re.search(rf"^ +{name} ", help_of(), re.MULTILINE)] == []


@pytest.mark.parametrize(
    "command", [(), *((name,) for name in COMMANDS)], ids=lambda words: " ".join(words) or "portside"
)
def test_examples_of_the_help_parse(command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site").mkdir()
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"^  (?:.* \| |PORTSIDE\w+=\S+ )?portside (.*)$", help_of(*command), re.MULTILINE)
    named = [shlex.split(example, comments=True) for example in examples]
    assert [words for words in named if command in ((), (words[0],))]
    for words in named:
        if "--help" not in words:
            assert parser().parse_args(words).command == words[0]


@pytest.mark.parametrize(
    ("arguments", "limits", "denied"),
    [
        ("", Limits(), []),
        ("--max-connections 5 --per-host 2 --rate-per-host 3", Limits(connections=5, per_host=2, rate_per_host=3), []),
        ("--idle-timeout 5 --read-timeout 6", Limits(idle_seconds=5, read_seconds=6), []),
        ("--write-timeout 7 --total-timeout 8", Limits(write_seconds=7, total_seconds=8), []),
        ("--no-limits", None, []),
        ("--no-limits --per-host 2", replace(NO_LIMITS, per_host=2), []),
        ("--deny 10.0.0.0/8 --deny 192.0.2.7", Limits(), ["10.1.2.3", "192.0.2.7"]),
        ("--allow 198.51.100.0/24", Limits(), ["10.1.2.3", "192.0.2.7", "192.0.2.8"]),
    ],
)
def test_limits_and_access(arguments: str, limits: Limits | None, denied: list[str]) -> None:
    service = described("serve", "shout:Shout", "9000", *arguments.split())
    hosts = ["10.1.2.3", "192.0.2.7", "192.0.2.8", "198.51.100.1"]
    assert service.limits == limits
    assert [host for host in hosts if service.access and service.access.refusal(None, (host, 1))] == denied


def described(*arguments: str) -> Service:
    """What a command would serve."""
    return configured(parser().parse_args(arguments), {"handler": "shout:Shout"}).alone


def test_version() -> None:
    done = ran("--version")
    assert (done.returncode, done.stderr) == (0, b"")
    assert re.fullmatch(rb"portside \d+\.\d+\S*\n", done.stdout)


@pytest.mark.parametrize("command", ["", "serve", "echo", "connect"])
def test_help_imports_nothing_heavy(command: str) -> None:
    program = f"""
import sys
before = set(sys.modules)
from portside.cli import main
try:
    main({[*command.split(), "--help"]})
finally:
    print(*sorted(set({HEAVY}) & set(sys.modules) - before), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=SECONDS, check=True)
    assert done.stdout.startswith(b"usage: portside")
    assert done.stderr.split() == []


@pytest.mark.parametrize(
    ("line", "endpoints"),
    [
        ("wsgi shop:app --engine green 8000", ["8000"]),
        ("wsgi --engine green shop:app 8000 --drain 5 8001", ["8000", "8001"]),
        ("wsgi shop:app --engine green", []),
        ("wsgi shop:app 8000 --engine green", ["8000"]),
        ("http --engine green 8000", ["8000"]),
        ("http 8000 --engine green 8001", ["8000", "8001"]),
        ("http --engine green", []),
        ("serve shop:Shop --engine green 8000", ["8000"]),
        ("serve shop:Shop 8000 --engine green -v 8001", ["8000", "8001"]),
    ],
)
def test_options_stand_anywhere(line: str, endpoints: list[str]) -> None:
    options = parser().parse_args(line.split())
    assert options.engine == "green"
    assert options.endpoints == [Endpoint.parse(each) for each in endpoints]


def test_options_of_a_service_stand_between_its_endpoints() -> None:
    given = parser().parse_args(["echo", "9000", "--quiet", "9001", "--drain", "5"])
    assert (len(given.endpoints), vars(given)["logging.level"], given.drain) == (2, "error", 5.0)


WRONG = {
    "": "the following arguments are required: COMMAND",
    "dance": "invalid choice: 'dance'",
    "serve": "required: MODULE:HANDLER, ENDPOINT",
    "serve shout:Shout": "required: ENDPOINT",
    "serve shout 9000": "write a module, a colon and a name in it, as in shout:Shout",
    "serve shout: 9000": "as in shout:Shout",
    "serve :Shout 9000": "as in shout:Shout",
    "serve shout.py:Shout:x 9000": "as in shout:Shout",
    "serve shout:Shout 9000 --engine blue": "invalid choice: 'blue'",
    "serve shout:Shout 9000 --proxy-protocol 10.0.0.1/8": "'10.0.0.1/8' is not accepted; accepted is a network such as",
    "serve shout:Shout 9000 --max-handlers 0": "a whole number from 1 on",
    "serve shout:Shout 9000 --max-handlers many": "a whole number from 1 on",
    "serve shout:Shout 9000 --drain -1": "a number of seconds, 0 or more",
    "serve shout:Shout 9000 --drain nan": "a number of seconds, 0 or more",
    "serve shout:Shout 9000 --drain soon": "a number of seconds, 0 or more",
    "serve shout:Shout 9000 -v -q": "not allowed with argument",
    "serve shout:Shout tcp://127.0.0.1:70000": "accepted is 0 to 65535",
    "echo": "required: ENDPOINT",
    "echo http://example.org": "tcp://HOST:PORT",
    "echo 9000 --motor serial": "unrecognized arguments",
    "echo 9000 --folder .": "unrecognized arguments",
    "connect": "required: ENDPOINT",
    "connect 9000 9001": "unrecognized arguments",
    "connect fd:3": "is a socket already",
    "connect 9000 --timeout 0": "above 0",
    "connect 9000 --wait inf": "a number of seconds, 0 or more",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_use(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("usage: portside")
    assert WRONG[arguments] in said.err.splitlines()[-1]


def test_wrong_use_ends_the_process_with_2() -> None:
    assert ran("echo", "nowhere").returncode == 2


def test_choices_and_defaults_are_the_services() -> None:
    assert get_args(EngineName) == ENGINES
    for flag in FLAGS:
        option = options()[flag.path]
        assert option.variable == flag.variable
        if "choices" in flag.takes:
            assert set(flag.takes["choices"]) <= {*re.findall(r'"(\w+)"', option.kind.accepted)}
        if re.fullmatch(r"\d+M?|\w+ \d+", flag.default):
            number, mebi = re.findall(r"(\d+)(M?)", flag.default)[0]
            assert option.default == int(number) * (1024**2 if mebi else 1)
        elif "choices" in flag.takes:
            assert option.default == flag.default
        elif OFF in option.kind.accepted and option.path[0] == "limits":
            assert option.default is None


# Serving


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("engine", ENGINES)
def test_serve(engine: str, number: int, folder: Path) -> None:
    handler = "shout:AsyncShout" if engine == "async" else "shout:Shout"
    with started("serve", handler, "tcp://127.0.0.1:0", "--engine", engine, folder=folder) as process:
        said = re.fullmatch(r"serving (\w+) at (tcp://127\.0\.0\.1:[1-9]\d*) \((\w+)\)", line(process.stderr))
        assert said
        assert (said[1], said[3]) == (handler.partition(":")[2], engine)
        assert answer(Endpoint.parse(said[2]), b"hello\n") == b"HELLO\n"
        assert ended(process, number) == (0, "")


def test_serve_at_several_endpoints(folder: Path) -> None:
    with serving("serve", "shout:Shout", 0, "unix:sock?mode=600", folder=folder, announced=2) as (process, endpoints):
        assert [endpoint.scheme for endpoint in endpoints] == ["tcp", "unix"]
        assert answer(endpoints[0], b"hello\n") == b"HELLO\n"
        assert answer(Endpoint.parse(f"unix:{folder}/sock"), b"hello\n") == b"HELLO\n"
        assert ended(process) == (0, "")
    assert not (folder / "sock").exists()


@pytest.mark.parametrize("handler", ["shout:Outer.Shout", "package.inner:Shout"])
def test_serve_handler_inside(handler: str, folder: Path) -> None:
    with serving("serve", handler, 0, folder=folder) as (process, [endpoint]):
        assert answer(endpoint, b"hello\n") == b"HELLO\n"
        assert ended(process) == (0, "")


def test_the_installed_command_finds_modules_in_the_current_directory(folder: Path) -> None:
    program = Path(sysconfig.get_path("scripts")) / "portside"
    with subprocess.Popen([program, "serve", "shout:Shout", "0"], cwd=folder, stderr=subprocess.PIPE) as process:
        try:
            assert line(process.stderr).startswith("serving Shout at ")
            assert ended(process) == (0, "")
        finally:
            process.kill()


def test_serve_behind_a_proxy(folder: Path) -> None:
    options = ["--proxy-protocol", "192.0.2.1", "--proxy-protocol", "127.0.0.0/8"]
    with started("serve", "shout:Shout", "tcp://127.0.0.1:0", *options, folder=folder) as process:
        endpoint = Endpoint.parse(line(process.stderr).split()[3])
        assert answer(endpoint, b"PROXY UNKNOWN\r\nhello\n") == b"HELLO\n"
        assert ended(process) == (0, "")


def test_serve_function(folder: Path) -> None:
    with serving("serve", "shout:function", 0, folder=folder) as (process, [endpoint]):
        assert answer(endpoint, b"") == b"called"
        assert ended(process) == (0, "")


FAILURES = {
    "serve nope:Shout 0": "there is no module 'nope' in ",
    "serve package.nope:Shout 0": "there is no module 'package.nope' in ",
    "serve nope.shout:Shout 0": "there is no module 'nope' in ",
    "serve shout:Nope 0": "has no 'Nope'",
    "serve shout:Outer.Nope 0": "has no 'Outer.Nope'",
    "serve shout:not_callable 0": "cannot be called",
    "serve shout:OnDatagrams 0": "whose requests are connections",
    "serve shout:Shout udp://127.0.0.1:0": "whose requests are datagrams",
    "serve shout:Shout 0 --engine async": "needs `async def handle(self)`",
    "serve shout:AsyncShout 0": "choose engine='async'",
    "echo unix:no/such/folder/sock": "no/such/folder",
}


@pytest.mark.parametrize("arguments", FAILURES)
def test_failure_is_one_sentence(arguments: str, folder: Path) -> None:
    done = ran(*arguments.split(), folder=folder)
    assert FAILURES[arguments] in one_sentence(done)
    assert done.stdout == b""


def test_address_in_use_is_one_sentence() -> None:
    with listening() as (_, endpoint):
        assert endpoint in one_sentence(ran("echo", endpoint))


def test_error_of_the_module_itself_is_shown_in_full(folder: Path) -> None:
    done = ran("serve", "broken:Shout", 0, folder=folder)
    assert done.returncode == 1
    assert b"Traceback" in done.stderr
    assert b"No module named 'no_such_dependency'" in done.stderr


def test_verbose_tells_of_connections(folder: Path) -> None:
    with serving("serve", "shout:Shout", 0, "--verbose", folder=folder) as (process, [endpoint]):
        assert answer(endpoint, b"hello\n") == b"HELLO\n"
        code, said = ended(process)
    assert code == 0
    assert re.search(r"DEBUG 127\.0\.0\.1:\d+ connected", said)
    assert re.search(r"DEBUG 127\.0\.0\.1:\d+ closed after .*: done, 6 B in, 6 B out", said)


@pytest.mark.parametrize("options", [[], ["-q"]])
def test_failed_handler_is_told(options: list[str], folder: Path) -> None:
    with started("serve", "shout:Failing", "unix:sock", *options, folder=folder) as process:
        endpoint = Endpoint.parse(f"unix:{folder}/sock")
        assert wait_until(lambda: is_served(endpoint), SECONDS)
        assert answer(endpoint, b"") == b""
        code, said = ended(process)
    assert code == 0
    assert "RuntimeError: out of cheese" in said
    assert ("serving Failing" in said) is not bool(options)


def test_quiet_says_nothing(folder: Path) -> None:
    with started("echo", "unix:sock", "--quiet", folder=folder) as process:
        endpoint = Endpoint.parse(f"unix:{folder}/sock")
        assert wait_until(lambda: is_served(endpoint), SECONDS)
        assert answer(endpoint, b"hello") == b"hello"
        assert ended(process) == (0, "")


def test_handlers_finish_when_a_signal_comes(folder: Path) -> None:
    with serving("serve", "shout:Patient", 0, "-v", folder=folder) as (process, [endpoint]):
        with endpoint.connect(DEADLINE) as client, client.makefile("rb") as answers:
            assert answers.readline() == b"begun\n"
            process.send_signal(signal.SIGTERM)
            wait_for_drain(process)
            (folder / "go").touch()
            assert answers.read() == b"done\n"
        process.communicate(timeout=SECONDS)
    assert process.returncode == 0


def test_signal_shows_where_green_handlers_stand(folder: Path) -> None:
    with serving("serve", "shout:Shout", 0, "--engine", "green", folder=folder) as (process, [endpoint]):
        with endpoint.connect(DEADLINE) as client:
            client.sendall(b"hello\n")
            assert client.recv(100) == b"HELLO\n"
            process.send_signal(signal.SIGUSR1)
            said = [line(process.stderr)]
            while "in handle" not in said[-1]:
                said.append(line(process.stderr))
        assert said[0].startswith("hub of thread ")
        assert ended(process)[0] == 0


@pytest.mark.parametrize("drain", [0.1, 600])
def test_handlers_that_do_not_finish_are_given_up(drain: float, folder: Path) -> None:
    with (
        serving("serve", "shout:Patient", 0, "-v", "--drain", drain, folder=folder) as (process, [endpoint]),
        endpoint.connect(DEADLINE) as client,
    ):
        assert client.recv(100) == b"begun\n"
        process.send_signal(signal.SIGINT)
        wait_for_drain(process)
        if drain > SECONDS:
            process.send_signal(signal.SIGINT)
            assert client.recv(100) == b""  # a second signal cuts at once
            (folder / "go").touch()
        process.communicate(timeout=SECONDS)
    assert process.returncode == 0


def wait_for_drain(process: subprocess.Popen[bytes]) -> None:
    assert process.stderr is not None
    assert any(b"draining 1 " in said for said in process.stderr)


# The diagnostic services


def test_echo_on_all_kinds_of_endpoint(folder: Path) -> None:
    endpoints = [0, "udp://127.0.0.1:0", "unix:stream", "unixgram:datagrams"]
    with serving("echo", *endpoints, folder=folder, announced=4) as (process, [tcp, udp, *_]):
        for where in (tcp, udp, f"unix:{folder}/stream", f"unixgram:{folder}/datagrams"):
            with Endpoint.parse(where).connect(DEADLINE) as client:
                client.send(b"hello")
                assert client.recv(100) == b"hello"
        assert ended(process) == (0, "")


def test_time() -> None:
    daytime = re.compile(r"\w+day, \w+ \d\d, \d{4} \d\d:\d\d:\d\d-\S+\r\n?")
    with serving("time", 0, "udp://127.0.0.1:0", announced=2) as (process, [tcp, udp]):
        done = ran("connect", tcp, given=b"what time is it?\n")
        assert done.returncode == 0, done.stderr
        assert daytime.fullmatch(done.stdout.decode())
        with asking(udp, b"what time is it?\n") as client:
            assert daytime.fullmatch(line(client.stdout))
        assert ended(process) == (0, "")


def test_discard() -> None:
    with serving("discard", 0) as (process, [endpoint]):
        done = ran("connect", endpoint, given=bytes(1 << 20))
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert ended(process) == (0, "")


def test_chargen_until_the_client_has_enough() -> None:
    with serving("chargen", 0) as (process, [endpoint]), started("connect", endpoint) as client:
        assert line(client.stdout).startswith(" !\"#$%&'()*+,-./0123456789")
        assert client.stdout is not None
        client.stdout.close()  # as `head` does
        assert client.wait(SECONDS) == 0
        assert line(client.stderr) == ""
        assert ended(process) == (0, "")


# A conversation


def test_connect_is_binary_safe_in_a_pipe() -> None:
    data = bytes(range(256)) * 40_000
    with serving("echo", 0) as (process, [endpoint]):
        done = ran("connect", endpoint, given=data)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == data
        assert ended(process) == (0, "")


def test_connect_tells_the_server_of_the_end_of_the_input() -> None:
    with listening() as (listener, endpoint), started("connect", endpoint) as process:
        with accepted(listener) as server:
            assert process.stdin is not None
            process.stdin.write(b"question")
            process.stdin.close()
            process.stdin = None
            assert b"".join(iter(lambda: server.recv(100), b"")) == b"question"
            server.sendall(b"answer")
        out, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, out, errors) == (0, b"answer", b"")


def test_connect_goes_both_ways_at_once() -> None:
    with listening() as (listener, endpoint), started("connect", endpoint) as process:
        assert process.stdin is not None
        with accepted(listener) as server:
            for number in range(3):
                server.sendall(b"from the server\n")
                assert line(process.stdout) == "from the server"
                process.stdin.write(b"from the terminal %d\n" % number)
                process.stdin.flush()
                assert server.recv(100) == b"from the terminal %d\n" % number
        assert process.wait(SECONDS) == 0  # the server has ended it, though the input goes on


def test_connect_works_on_a_terminal() -> None:
    ours, terminal = os.openpty()
    try:
        with listening() as (listener, endpoint), started("connect", endpoint, stdin=terminal) as process:
            with accepted(listener) as server:
                os.write(ours, b"hello\n")
                assert server.recv(100) == b"hello\n"
                os.write(ours, b"\x04")  # Ctrl-D
                assert server.recv(100) == b""
                server.sendall(b"bye\n")
            assert line(process.stdout) == "bye"
            assert process.wait(SECONDS) == 0
    finally:
        os.close(ours)
        os.close(terminal)


def test_connect_without_an_input() -> None:
    command = " ".join([shlex.join([*PORTSIDE, "connect"]), '"$1"', "<&-"])
    with listening() as (listener, endpoint):
        process = subprocess.Popen(
            ["sh", "-c", command, "sh", endpoint], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        with process, accepted(listener) as server:
            assert server.recv(100) == b""
            server.sendall(b"answer")
            server.close()
            assert process.communicate(timeout=SECONDS) == (b"answer", b"")
    assert process.returncode == 0


def test_connect_crlf() -> None:
    with listening() as (listener, endpoint), started("connect", endpoint, "--crlf") as process:
        assert process.stdin is not None
        process.stdin.write(b"one\ntwo\r\n\nthree")
        process.stdin.close()
        process.stdin = None
        with accepted(listener) as server:
            assert b"".join(iter(lambda: server.recv(100), b"")) == b"one\r\ntwo\r\n\r\nthree"
        process.communicate(timeout=SECONDS)
    assert process.returncode == 0


@given(st.lists(st.text(alphabet="a\r\n", min_size=1).map(str.encode)))
def test_crlf_is_the_same_however_the_text_is_cut(pieces: Sequence[bytes]) -> None:
    whole = re.sub(rb"\r?\n", b"\r\n", b"".join(pieces))
    assert b"".join(conversation._with_crlf(iter(pieces))) == whole


def unused() -> str:
    """The address of a socket that was closed a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("where", ["tcp://", "udp://"])
def test_connect_to_nobody(where: str) -> None:
    endpoint = where + unused()
    said = one_sentence(ran("connect", endpoint, "--wait", SECONDS, given=b"hello\n"))
    assert endpoint in said
    assert "Connection refused" in said


@pytest.mark.parametrize("endpoint", ["unix:nope", "unixgram:@portside-nobody"])
def test_connect_to_nowhere(endpoint: str, tmp_path: Path) -> None:
    assert f"{endpoint} cannot be reached: " in one_sentence(ran("connect", endpoint, folder=tmp_path))


def test_connection_reset() -> None:
    with listening() as (listener, endpoint), started("connect", endpoint) as process:
        with accepted(listener) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        out, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (1, b"")
    assert errors.decode() == f"portside: the conversation with {endpoint} broke off: Connection reset by peer\n"


def test_connect_reads_what_is_left_after_a_reset_while_sending() -> None:
    with listening() as (listener, endpoint), started("connect", endpoint) as process:
        assert process.stdin is not None
        with accepted(listener) as server:
            server.sendall(b"go away\n")
            process.stdin.write(bytes(1 << 16))
            process.stdin.flush()
            server.recv(1)
        assert line(process.stdout) == "go away"
        assert process.wait(SECONDS) in (0, 1)  # the reset may overtake the end


def test_timeout_of_a_silent_server() -> None:
    with listening() as (listener, endpoint), started("connect", endpoint, "--timeout", 0.2) as process:
        with accepted(listener):
            assert process.stderr is not None
            said = process.stderr.read().decode()
        assert process.wait(SECONDS) == 1
    assert said == f"portside: the conversation with {endpoint} broke off: nothing was said for 0.2 s\n"


def test_interrupted_conversation() -> None:
    with listening() as (listener, endpoint), started("connect", endpoint) as process, accepted(listener) as server:
        server.sendall(b"half of it\n")
        assert line(process.stdout) == "half of it"
        assert ended(process) == (130, "")


# Datagrams


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    """A UDP socket of our own."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(DEADLINE)
        yield sock


def at(receiver: socket.socket) -> str:
    return f"udp://127.0.0.1:{receiver.getsockname()[1]}"


@pytest.mark.parametrize(("options", "ending"), [([], b""), (["--crlf"], b"\r\n")])
def test_each_line_is_a_datagram(options: list[str], ending: bytes, receiver: socket.socket) -> None:
    with started("connect", at(receiver), "--wait", 3600, *options) as process:
        assert process.stdin is not None
        process.stdin.write(b"one\ntwo\r\n\nlast")
        process.stdin.flush()
        expected = [b"one", b"two", b""]
        assert [receiver.recv(100) for _ in expected] == [each + ending for each in expected]
        process.stdin.close()
        process.stdin = None
        data, client = receiver.recvfrom(100)
        assert data == b"last" + ending
        for answer in (b"without an end", b"with one\n"):  # late: the input has ended
            receiver.sendto(answer, client)
        assert [line(process.stdout) for _ in range(2)] == ["without an end", "with one"]
        assert ended(process) == (130, "")


def test_answers_are_printed_while_the_input_goes_on(receiver: socket.socket) -> None:
    with started("connect", at(receiver)) as process:
        assert process.stdin is not None
        for number in itertools.islice(itertools.count(), 3):
            process.stdin.write(b"%d\n" % number)
            process.stdin.flush()
            data, client = receiver.recvfrom(100)
            receiver.sendto(b"answer to " + data, client)
            assert line(process.stdout) == f"answer to {number}"


def test_wait_is_how_long_late_answers_have(receiver: socket.socket) -> None:
    done = ran("connect", at(receiver), "--wait", 0.1, given=b"is anybody there?\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert receiver.recv(100) == b"is anybody there?"
    with asking(at(receiver), b"hello\n") as process:
        _, client = receiver.recvfrom(100)
        receiver.sendto(b"one", client)
        assert line(process.stdout) == "one"
        receiver.sendto(b"another", client)
        assert line(process.stdout) == "another"


def test_a_line_too_long_for_a_datagram(receiver: socket.socket) -> None:
    assert "Message too long" in one_sentence(ran("connect", at(receiver), given=bytes(70_000)))


def test_unix_datagrams(folder: Path) -> None:
    with serving("echo", "unixgram:sock", folder=folder) as (process, _):
        with asking("unixgram:sock", b"hello\nyou\n", folder) as client:
            assert [line(client.stdout) for _ in range(2)] == ["hello", "you"]
        assert ended(process) == (0, "")
