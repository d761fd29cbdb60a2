"""`CGIHTTPRequestHandler` on a server: real scripts, real connections."""

import http.client
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portside import telemetry
from portside.http.cgi.handler import CGIHTTPRequestHandler
from portside.http.cgi.options import CGIOptions
from portside.http.servers import ThreadingHTTPServer
from portside.telemetry import ScriptFailed
from tests.conftest import DEADLINE, wait_until
from tests.http.kit import running

pytestmark = pytest.mark.usefixtures("no_leaks")

HEAD = "echo Content-Type: text/plain; echo"


class Quiet(CGIHTTPRequestHandler):
    """Keeps what it would print."""

    protocol_version = "HTTP/1.1"
    cgi_options = CGIOptions(user=None)

    def log_message(self, format: str, *args: Any) -> None:
        self.server.said.append(format % args)


class Site:
    """A folder with scripts, and a server of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scripts = folder / "cgi-bin"
        self.scripts.mkdir()
        self.said: list[str] = []
        self.port = 0

    def script(self, name: str, *lines: str, shell: str = "/bin/sh") -> Path:
        """Put a script there."""
        path = self.scripts / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join([f"#!{shell}", *lines, ""]))
        path.chmod(0o755)
        return path

    def python(self, name: str, *lines: str) -> Path:
        """Put a script of Python's there."""
        return self.script(name, *lines, shell=f"{sys.executable} -I")

    @contextmanager
    def served(self, **attributes: Any) -> Iterator["Site"]:
        """Serve the folder within the block, by a handler with these attributes."""
        handler = type("Handler", (Quiet,), attributes)
        server = Server(("127.0.0.1", 0), handler, handler_args={"directory": str(self.folder)})
        server.said, self.port = self.said, server.server_port
        with running(server):
            yield self

    @contextmanager
    def client(self) -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            yield connection
        finally:
            connection.close()

    def ask(self, method: str, target: str, body: Any = None, **headers: str) -> "Answer":
        """One request on a connection of its own."""
        with self.client() as client:
            client.request(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
            return Answer.of(client.getresponse())

    def get(self, target: str, **headers: str) -> "Answer":
        return self.ask("GET", target, **headers)

    def raw(self, *sent: bytes) -> bytes:
        """Send bytes as they are, and read until the server ends the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as client:
            for data in sent:
                client.sendall(data)
            return b"".join(iter(lambda: client.recv(65536), b""))


@dataclass(frozen=True)
class Answer:
    """What a client got."""

    status: int
    reason: str
    body: bytes
    headers: Any

    @classmethod
    def of(cls, response: http.client.HTTPResponse) -> "Answer":
        return cls(response.status, response.reason, response.read(), response.headers)


class Server(ThreadingHTTPServer):
    said: list[str]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path).served() as serving:
        yield serving


@pytest.fixture
def failures() -> Iterator[list[ScriptFailed]]:
    """What telemetry says of scripts."""
    heard: list[ScriptFailed] = []
    with telemetry.subscribe(heard.append, ScriptFailed):
        yield heard


# The answer


def test_document(site: Site) -> None:
    site.script("hello", "echo Content-Type: text/plain", "echo", "echo hello")
    got = site.get("/cgi-bin/hello")
    assert (got.status, got.reason, got.body) == (200, "OK", b"hello\n")
    assert got.headers["Content-Type"] == "text/plain"
    assert got.headers["Transfer-Encoding"] == "chunked"


def test_status_and_fields_are_the_scripts(site: Site) -> None:
    site.script(
        "gone",
        "echo Status: 410 Gone Fishing",
        "echo X-Own: 1",
        "echo Set-Cookie: a=1",
        "echo Set-Cookie: b=2",
        "echo Content-Length: 3",
        "echo",
        "printf bye",
    )
    got = site.get("/cgi-bin/gone")
    assert (got.status, got.reason, got.body, got.headers["X-Own"]) == (410, "Gone Fishing", b"bye", "1")
    assert got.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert got.headers["Transfer-Encoding"] is None


def test_redirect_of_the_client(site: Site) -> None:
    site.script("away", "echo Location: https://example.org/x", "echo")
    got = site.get("/cgi-bin/away")
    assert (got.status, got.headers["Location"], got.body) == (302, "https://example.org/x", b"")


def test_local_redirect(site: Site) -> None:
    site.script("near", "echo Location: /page.txt", "echo")
    (site.folder / "page.txt").write_text("a page")
    assert site.get("/cgi-bin/near").body == b"a page"
    posted = site.ask("POST", "/cgi-bin/near", b"x" * 1000)
    assert (posted.status, posted.body) == (200, b"a page")
    assert site.ask("HEAD", "/cgi-bin/near").headers["Content-Length"] == "6"


def test_local_redirect_to_a_script_is_a_get_without_a_body(site: Site) -> None:
    site.script("near", "echo 'Location: /cgi-bin/show?a=b'", "echo")
    site.script("show", HEAD, "echo $REQUEST_METHOD $QUERY_STRING $CONTENT_LENGTH.")
    assert site.ask("POST", "/cgi-bin/near", b"body").body == b"GET a=b .\n"


def test_local_redirects_come_to_an_end(site: Site) -> None:
    site.script("round", "echo Location: /cgi-bin/round", "echo")
    assert site.get("/cgi-bin/round").status == 508


def test_script_that_speaks_http_itself(site: Site) -> None:
    site.script("nph-own", "printf 'HTTP/1.1 299 Mine\\r\\nX-Own: 1\\r\\n\\r\\nhello'")
    assert (
        site.raw(b"GET /cgi-bin/nph-own HTTP/1.1\r\nHost: x\r\n\r\n") == b"HTTP/1.1 299 Mine\r\nX-Own: 1\r\n\r\nhello"
    )


def test_head_has_no_body(site: Site) -> None:
    site.script("hello", "echo Content-Length: 6", HEAD, "echo hello")
    got = site.ask("HEAD", "/cgi-bin/hello")
    assert (got.status, got.headers["Content-Length"], got.body) == (200, "6", b"")


def test_output_leaves_before_the_script_ends(site: Site) -> None:
    os.mkfifo(site.folder / "go", 0o666)
    site.script("slow", HEAD, "echo first", f"read line < {site.folder}/go", "echo $line")
    with site.client() as client:
        client.request("GET", "/cgi-bin/slow")
        response = client.getresponse()
        assert response.readline() == b"first\n"
        (site.folder / "go").write_text("second\n")
        assert response.read() == b"second\n"


def test_connection_goes_on(site: Site) -> None:
    site.script("hello", HEAD, "echo hello")
    site.script("sized", "echo Content-Length: 2", HEAD, "printf ok")
    with site.client() as client:
        for name, body in (("hello", b"hello\n"), ("sized", b"ok"), ("missing", None), ("hello", b"hello\n")):
            client.request("GET", f"/cgi-bin/{name}")
            got = Answer.of(client.getresponse())
            assert got.body == body or (body is None and got.status == 404)


def test_http_1_0_ends_with_the_connection(site: Site) -> None:
    site.script("hello", HEAD, "echo hello")
    got = site.raw(b"GET /cgi-bin/hello HTTP/1.0\r\n\r\n")
    assert got.endswith(b"\r\n\r\nhello\n")
    assert b"chunked" not in got


# The request


def test_environment(site: Site) -> None:
    site.script("env", HEAD, "env")
    got = site.get(
        "/cgi-bin/env/in%2Ffo%3F/%C3%BC?a=b%20c", X_Own="1", Proxy="evil", Authorization="Basic eDp5", X__Y="z"
    )
    found = dict(line.partition("=")[::2] for line in got.body.decode().splitlines())
    assert found["GATEWAY_INTERFACE"] == "CGI/1.1"
    assert (found["SCRIPT_NAME"], found["PATH_INFO"], found["QUERY_STRING"]) == ("/cgi-bin/env", "/in/fo?/ü", "a=b%20c")
    assert found["PATH_TRANSLATED"] == f"{site.folder}/in/fo?/ü"
    assert found["SCRIPT_FILENAME"] == f"{site.scripts}/env"
    assert (found["REMOTE_ADDR"], found["SERVER_PORT"], found["SERVER_PROTOCOL"]) == (
        "127.0.0.1",
        str(site.port),
        "HTTP/1.1",
    )
    assert (found["SERVER_NAME"], found["REMOTE_HOST"]) == ("127.0.0.1", "")
    assert found["SERVER_SOFTWARE"].startswith("SimpleHTTP/")
    assert (found["HTTP_X_OWN"], found["REQUEST_METHOD"], found["CONTENT_LENGTH"]) == ("1", "GET", "")
    assert not {"HTTP_PROXY", "HTTP_AUTHORIZATION", "REMOTE_USER", "AUTH_TYPE", "CONTENT_TYPE", "HOME"} & set(found)


def test_whole_environment_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_SERVER", "kept")
    site = Site(tmp_path)
    site.script("env", HEAD, "echo $OF_THE_SERVER.")
    with site.served():
        assert site.get("/cgi-bin/env").body == b".\n"
    with site.served(cgi_options=CGIOptions(user=None, environment=("*",))):
        assert site.get("/cgi-bin/env").body == b"kept.\n"


def test_user_that_the_program_has_found_out(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.script("who", HEAD, "echo $AUTH_TYPE $REMOTE_USER")
    with site.served(remote_user="ada"):
        assert site.get("/cgi-bin/who", Authorization="Basic eDp5").body == b"Basic ada\n"


@pytest.mark.parametrize(("query", "words"), [("", b"0"), ("a=b", b"0"), ("a+b%20c", b"2 a b c"), ("-x", b"0")])
def test_command_line(query: str, words: bytes, site: Site) -> None:
    site.script("args", HEAD, 'echo $# "$@"')
    assert site.get(f"/cgi-bin/args?{query}").body.strip() == words
    assert site.ask("POST", f"/cgi-bin/args?{query}").body.strip() == b"0"


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_body_flows_through(size: int, method: str, site: Site) -> None:
    site.script("echo", HEAD, "exec cat")
    data = os.urandom(size)
    assert site.ask(method, "/cgi-bin/echo", data).body == data


def test_body_in_chunks_has_a_length(site: Site) -> None:
    site.script("echo", HEAD, "echo $CONTENT_LENGTH $HTTP_TRANSFER_ENCODING.", "exec cat")
    got = site.ask("POST", "/cgi-bin/echo", iter([b"he", b"llo"]))
    assert got.body == b"5 .\nhello"


def test_body_that_nobody_reads(site: Site) -> None:
    site.script("hello", HEAD, "echo hello")
    with site.client() as client:
        for _ in range(2):
            client.request("POST", "/cgi-bin/hello", bytes(200_000))
            assert client.getresponse().read() == b"hello\n"


@pytest.mark.parametrize("body", [bytes(101), iter([bytes(60), bytes(60)])])
def test_body_that_is_too_long(body: Any, tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.script("hello", HEAD, "echo hello")
    with site.served(cgi_options=CGIOptions(user=None, input=100)):
        assert site.ask("POST", "/cgi-bin/hello", body).status == 413


def test_client_that_asks_before_it_sends(site: Site) -> None:
    site.script("echo", HEAD, "exec cat")
    with socket.create_connection(("127.0.0.1", site.port), timeout=DEADLINE) as client:
        client.sendall(b"POST /cgi-bin/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        with client.makefile("rb") as answers:
            assert answers.readline() == b"HTTP/1.1 100 Continue\r\n"
            assert answers.readline() == b"\r\n"
            client.sendall(b"hello")
            assert answers.readline() == b"HTTP/1.1 200 OK\r\n"


def test_working_directory(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.script("where", HEAD, "pwd")
    with site.served():
        assert site.get("/cgi-bin/where").body.decode().strip() == os.getcwd()
    with site.served(cgi_options=CGIOptions(user=None, own_directory=True)):
        assert site.get("/cgi-bin/where").body.decode().strip() == str(site.scripts)


# Which script


def test_scripts_in_folders_below(site: Site) -> None:
    site.script("inner/hello", HEAD, "echo $SCRIPT_NAME $PATH_INFO")
    assert site.get("/cgi-bin/inner/hello/x").body == b"/cgi-bin/inner/hello /x\n"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/cgi-bin/missing", 404),
        ("/cgi-bin/", 403),
        ("/cgi-bin/inner", 403),
        ("/cgi-bin/plain", 403),
        ("/cgi-bin/linked", 404),
        ("/cgi-bin/hello/%00", 404),
        ("/cgi-bin/hello%00", 404),
        ("/cgi-bin/../../x", 400),
        ("/x/%2e%2e/cgi-bin/hello", 200),
        ("/cgi-bin/hello#/../../x", 200),  # what is no script here must not be shown as a file there
        ("/page.txt", 200),
        ("http://127.0.0.1/cgi-bin/hello", 200),
        ("http://127.0.0.1/cgi-bin/plain", 403),
    ],
)
def test_which_script(target: str, status: int, site: Site) -> None:
    site.script("hello", HEAD, "echo hello")
    site.script("inner/hello", HEAD)
    site.script("plain").chmod(0o644)
    (site.scripts / "linked").symlink_to("/bin/true")
    (site.folder / "page.txt").write_text("a page")
    with site.client() as client:
        client.putrequest("GET", target)
        client.endheaders()
        got = Answer.of(client.getresponse())
    assert got.status == status
    assert b"#!/bin/sh" not in got.body


def test_only_scripts_take_posts(site: Site) -> None:
    (site.folder / "page.txt").write_text("a page")
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert site.ask(method, "/page.txt", b"x").status == 501
    assert site.ask("POST", "/../x", b"x").status == 400


def test_python_scripts_where_nothing_starts_by_itself(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.script("hello.py", "import sys", "print('Content-Type: text/plain\\n\\n', sys.argv[1:])").chmod(0o644)
    with site.served(have_fork=False):
        assert site.get("/cgi-bin/hello.py?a").body.strip() == b"['a']"


# Scripts that go wrong: never a 200


@pytest.mark.parametrize(
    ("lines", "status", "reason"),
    [
        (["echo hello", "echo"], 502, "is no header field"),
        (["exit 3"], 502, "ends before the empty line"),
        (["printf 'Content-Type: text/plain'"], 502, "ends before the empty line"),
        (["echo", "echo hello"], 502, "begins with an empty line"),
        (["echo X-Own: 1", "echo"], 502, "neither Content-Type"),
        (["yes Content-Type: text/plain"], 502, "the head of its answer is longer than"),
        (["while :; do :; done"], 504, "wrote nothing for"),
    ],
)
def test_no_200_before_the_script_has_said_so(
    lines: list[str], status: int, reason: str, tmp_path: Path, failures: list[ScriptFailed]
) -> None:
    site = Site(tmp_path)
    site.script("bad", *lines)
    with site.served(cgi_options=CGIOptions(user=None, silence=0.5)):
        got = site.get("/cgi-bin/bad")
    assert (got.status, b"Bad Gateway" in got.body or b"Gateway Timeout" in got.body) == (status, True)
    assert [(each.script, reason in each.reason) for each in failures] == [("/cgi-bin/bad", True)]
    assert any(reason in line for line in site.said)


def test_script_that_cannot_be_started(site: Site, failures: list[ScriptFailed]) -> None:
    site.script("bad", shell="/no/such/shell")
    assert site.get("/cgi-bin/bad").status == 500
    assert [each.exit_code for each in failures] == [None]
    assert "cannot be started" in failures[0].reason


def test_exit_code_is_told(site: Site, failures: list[ScriptFailed]) -> None:
    site.script("bad", HEAD, "echo hello", "echo no cheese >&2", "exit 3")
    assert site.get("/cgi-bin/bad").body == b"hello\n"
    assert wait_until(lambda: bool(failures))
    assert (failures[0].exit_code, failures[0].reason, failures[0].errors) == (3, "", "no cheese")
    assert "CGI script /cgi-bin/bad: exit code 3: no cheese" in site.said


def test_last_words_of_one_that_is_well_are_told(site: Site) -> None:
    site.script("chatty", HEAD, "echo by the way >&2")
    assert site.get("/cgi-bin/chatty").status == 200
    assert wait_until(lambda: any("by the way" in line for line in site.said))


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["echo Content-Length: 3", HEAD, "printf hello"], "longer than 3 B"),
        (["echo Content-Length: 9", HEAD, "printf hello"], "its answer has 5 B, and its Content-Length is 9"),
        ([HEAD, "exec yes"], "longer than 100000 B"),
        ([HEAD, "echo hello", "while :; do :; done"], "wrote nothing for"),
    ],
)
def test_answer_that_breaks_off_ends_the_connection(
    lines: list[str], reason: str, tmp_path: Path, failures: list[ScriptFailed]
) -> None:
    site = Site(tmp_path)
    site.script("bad", *lines)
    with site.served(cgi_options=CGIOptions(user=None, silence=0.5, output=100_000)):
        got = site.raw(b"GET /cgi-bin/bad HTTP/1.1\r\nHost: x\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert not got.endswith(b"0\r\n\r\n")
    assert [reason in each.reason for each in failures] == [True]


def test_script_ends_when_its_client_leaves(site: Site) -> None:
    pid = site.folder / "pid"
    site.script("endless", f"echo $$ > {pid}", HEAD, "exec yes")
    with socket.create_connection(("127.0.0.1", site.port), timeout=DEADLINE) as client:
        client.sendall(b"GET /cgi-bin/endless HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(10)
    assert wait_until(lambda: not psutil.pid_exists(int(pid.read_text())))


def test_nothing_is_shown_of_a_script_whatever_the_target(site: Site) -> None:
    secret = site.script("hello", HEAD, "echo hello").read_bytes()

    @given(
        st.lists(
            st.sampled_from(["/", "cgi-bin", "hello", "..", ".", "%2e", "%2F", "#", "?", "%23", "\\", ";"]), max_size=12
        )
    )
    @settings(max_examples=40)
    def ask(pieces: list[str]) -> None:
        with site.client() as client:
            client.putrequest("GET", f"/{''.join(pieces)}")
            client.endheaders()
            assert secret not in client.getresponse().read()

    ask()
