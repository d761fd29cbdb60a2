"""The files of a folder over HTTP, and a form: GET / answers index.html, POST shows what was filled in.

Run: python examples/http_form.py [PORT [FOLDER]]

Open http://127.0.0.1:9020/ in a browser. Without a form of its own in FOLDER, it answers the one below. With
`from http.server import ...` it runs on the standard library too.
"""

import html
import sys
from typing import Any
from urllib.parse import parse_qs

from portside.http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

PORT = int(sys.argv[1]) if sys.argv[1:] else 9020
FOLDER = sys.argv[2] if sys.argv[2:] else "."
LONGEST = 64 * 1024  # bytes of a form

PAGE = """<!DOCTYPE html>
<meta charset="utf-8">
<title>Form</title>
<form method="post"><input name="name"> <input name="text"> <button>Send</button></form>
<ul>{}</ul>
"""


class FormHandler(SimpleHTTPRequestHandler):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, directory=FOLDER, **kwargs)

    def list_directory(self, path: str) -> None:
        self.answer(PAGE.format(""))

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        if length > LONGEST:
            self.send_error(413)
            return
        fields = parse_qs(self.rfile.read(length).decode(), keep_blank_values=True)  # undoes %XX and +
        rows = [f"<li>{html.escape(name)}: {html.escape(', '.join(values))}</li>" for name, values in fields.items()]
        self.answer(PAGE.format("".join(rows)))

    def answer(self, page: str) -> None:
        body = page.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", PORT), FormHandler) as server:
        print(f"serving at 127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
