"""The handlers that are measured, as anyone would write them.

portside serve benchmarks._handlers:Echo 9000 --engine threads
"""

from time import ctime

import portside


class Echo(portside.StreamRequestHandler):
    """Line by line."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


class AsyncEcho(portside.AsyncStreamRequestHandler):
    async def handle(self) -> None:
        async for line in self.reader:
            self.writer.write(line)
            await self.writer.drain()


class EchoDatagram(portside.DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.rfile.read())


class AsyncEchoDatagram(portside.AsyncDatagramRequestHandler):
    async def handle(self) -> None:
        self.reply(self.packet)


class Time(portside.StreamRequestHandler):
    """A line in, the time and the line out, the end: the time server of every tutorial."""

    def handle(self) -> None:
        self.wfile.write(b"[%s] %s" % (ctime().encode(), self.rfile.readline()))


class AsyncTime(portside.AsyncStreamRequestHandler):
    async def handle(self) -> None:
        self.writer.write(b"[%s] %s" % (ctime().encode(), await self.reader.readline()))
