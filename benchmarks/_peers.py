"""The servers that are measured: each echoes lines, or datagrams.

    python -m benchmarks._peers PEER stream|datagram [--core N]

Prints the port, then serves until it is killed.
"""

import argparse
import asyncio
import os
import socketserver
from collections.abc import Callable
from typing import Any

import portside
from benchmarks._handlers import AsyncEcho, AsyncEchoDatagram, Echo, EchoDatagram
from portside.service.description import EngineName

BACKLOG = 4096  # the standard library's 5 would turn clients away in the bursts that all servers get here


class StandardEcho(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


class StandardEchoDatagram(socketserver.DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.packet)


def portside_peer(engine: EngineName) -> Callable[[str], None]:
    """The modern face with an engine."""
    handlers = {
        "stream": AsyncEcho if engine == "async" else Echo,
        "datagram": AsyncEchoDatagram if engine == "async" else EchoDatagram,
    }

    def serve(kind: str) -> None:
        scheme = "tcp" if kind == "stream" else "udp"
        service = portside.Service(
            handler=handlers[kind],
            endpoints=(portside.Endpoint.parse(f"{scheme}://127.0.0.1:0"),),
            engine=engine,
        )
        running = portside.Running(service)
        print(running.endpoint.port, flush=True)
        running.run()

    return serve


def standard_peer(
    stream: type[socketserver.TCPServer], datagram: type[socketserver.UDPServer]
) -> Callable[[str], None]:
    """The standard library's classes, with a backlog that takes the bursts."""

    def serve(kind: str) -> None:
        base, handler = (stream, StandardEcho) if kind == "stream" else (datagram, StandardEchoDatagram)
        options = {"request_queue_size": BACKLOG, "daemon_threads": True}
        server = type(base.__name__, (base,), options)(("127.0.0.1", 0), handler)
        print(server.server_address[1], flush=True)
        server.serve_forever()

    return serve


class EchoProtocol(asyncio.DatagramProtocol):
    """What asyncio offers for datagrams; its streams are for connections only."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data, addr)


async def echo_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Streams as their documentation uses them."""
    async for line in reader:
        writer.write(line)
        await writer.drain()
    writer.close()


async def serve_asyncio(kind: str) -> None:
    """Asyncio's own server."""
    if kind == "stream":
        server = await asyncio.start_server(echo_lines, "127.0.0.1", 0, backlog=BACKLOG)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(EchoProtocol, ("127.0.0.1", 0))
    print(transport.get_extra_info("sockname")[1], flush=True)
    await loop.create_future()


def uvloop_peer(kind: str) -> None:
    """Asyncio's own server on uvloop."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_asyncio(kind))


class EchoLines(asyncio.Protocol):
    """The least that asyncio can do: no lines, no handler, bytes back as they come."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def serve_protocol() -> None:
    """A protocol instead of streams."""
    server = await asyncio.get_running_loop().create_server(EchoLines, "127.0.0.1", 0, backlog=BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def uvloop_protocol_peer(kind: str) -> None:
    """The fastest that uvloop has: for connections only, datagrams are protocols everywhere."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_protocol() if kind == "stream" else serve_asyncio(kind))


def gevent_peer(kind: str) -> None:
    """The standard library's own servers in gevent's greenlets."""
    from gevent import monkey

    monkey.patch_all()
    standard_peer(socketserver.ThreadingTCPServer, socketserver.ThreadingUDPServer)(kind)


PEERS: dict[str, Callable[[str], None]] = {
    "portside-threads": portside_peer("threads"),
    "portside-green": portside_peer("green"),
    "portside-async": portside_peer("async"),
    "portside-serial": portside_peer("serial"),
    "stdlib-threads": standard_peer(socketserver.ThreadingTCPServer, socketserver.ThreadingUDPServer),
    "stdlib-serial": standard_peer(socketserver.TCPServer, socketserver.UDPServer),
    "asyncio-streams": lambda kind: asyncio.run(serve_asyncio(kind)),
    "uvloop-streams": uvloop_peer,
    "uvloop-protocol": uvloop_protocol_peer,
    "gevent": gevent_peer,
}


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description="Serve one peer of the benchmark.")
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("kind", choices=("stream", "datagram"))
    parser.add_argument("--core", type=int, help="the core to run on")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    PEERS[options.peer](options.kind)


if __name__ == "__main__":
    main()
