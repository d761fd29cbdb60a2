"""How HTTP is spoken, from a file: limits, how files are served, what scripts may do; and to whom that says nothing."""

import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import portside
from portside.http.cgi.handler import CGIHTTPRequestHandler
from portside.http.cgi.options import CGIOptions
from portside.http.files.options import MIB, FileOptions
from portside.http.limits import HTTPLimits
from portside.http.server import SimpleHTTPRequestHandler
from portside.service.config.checking import outlook
from tests.config.kit import made, wrong
from tests.conftest import DEADLINE

TALK = """
import portside
from portside.http.limits import HTTPLimits
from portside.http.server import BaseHTTPRequestHandler

class Talk(portside.StreamRequestHandler):
    pass

class Own(BaseHTTPRequestHandler):
    http_limits = HTTPLimits(keep_alive=1, header_count=7)

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "talking.py").write_text(TALK, encoding="utf-8")
    (tmp_path / "page.txt").write_text("hello", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def handler(text: str) -> Any:
    """What a file has served, loaded."""
    with ExitStack() as stack:
        found = stack.enter_context(made(text).alone.loaded()).handler
    return getattr(found, "func", found)


FOLDER = 'folder = "."\nendpoints = "tcp://127.0.0.1:0"\n'


def test_what_is_said_of_a_folder(folder: Path) -> None:
    found = handler(
        FOLDER
        + """
cgi = true
[http_limits]
keep_alive = "1min"
body_bytes = "1GiB"
[file_options]
uploads = true
upload_limit = "2GiB"
listings = false
cors_origins = "https://app.example"
cache_control = { "/assets/*" = "max-age=3600", "*" = "no-cache" }
[file_options.headers]
X-Frame-Options = "DENY"
Link = ["</a>", "</b>"]
[cgi_options]
seconds = "5s"
output = "1MiB"
environment = ["PATH"]
"""
    )
    assert issubclass(found, CGIHTTPRequestHandler)
    assert found.http_limits == HTTPLimits(keep_alive=60, body_bytes=1024 * MIB)
    assert found.cgi_options == CGIOptions(seconds=5, output=MIB, environment=("PATH",))
    assert found.file_options == FileOptions(
        uploads=True,
        upload_limit=2048 * MIB,
        listings=False,
        cors_origins=("https://app.example",),
        cache_control={"/assets/*": "max-age=3600", "*": "no-cache"},
        headers=(("X-Frame-Options", "DENY"), ("Link", "</a>"), ("Link", "</b>")),
    )


def test_handler_keeps_what_nobody_says(folder: Path) -> None:
    found = handler('handler = "talking:Own"\nendpoints = 0\nhttp_limits.keep_alive = 5')
    assert found.http_limits == HTTPLimits(keep_alive=5, header_count=7)
    assert (found.__name__, found.__module__) == ("Own", "talking")


def test_handler_of_which_nothing_is_said_is_served_itself(folder: Path) -> None:
    found = handler('handler = "talking:Own"\nendpoints = 0\n[http_limits]')
    assert "http_limits" in vars(found) and found.http_limits.keep_alive == 1


def test_limit_of_a_handler_can_be_switched_off(folder: Path) -> None:
    assert handler('wsgi = "talking:app"\nhttp_limits.body_bytes = "off"').http_limits == HTTPLimits()


def test_folder_is_served_so(folder: Path) -> None:
    service = made(f"{FOLDER}[file_options.headers]\nX-Own = 'yes'").alone
    with service.loaded() as loaded, portside.start(loaded.handler, *loaded.endpoints) as running:
        with urllib.request.urlopen(f"http://127.0.0.1:{running.endpoint.port}/page.txt", timeout=DEADLINE) as answer:
            assert (answer.headers["X-Own"], answer.read()) == ("yes", b"hello")
        put = urllib.request.Request(f"http://127.0.0.1:{running.endpoint.port}/new", b"x", method="PUT")
        with pytest.raises(urllib.error.HTTPError, match="501"):  # uploads are off unless somebody says so
            urllib.request.urlopen(put, timeout=DEADLINE)


def test_several_services_differ(folder: Path) -> None:
    text = '[services.a]\nfolder = "."\nendpoints = 9001\n[services.a.file_options]\nuploads = true\n'
    found = made(f'{text}[services.b]\nfolder = "."\nendpoints = 9002\n').services
    uploads = []
    for each in found:
        with each.service.loaded() as loaded:
            handler: Any = loaded.handler
            assert issubclass(handler.func, SimpleHTTPRequestHandler)
            uploads.append(handler.func.file_options.uploads)
    assert uploads == [True, False]


def test_variables_and_options_say_it_too(folder: Path) -> None:
    environment = {"PORTSIDE_HTTP_LIMITS__KEEP_ALIVE": "5s", "PORTSIDE_FILE_OPTIONS__UPLOADS": "true"}
    given: dict[tuple[str, ...], str] = {
        ("file_options", "headers"): '{ X-Own = "yes" }',
        ("http_limits", "keep_alive"): "6",
    }
    [wanted] = made(FOLDER, environment, given).services
    assert wanted.changes == {
        "http_limits": {"keep_alive": 6},
        "file_options": {"uploads": True, "headers": (("X-Own", "yes"),)},
    }


WRONG = {
    "http_limits.keep_alive = 0": "http_limits.keep_alive = 0 is not accepted; accepted is a number above 0",
    'http_limits.request_line = "8 kB"': 'or a text such as "64KiB"',
    "http_limits.keepalive = 5": "http_limits.keepalive is no option; did you mean keep_alive?",
    'http_limits = "off"': 'http_limits = "off" is not accepted; accepted is a table of body_bytes, ',
    'file_options.uploads = "yes"': "accepted is true or false",
    "file_options.gzip_limit = -1": "gzip_limit is a number of bytes, 0 or more, and not -1",
    'file_options.cors_origins = ["app.example"]': 'write "*" or an origin such as',
    'file_options.headers = "X: y"': 'accepted is a table of header fields, as { X-Frame-Options = "DENY" }',
    'file_options.headers = { "X y" = "z" }': "which is no name of a header field",
    "file_options.cache_control = { '*' = 5 }": "accepted is a table of texts",
    "cgi_options.redirects = 0": "must be a number above 0",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_line(line: str) -> None:
    [said] = wrong(f"{FOLDER}{line}\n")
    assert said.startswith("app.toml:3: ")
    assert WRONG[line] in said


def test_wrong_variable() -> None:
    [said] = wrong(FOLDER, {"PORTSIDE_FILE_OPTIONS": "off"})
    assert said.startswith(
        'PORTSIDE_FILE_OPTIONS: "off" is not accepted; accepted is a value for one of its own: cache_'
    )
    [said] = wrong(FOLDER, {"PORTSIDE_FILE_OPTIONS__UPLOADS": "yes"})
    assert said == 'PORTSIDE_FILE_OPTIONS__UPLOADS: "yes" is not accepted; accepted is true or false'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'handler = "talking:Talk"\nendpoints = 0\nhttp_limits.keep_alive = 5',
            "app.toml:3: http_limits says nothing to Talk, which is no handler that speaks HTTP",
        ),
        (
            'wsgi = "talking:app"\nendpoints = 0\nfile_options.uploads = true',
            "app.toml:3: file_options says nothing to app, which is no handler that serves files",
        ),
        (
            f"{FOLDER}cgi_options.seconds = 5",
            "app.toml:3: cgi_options says nothing to SimpleHTTPRequestHandler, which is no handler that runs scripts",
        ),
    ],
)
def test_to_whom_it_says_nothing(folder: Path, text: str, said: str) -> None:
    [problem] = outlook(made(text)).problems
    assert str(problem) == said
