"""A member of the chat of many: type lines, read those of the others at any time; `exit` leaves.

Run: python examples/chat_many_client.py [PORT]
"""

import contextlib
import sys
import threading

import portside

PORT = int(sys.argv[1]) if sys.argv[1:] else 9005


def talk(chat: portside.StreamClient | portside.DatagramClient) -> None:
    """Send what is typed. The file has no buffer, since a thread that holds one must not outlive the main thread."""
    with contextlib.suppress(OSError), open(0, "rb", buffering=0, closefd=False) as keyboard:
        for line in keyboard:
            chat.send(line.rstrip()[:4000])
        chat.send(b"exit")


try:
    with portside.connect(PORT) as chat:
        threading.Thread(target=talk, args=(chat,), daemon=True).start()
        for message in chat.frames:
            print(message.decode(errors="replace"), flush=True)
except ConnectionError:
    sys.exit("the chat has gone")
