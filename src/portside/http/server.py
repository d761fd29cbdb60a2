"""The drop-in face: `from portside.http.server import ...` in the place of `from http.server import ...`.

Every public name of the standard library's module, on every supported Python the ones of the newest.
`python -m portside.http.server` serves a folder, as `python -m http.server` does. Deliberate deviations are in
`docs/differences.md`.
"""

# Programs that were written for the standard library's module reach for its imports, as its own tests do.
import os
import socket
import sys
from http import HTTPStatus

from portside import socketserver
from portside.http.cgi.handler import CGIHTTPRequestHandler
from portside.http.cgi.paths import collapse as _url_collapse_path
from portside.http.cgi.paths import executable
from portside.http.cgi.process import nobody_uid
from portside.http.command import main, test
from portside.http.files.handler import SimpleHTTPRequestHandler
from portside.http.handler import BaseHTTPRequestHandler
from portside.http.replies import DEFAULT_ERROR_CONTENT_TYPE, DEFAULT_ERROR_MESSAGE
from portside.http.servers import (
    GreenHTTPServer,
    GreenHTTPSServer,
    HTTPServer,
    HTTPSServer,
    ThreadingHTTPServer,
    ThreadingHTTPSServer,
)

__version__ = "0.6"  # the standard library's

__all__ = [
    "BaseHTTPRequestHandler",
    "CGIHTTPRequestHandler",
    "GreenHTTPSServer",
    "GreenHTTPServer",
    "HTTPSServer",
    "HTTPServer",
    "SimpleHTTPRequestHandler",
    "ThreadingHTTPSServer",
    "ThreadingHTTPServer",
]

_FOR_PROGRAMS = (
    DEFAULT_ERROR_CONTENT_TYPE,
    DEFAULT_ERROR_MESSAGE,
    HTTPStatus,
    _url_collapse_path,
    executable,
    nobody_uid,
    os,
    socket,
    socketserver,
    sys,
    test,
)

if __name__ == "__main__":
    main()
