"""A chat of two who take turns: the one here answers whoever connects; `exit` from either ends the conversation.

Run: python examples/chat_pair_server.py [PORT]

A peer that vanishes ends the conversation, not the server: the next one can come.
"""

import sys

from portside import socketserver

PORT = int(sys.argv[1]) if sys.argv[1:] else 9004


class Conversation(socketserver.FramedRequestHandler):
    def handle(self) -> None:
        for message in self.frames:
            print(message.decode(errors="replace"), flush=True)
            if message == b"exit":
                return
            answer = (sys.stdin.readline() or "exit").rstrip()
            self.send(answer.encode())
            if answer == "exit":
                return


if __name__ == "__main__":
    with socketserver.TCPServer(("127.0.0.1", PORT), Conversation) as server:
        print(f"serving at 127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
