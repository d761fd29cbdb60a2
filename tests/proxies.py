"""Real proxies in front of a server: haproxy and nginx, with a configuration of the test's, for a `with` block."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DEADLINE, wait_until

# The package that has it on Debian, and how it is started in the foreground.
_PROXIES = {
    "nginx": ("nginx-light", ["-p", "{folder}", "-c", "{file}"]),
    "haproxy": ("haproxy", ["-f", "{file}"]),
}


def installed(name: str) -> str:
    """The program's path; the test is skipped without it."""
    program = shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip(f"{name} is not installed; on Debian: apt install {_PROXIES[name][0]}")
    return program


def free_port() -> int:
    """A port of the loopback that nobody had a moment ago."""
    with socket.socket() as finder:
        finder.bind(("127.0.0.1", 0))
        return int(finder.getsockname()[1])


@contextmanager
def proxy(name: str, folder: Path, configuration: str, **values: Any) -> Iterator[tuple[str, int]]:
    """A proxy that accepts clients; gives its address.

    Args:
        name: "haproxy" or "nginx".
        folder: for its files.
        configuration: its configuration, with names in braces for `folder`, `port` (its own) and the values.
        values: what else the configuration names.
    """
    program, port, file = installed(name), free_port(), folder / f"{name}.conf"
    file.write_text(configuration.format(folder=folder, port=port, **values))
    words = [word.format(folder=folder, file=file) for word in _PROXIES[name][1]]
    with subprocess.Popen([program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            assert wait_until(lambda: answers(("127.0.0.1", port)), DEADLINE), f"{name} does not start"
            yield "127.0.0.1", port
        finally:
            process.terminate()


def answers(address: tuple[str, int]) -> bool:
    """True when somebody accepts there."""
    with suppress(OSError), socket.create_connection(address, timeout=DEADLINE):
        return True
    return False
