"""The one who begins a chat of two: type a line, read the answer, and so on; `exit` leaves.

Run: python examples/chat_pair_client.py [PORT]
"""

import sys

import portside

PORT = int(sys.argv[1]) if sys.argv[1:] else 9004

try:
    with portside.connect(PORT) as peer:
        message, answer = "", ""
        while "exit" not in (message, answer):
            message = (sys.stdin.readline() or "exit").rstrip()
            peer.send(message.encode())
            if message != "exit":
                answer = peer.receive().decode(errors="replace")
                print(answer, flush=True)
except (EOFError, ConnectionError):
    sys.exit("the other side has gone")
