"""Without the compiled core: what handlers wait with blocks as its models do, and the rest says what is missing."""

import subprocess
import sys

from tests.conftest import DEADLINE

PROGRAM = """
import sys, threading
for name in ("hub", "stream", "sockets", "datagrams"):
    sys.modules[f"portside.core.{name}"] = None
import portside
portside.sleep(0)
event, lock, semaphore, queue = portside.Event(), portside.Lock(), portside.Semaphore(), portside.Queue(1)
threading.Thread(target=lambda: (event.wait(), queue.put("woken"))).start()
with lock, semaphore:
    event.set()
print(queue.get(), portside.offload(max, 1, 2))
async def never():
    pass
for call in (
    lambda: portside.timeout(1).__enter__(),
    lambda: portside.spawn(print),
    lambda: portside.await_(never()),
    lambda: portside.embed(print, 0),
):
    try:
        call()
    except (RuntimeError, ValueError) as error:
        print(error)
"""
BEGINNINGS = (
    "woken 2",
    "portside.timeout() works in green handlers only",
    "portside.spawn() needs a hub that runs",
    "portside.await_() is for green handlers",
    "engine='green' needs",
)


def test_names_without_the_compiled_core() -> None:
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * DEADLINE, check=False)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line.startswith(begins) for line, begins in zip(lines, BEGINNINGS, strict=True)] == [True] * len(lines)
