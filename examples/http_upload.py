"""A folder over HTTP that takes files: from the page that lists it, and from `curl -T file http://127.0.0.1:9021/`.

Run: python examples/http_upload.py [PORT [FOLDER]]

A file appears when it is whole, and never replaces another.
"""

import sys
from pathlib import Path

from portside.http.files.options import MIB, FileOptions
from portside.http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

PORT = int(sys.argv[1]) if sys.argv[1:] else 9021
FOLDER = Path(sys.argv[2] if sys.argv[2:] else "uploads")


class UploadHandler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open
    file_options = FileOptions(uploads=True, upload_limit=1024 * MIB, hide_dot_files=True)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    options = {"directory": FOLDER}
    with ThreadingHTTPServer(("127.0.0.1", PORT), UploadHandler, handler_args=options) as server:
        print(f"serving at 127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
