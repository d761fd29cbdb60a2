"""A chat of many: each message goes to everybody else; `exit` leaves.

Run: python examples/chat_many_server.py [PORT]

Each member has a handler. One who vanishes, or does not read, ends nobody's conversation but the own.
"""

import socket
import sys
from contextlib import suppress
from threading import Lock

import portside
from portside.framing import Lines
from portside.telemetry import ServerStarted, subscribe

PORT = int(sys.argv[1]) if sys.argv[1:] else 9005

members: set["Member"] = set()
changes = Lock()


class Member(portside.FramedRequestHandler):
    codec = Lines(max_size=4096)

    def handle(self) -> None:
        name = "{}:{}".format(*self.client_address).encode()
        with changes:
            members.add(self)
            self.send(f"welcome: you are one of {len(members)}".encode())
        self.tell_others(name + b" has come")
        try:
            for message in self.frames:
                if message == b"exit":
                    break
                self.tell_others(name + b": " + message[:4000].strip())
        finally:
            with changes:
                members.remove(self)
            self.tell_others(name + b" has left")

    def tell_others(self, message: bytes) -> None:
        with changes:
            for member in members - {self}:
                member.hear(self.codec.encode(message))

    def hear(self, line: bytes) -> None:
        """Never wait for one who does not read: when the system's buffer is full, that member is sent away."""
        with suppress(OSError):
            if self.connection.send(line, socket.MSG_DONTWAIT) == len(line):
                return
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    subscribe(lambda event: print("serving at {}:{}".format(*event.address), flush=True), ServerStarted)
    portside.serve(Member, PORT)
