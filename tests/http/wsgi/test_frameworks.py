"""Real applications, of Flask and Django, served by `portside wsgi` as their users do it."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from portside.endpoints import Endpoint
from tests.conftest import DEADLINE

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_leaks")]

SECONDS = 20.0  # for a process to start, or to end, on a busy machine
PORTSIDE = [sys.executable, "-m", "portside", "wsgi"]

FLASK = """
import flask

app = flask.Flask("shop")

@app.post("/orders/<name>")
def order(name):
    return flask.jsonify(name=name, sent=len(flask.request.get_data()), query=flask.request.args)

@app.get("/stream")
def stream():
    return flask.Response((f"{number}" for number in range(3)), mimetype="text/plain")

@app.get("/file")
def file():
    return flask.send_file(__file__, mimetype="text/plain", conditional=True)

@app.get("/broken")
def broken():
    raise LookupError("no cheese")
"""

DJANGO = """
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

def order(request, name):
    return JsonResponse({"name": name, "sent": len(request.body), "query": request.GET.dict()})

def broken(request):
    raise LookupError("no cheese")

urlpatterns = [
    path("orders/<str:name>", order),
    path("stream", lambda _: StreamingHttpResponse(iter(["0", "1", "2"]))),
    path("file", lambda _: FileResponse(open(__file__, "rb"))),
    path("broken", broken),
]
settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["127.0.0.1"], ROOT_URLCONF=__name__)
app = get_wsgi_application()
"""


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple["subprocess.Popen[str]", http.client.HTTPConnection]]:
    """`portside wsgi shop:app`, and a connection to it."""
    with subprocess.Popen(
        [*PORTSIDE, "shop:app", "tcp://127.0.0.1:0", *options],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            assert said.startswith("serving app at "), said + process.stderr.read()
            client = http.client.HTTPConnection("127.0.0.1", Endpoint.parse(said.split()[3]).port, timeout=DEADLINE)
            yield process, client
            client.close()
        finally:
            process.kill()


def ask(
    client: http.client.HTTPConnection, method: str, target: str, body: Any = None, **headers: str
) -> tuple[int, bytes]:
    client.request(method, target, body, headers)
    answer = client.getresponse()
    return answer.status, answer.read()


@pytest.mark.parametrize("engine", ["serial", "threads", "forks", "green"])
@pytest.mark.parametrize("text", [FLASK, DJANGO], ids=["flask", "django"])
def test_application(text: str, engine: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(text)
    with served(tmp_path, "--engine", engine) as (_, client):
        status, body = ask(client, "POST", "/orders/gr%C3%BC%C3%9F?a=%26", b"x" * 100_000)
        assert (status, json.loads(body)) == (200, {"name": "grüß", "sent": 100_000, "query": {"a": "&"}})
        assert ask(client, "GET", "/stream") == (200, b"012")
        assert ask(client, "GET", "/file") == (200, text.encode())
        assert ask(client, "HEAD", "/file") == (200, b"")
        assert ask(client, "GET", "/missing")[0] == 404
        assert ask(client, "GET", "/broken")[0] == 500
        assert ask(client, "GET", "/stream") == (200, b"012")


def test_chunked_body_and_range_of_flask(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(FLASK)
    with served(tmp_path) as (_, client):
        assert json.loads(ask(client, "POST", "/orders/x", iter([b"ab", b"c"]))[1])["sent"] == 3
        assert ask(client, "GET", "/file", Range="bytes=1-6") == (206, b"import")


@pytest.mark.parametrize("form", ["common", "combined", "json"])
def test_access_log(form: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(FLASK)
    with served(tmp_path, "--access-log", "-", "--log-form", form) as (process, client):
        ask(client, "GET", "/stream", **{"User-Agent": "me"})
        client.close()
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=SECONDS)
    assert '"GET /stream HTTP/1.1"' in output
    assert ("me" in output) is (form != "common")
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no_such_module:app"], "there is no module 'no_such_module'"),
        (["shop:nothing"], "has no 'nothing'"),
        (["shop:number"], "cannot be called: give a WSGI application"),
        (["shop:app", "--access-log", "no/such/folder/log"], "No such file or directory: 'no/such/folder/log'"),
    ],
)
def test_what_cannot_be_served(arguments: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("number = 5\ndef app(environ, start_response): pass\n")
    done = subprocess.run(
        [*PORTSIDE, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert (done.returncode, said in done.stderr, done.stderr.count("\n")) == (1, True, 1)
