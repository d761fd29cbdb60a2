"""A chat of many in green handlers: each message goes to everybody else, from a queue for each member; `exit` leaves.

Run: python examples/chat_relay_server.py [PORT]

Its client is examples/chat_many_client.py. Handlers give way only where they wait: what they share needs no lock. A
member who does not read fills the own queue, and is sent away when that is full.
"""

import itertools
import queue
import socket
import sys
from contextlib import suppress

import portside
from portside.framing import Lines
from portside.telemetry import ServerStarted, subscribe

PORT = int(sys.argv[1]) if sys.argv[1:] else 9008
BEHIND = 1000  # messages that a member may be behind the others
members: list["Member"] = []


class Member(portside.FramedRequestHandler):
    codec = Lines(max_size=4096)

    def handle(self) -> None:
        self.news: portside.Queue[bytes] = portside.Queue(BEHIND)
        name = "{}:{}".format(*self.client_address).encode()
        tell_all(name + b" has come")
        members.append(self)
        self.news.put(f"welcome: you are one of {len(members)}".encode())
        speaking = portside.spawn(self.read_out)
        try:
            for message in itertools.takewhile(lambda message: message != b"exit", self.frames):
                tell_all(name + b": " + message[:4000].strip(), besides=self)
        finally:
            members.remove(self)
            speaking.kill()
            tell_all(name + b" has left")

    def read_out(self) -> None:
        with suppress(OSError):  # the member has gone, which `handle` sees too
            while True:
                self.send(self.news.get())


def tell_all(message: bytes, besides: Member | None = None) -> None:
    for member in [each for each in members if each is not besides]:
        try:
            member.news.put_nowait(message)
        except queue.Full:
            with suppress(OSError):
                member.connection.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    subscribe(lambda event: print("serving at {}:{}".format(*event.address), flush=True), ServerStarted)
    portside.serve(Member, PORT, engine="green")
