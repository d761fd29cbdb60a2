"""What is not counted but looked at: queues, handlers at work, how late the loop is, what the process holds."""

import os
import resource
import socket
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from portside.telemetry.metrics import Sample

# struct tcp_info of linux/tcp.h: for a listener tcpi_unacked (__u32 at 24) is how many connections wait to be accepted
# and tcpi_sacked (at 28) how many may.
_LISTENER = struct.Struct("=24xII")

# Seconds after which a loop that has not made a call counts as blocked for now: a scrape must not hang with it.
LAG_SECONDS = 1.0


def accept_queue(listener: socket.socket) -> tuple[int, int] | None:
    """How many connections wait to be accepted, and how many may; None where the kernel does not tell."""
    try:
        found: tuple[int, int] = _LISTENER.unpack(
            listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LISTENER.size)
        )
    except (AttributeError, OSError, struct.error):
        return None
    return found


def lag(server: Any) -> float | None:
    """How many seconds late the loop of a server's handlers is; None where they do not share one.

    Asks the loop to make a call and waits for it, at most `LAG_SECONDS`: from another thread than the loop's only.
    """
    called = threading.Event()
    began = time.perf_counter()
    if not server._portside.engine.post(called.set):
        return None
    called.wait(LAG_SECONDS)
    return time.perf_counter() - began


def is_serving(server: Any) -> bool:
    """Whether a loop of the server accepts: it runs, is not asked to end, and nobody has paused it."""
    machine = server._portside
    runs = [run for run in machine.lifecycle.running() if not run.stopping]
    return bool(runs) and machine.accepting


def samples(server: Any, endpoint: str) -> list[Sample]:
    """The gauges of one server, and the bytes of its open connections, which nobody has counted yet."""
    machine, here = server._portside, {"endpoint": endpoint}
    received, sent = open_bytes(server)
    found: list[Sample] = [
        ["portside_connections_open", here, len(machine.connections)],
        ["portside_handlers_running", here, machine.handlers()],
        ["portside_accepting", here, int(is_serving(server))],
        ["portside_received_bytes_total", here, received],
        ["portside_sent_bytes_total", here, sent],
    ]
    if (late := lag(server)) is not None:
        found.append(["portside_hub_lag_seconds", here, late])
    return found + _queue(server, here)


def _queue(server: Any, here: dict[str, str]) -> list[Sample]:
    queue = accept_queue(server.socket)
    if queue is None:
        return []
    one = here | {"_listener": _identity(server.socket)}  # several processes may share it: it is counted once
    return [
        ["portside_accept_queue_connections", one, queue[0]],
        ["portside_accept_queue_limit_connections", one, queue[1]],
    ]


def _identity(listener: socket.socket) -> str:
    with suppress(OSError):
        return str(os.fstat(listener.fileno()).st_ino)
    return ""


def open_bytes(server: Any) -> tuple[int, int]:
    """Bytes that the open connections of a server have received and sent so far."""
    received = sent = 0
    for connection in server._portside.connections.all():
        mine = connection.bytes_both_ways()
        received += mine[0] or 0
        sent += mine[1] or 0
    return received, sent


def process_samples() -> list[Sample]:
    """What this process has used and holds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    found: list[Sample] = [
        ["portside_processes", {}, 1],
        ["portside_process_cpu_seconds_total", {}, used.ru_utime + used.ru_stime],
    ]
    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
        found.append(["portside_process_resident_memory_bytes", {}, pages * resource.getpagesize()])
        found.append(["portside_process_open_fds", {}, len(os.listdir("/proc/self/fd"))])
    return found
