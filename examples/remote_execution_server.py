"""Runs the command lines that it is sent, and returns their output, or their error output when they failed.

Run: python examples/remote_execution_server.py [PORT]

WARNING: whoever connects can run any command with your rights. It is bound to the loopback, where that is every
user and program of this machine: run it nowhere else, and not for longer than you need it.
"""

import os
import subprocess
import sys
import tempfile

import portside
from portside.framing import LengthPrefixed
from portside.telemetry import ServerStarted, subscribe

PORT = int(sys.argv[1]) if sys.argv[1:] else 9006


class Shell(portside.FramedRequestHandler):
    codec = LengthPrefixed(width=8, max_size=65_536)  # of a command line, in bytes; the output may have any size

    def handle(self) -> None:
        for command in self.frames:
            self.run(command)

    def run(self, command: bytes) -> None:
        # Files hold output of any size, and do not make us wait for what the command leaves in the background.
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            try:
                code = subprocess.call(command, shell=True, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
            except ValueError as error:  # a NUL in the command line
                self.send(f"this cannot be run: {error}\n".encode())
                return
            result = errors if code else output
            size = result.seek(0, os.SEEK_END)
            self.wfile.write(size.to_bytes(8, "big"))  # the length first: TCP does not tell where a message ends
            if size:
                self.connection.sendfile(result, 0, size)


if __name__ == "__main__":
    subscribe(lambda event: print("serving at {}:{}".format(*event.address), flush=True), ServerStarted)
    portside.serve(Shell, f"tcp://127.0.0.1:{PORT}")
