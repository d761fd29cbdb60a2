"""Blocking handlers inside an asyncio program: a handler awaits a coroutine, and the loop goes on meanwhile.

Run: python examples/embed_asyncio.py [PORT]

Talk to it with examples/echo_client.py.
"""

import asyncio
import contextlib
import signal
import sys

import portside

PORT = int(sys.argv[1]) if sys.argv[1:] else 9000

lines: asyncio.Queue[str] = asyncio.Queue()


class EchoHandler(portside.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            portside.await_(lines.put(f"{self.client_address[1]} said {line.decode(errors='replace').rstrip()}"))
            self.wfile.write(line)


async def tell() -> None:
    """The rest of the program: here it prints what the handlers hear."""
    while True:
        print(await lines.get(), flush=True)


async def main() -> None:
    async with portside.embed(EchoHandler, f"tcp://127.0.0.1:{PORT}") as server:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, server.request_stop)
        telling = asyncio.create_task(tell())
        print(f"serving at 127.0.0.1:{server.endpoint.address[1]}", flush=True)
        await server.wait()
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await telling


if __name__ == "__main__":
    asyncio.run(main())
