"""The HTTP servers that are measured, as commands: ours, the standard library's, and public ones.

    python -m benchmarks._web_peers threads|green|stdlib hello|files|wsgi|flask PORT FOLDER [--tls]

serves one of those that are written here until it is killed: FOLDER holds the files, certificate.pem and key.pem.
"""

import argparse
import functools
import http.server
import importlib
import shutil
import subprocess
import sys
import wsgiref.simple_server
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._web_apps import BODY
from portside.http import server as ours
from portside.http.wsgi.handler import wsgi_handler

BACKLOG = 4096  # the standard library's 5 would turn clients away in the bursts that all servers get here
THREADS = "8"  # of servers that want to be told


# Ours and the standard library's


def hello(base: Any) -> Any:
    """`do_GET` as anyone would write it."""

    def do_GET(self: Any) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    return quiet(base, do_GET=do_GET)


def quiet(base: Any, **members: Any) -> Any:
    """Connections that stay, no lines on stderr."""
    options = {"protocol_version": "HTTP/1.1", "disable_nagle_algorithm": True, "log_message": lambda *_: None}
    return type(base.__name__, (base,), options | members)


def application(content: str) -> Any:
    """The WSGI application of a workload."""
    return importlib.import_module(APPLICATIONS[content]).wsgi


APPLICATIONS = {"wsgi": "benchmarks._web_apps", "flask": "benchmarks._flask_app"}
ENGINES = {
    ("threads", False): "ThreadingHTTPServer",
    ("threads", True): "ThreadingHTTPSServer",
    ("green", False): "GreenHTTPServer",
    ("green", True): "GreenHTTPSServer",
}


def serve_ours(engine: str, content: str, port: int, folder: str, tls: dict[str, Any]) -> None:
    """Any of our servers."""
    if content in APPLICATIONS:
        handler: Any = wsgi_handler(application(content))
    elif content == "files":
        handler = functools.partial(quiet(ours.SimpleHTTPRequestHandler), directory=folder)
    else:
        handler = hello(ours.BaseHTTPRequestHandler)
    server_class = getattr(ours, ENGINES[engine, bool(tls)])
    server_class(("127.0.0.1", port), handler, **tls).serve_forever()


def serve_standard(content: str, port: int, folder: str) -> None:
    """The standard library's with threads; `wsgiref` knows none."""
    if content in APPLICATIONS:
        handler: Any = quiet(wsgiref.simple_server.WSGIRequestHandler)
        wsgiref.simple_server.make_server(
            "127.0.0.1", port, application(content), handler_class=handler
        ).serve_forever()
    elif content == "files":
        handler = functools.partial(quiet(http.server.SimpleHTTPRequestHandler), directory=folder)
    else:
        handler = hello(http.server.BaseHTTPRequestHandler)
    server_class = type("Server", (http.server.ThreadingHTTPServer,), {"request_queue_size": BACKLOG})
    server_class(("127.0.0.1", port), handler).serve_forever()


# As commands


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a peer is asked to serve.

    Attributes:
        content: hello, files, wsgi or flask.
        port: of the loopback.
        folder: for files, certificates and configurations.
        tls: whether over TLS.
        python: the interpreter that has the public servers of Python.
    """

    content: str
    port: int
    folder: Path
    tls: bool
    python: str


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A server that can be started: its command line, and what it needs ("" for nothing that is not here)."""

    command: Callable[[Job], Sequence[str]]
    module: str = ""
    program: str = ""

    def missing(self, content: str, python: str) -> str:
        """What is not installed; "" where all is."""
        if self.program:
            return "" if shutil.which(self.program) else self.program
        if not self.module:
            return ""
        needed = [self.module, *(["flask"] if content == "flask" else [])]
        done = subprocess.run([python, "-c", f"import {', '.join(needed)}"], capture_output=True, check=False)
        return " or ".join(needed) if done.returncode else ""


def here(engine: str) -> Peer:
    """One of the servers above."""

    def command(job: Job) -> list[str]:
        words = [sys.executable, "-m", "benchmarks._web_peers", engine, job.content, str(job.port), str(job.folder)]
        return [*words, "--tls"] if job.tls else words

    return Peer(command=command)


NGINX = """
worker_processes 1; daemon off; error_log /dev/null; pid {folder}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;
    client_body_temp_path {folder}/t; proxy_temp_path {folder}/t; fastcgi_temp_path {folder}/t;
    uwsgi_temp_path {folder}/t; scgi_temp_path {folder}/t;
    server {{
        listen 127.0.0.1:{port} backlog=4096 {ssl}; root {folder};
        ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem;
        location = / {{ default_type text/plain; return 200 "{body}"; }}
    }}
}}
"""


def nginx(job: Job) -> list[str]:
    """With one worker."""
    text = NGINX.format(folder=job.folder, port=job.port, ssl="ssl" if job.tls else "", body=BODY.decode())
    path = job.folder / "nginx.conf"
    path.write_text(text, encoding="utf-8")
    return ["nginx", "-c", str(path)]


def granian(job: Job) -> list[str]:
    """With one worker."""
    options = [
        "--host",
        "127.0.0.1",
        "--port",
        str(job.port),
        "--workers",
        "1",
        "--no-access-log",
        "--log-level",
        "error",
    ]
    return [job.python, "-m", "granian", "--interface", "wsgi", *options, f"{APPLICATIONS[job.content]}:wsgi"]


def gunicorn(job: Job) -> list[str]:
    """With one worker and threads, which alone keeps connections open."""
    options = ["-b", f"127.0.0.1:{job.port}", "-w", "1", "-k", "gthread", "--threads", THREADS, "--log-level", "error"]
    return [job.python, "-m", "gunicorn", *options, f"{APPLICATIONS[job.content]}:wsgi"]


def uvicorn(job: Job) -> list[str]:
    """An ASGI application: its own interface."""
    options = ["--port", str(job.port), "--log-level", "error", "--no-access-log"]
    if job.tls:
        options += ["--ssl-certfile", f"{job.folder}/certificate.pem", "--ssl-keyfile", f"{job.folder}/key.pem"]
    return [job.python, "-m", "uvicorn", *options, "benchmarks._web_apps:asgi"]


def uvloop(job: Job) -> list[str]:
    """A bare protocol, over TLS."""
    return [job.python, "-m", "benchmarks._tls_peer", str(job.port), str(job.folder)]


PEERS = {
    "portside-threads": here("threads"),
    "portside-green": here("green"),
    "stdlib-threads": here("stdlib"),
    "nginx": Peer(command=nginx, program="nginx"),
    "granian": Peer(command=granian, module="granian"),
    "gunicorn-gthread": Peer(command=gunicorn, module="gunicorn"),
    "uvicorn": Peer(command=uvicorn, module="uvicorn"),
    "uvloop": Peer(command=uvloop, module="uvloop"),
}


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description="Serve one peer of the benchmark.")
    parser.add_argument("engine", choices=("threads", "green", "stdlib"))
    parser.add_argument("content", choices=("hello", "files", *APPLICATIONS))
    parser.add_argument("port", type=int)
    parser.add_argument("folder")
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()
    if options.engine == "stdlib":
        serve_standard(options.content, options.port, options.folder)
        return
    files = {"certfile": f"{options.folder}/certificate.pem", "keyfile": f"{options.folder}/key.pem"}
    serve_ours(options.engine, options.content, options.port, options.folder, files if options.tls else {})


if __name__ == "__main__":
    main()
