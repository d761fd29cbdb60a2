"""CGI: a script that the server executes for each POST, and the page with the form that sends it.

Run: python examples/http_cgi.py [PORT], and open http://127.0.0.1:9022/ in a browser, or
     curl -d 'name=Ada' http://127.0.0.1:9022/cgi-bin/greet.py

The script is written to a folder of its own at the start. It is a program like any other: it reads its environment and
its standard input, and what it prints is the answer.
"""

import sys
import tempfile
from pathlib import Path

from portside.http.cgi.options import CGIOptions
from portside.http.server import CGIHTTPRequestHandler, ThreadingHTTPServer

PORT = int(sys.argv[1]) if sys.argv[1:] else 9022

PAGE = """<!DOCTYPE html>
<form action="cgi-bin/greet.py" method="post"><input name="name" autofocus> <button>Greet</button></form>
"""

SCRIPT = f"""#!{sys.executable}
import html, os, sys, urllib.parse

sent = sys.stdin.read(int(os.environ["CONTENT_LENGTH"] or 0))
name = dict(urllib.parse.parse_qsl(sent)).get("name", "stranger")
print("Content-Type: text/html; charset=utf-8")
print()
print(f"<!DOCTYPE html><p>Hello, {{html.escape(name)}}!")
"""


class Site(CGIHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cgi_options = CGIOptions(seconds=30, user=None)  # started by root, our own script keeps root's rights

    def log_message(self, format: str, *args: object) -> None:
        pass


def write(folder: Path) -> None:
    (folder / "index.html").write_text(PAGE, encoding="utf-8")
    script = folder / "cgi-bin" / "greet.py"
    script.parent.mkdir()
    script.write_text(SCRIPT, encoding="utf-8")
    script.chmod(0o755)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        with ThreadingHTTPServer(("127.0.0.1", PORT), Site, handler_args={"directory": folder}) as server:
            print(f"serving at 127.0.0.1:{server.server_port}", flush=True)
            server.serve_forever()
