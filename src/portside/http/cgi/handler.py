"""`CGIHTTPRequestHandler`: files, and programs that answer; the standard library's face, which that library gave up."""

import os
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import quote

from portside.http.cgi.options import CGIOptions
from portside.http.cgi.paths import ScriptPath, collapse, executable, is_python, script_path, split_directory
from portside.http.cgi.relay import Relay
from portside.http.cgi.request import ScriptRequest
from portside.http.files.handler import SimpleHTTPRequestHandler


class CGIHTTPRequestHandler(SimpleHTTPRequestHandler):
    """Serves the files of a directory, and runs those in `cgi_directories` instead of showing them.

    Attributes:
        cgi_directories: URL paths of directories that hold scripts.
        cgi_options: limits of a script, and what it sees of the server's environment.
        cgi_info: set by `is_cgi`: the directory of a script, and the rest of the path with the query.
        remote_user: who asks, for a program that has found out; scripts read it as REMOTE_USER. The standard library
            passes on whatever name a client claims.
        have_fork: False runs Python scripts with this interpreter, whether or not they are executable.
    """

    have_fork: bool = hasattr(os, "fork")
    rbufsize: int = 0
    cgi_directories: ClassVar[list[str]] = ["/cgi-bin", "/htbin"]
    cgi_options: CGIOptions = CGIOptions()
    cgi_info: tuple[str, str]
    remote_user: str | None = None

    def setup(self) -> None:
        """Make `rfile` and `wfile`. The standard library's zero is for scripts that read the socket; ours are fed."""
        if self.rbufsize == 0:
            self.rbufsize = -1
        super().setup()

    def do_POST(self) -> None:
        """Answer a request that only scripts can answer."""
        if self._is_script() is False:
            self._without_script(super().do_POST)

    def do_PUT(self) -> None:
        """Answer a PUT, as a POST."""
        if self._is_script() is False:
            self._without_script(super().do_PUT)

    def _without_script(self, upload: Callable[[], None]) -> None:
        if self.file_options.uploads:
            upload()
        else:
            self._refuse_method()

    def do_PATCH(self) -> None:
        """Answer a PATCH, as a POST."""
        self._only_script()

    def do_DELETE(self) -> None:
        """Answer a DELETE, as a POST."""
        self._only_script()

    def _only_script(self) -> None:
        if self._is_script() is False:
            self._refuse_method()

    def _refuse_method(self) -> None:
        self.send_error(HTTPStatus.NOT_IMPLEMENTED, f"Can only {self.command} to CGI scripts")

    def send_head(self) -> Any:
        """Answer a GET or HEAD: by a script, or with a file's head; returns the file to be sent, if any."""
        return super().send_head() if self._is_script() is False else None

    def _is_script(self) -> bool | None:
        """Run the script that the path names. False: it names none, and nothing was sent."""
        try:
            if not self.is_cgi():
                return False
        except IndexError:
            self.send_error(HTTPStatus.BAD_REQUEST, "The path leads above the root")
            return None
        self.run_cgi()
        return True

    def is_cgi(self) -> bool:
        """Whether `path` lies in one of `cgi_directories`; if so, `cgi_info` says where. May be overridden.

        Raises:
            IndexError: the path leads above the root.
        """
        found = split_directory(collapse(self.path), self.cgi_directories)
        if found is None:
            return False
        self.cgi_info = found
        return True

    def is_executable(self, path: str) -> bool:
        """Whether a file may be executed. May be overridden."""
        return executable(path)

    def is_python(self, path: str) -> bool:
        """Whether a file is a Python script. May be overridden."""
        return is_python(path)

    def run_cgi(self) -> None:
        """Run the script that `cgi_info` names, and send what it answers. May be overridden."""
        path = script_path(self.cgi_info, self.path, lambda name: os.path.isdir(self.script_file(name)))
        file = self.script_file(path.name)
        refused = self._refusal(path, file)
        if refused is not None:
            self.send_error(*refused)
            return
        local = Relay(ScriptRequest(self, path, file)).run()
        if local is not None:
            self._follow(local)

    def script_file(self, name: str) -> str:
        """The file of a decoded URL path."""
        return str(self.translate_path(quote(name, errors="surrogateescape")))

    def _refusal(self, path: ScriptPath, file: str) -> tuple[HTTPStatus, str] | None:
        if "\0" in path.info or not os.path.exists(file) or self._leads_out(file):
            return HTTPStatus.NOT_FOUND, f"No such CGI script ({path.name!r})"
        if not os.path.isfile(file):
            return HTTPStatus.FORBIDDEN, f"CGI script is not a plain file ({path.name!r})"
        if (self.have_fork or not self.is_python(path.name)) and not self.is_executable(file):
            return HTTPStatus.FORBIDDEN, f"CGI script is not executable ({path.name!r})"
        return None

    def _leads_out(self, file: str) -> bool:
        """Whether a symbolic link takes a script out of the folder, as files may not be either."""
        inside = os.path.join(self.directory, "")
        if self.file_options.follow_symlinks or not file.startswith(inside):
            return False
        return not os.path.realpath(file).startswith(os.path.join(os.path.realpath(self.directory), ""))

    # -- local redirects --

    _followed = 0  # how many scripts in a row have sent this request elsewhere

    def _follow(self, path: str) -> None:
        """Answer as if the client had asked for `path` (RFC 3875, 6.2.2): without a body, and not for ever."""
        self._followed += 1
        if self._followed > self.cgi_options.redirects:
            self._followed = 0
            self.send_error(HTTPStatus.LOOP_DETECTED, f"More than {self.cgi_options.redirects} redirects in a row")
            return
        self.path = path
        self.command = "HEAD" if self.command == "HEAD" else "GET"
        for name in ("Content-Length", "Content-Type", "Transfer-Encoding"):
            del self.headers[name]
        (self.do_HEAD if self.command == "HEAD" else self.do_GET)()
        self._followed = 0
