"""Runs an experiment in a process group of its own, of which nothing is left afterwards."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 50.0  # seconds; every experiment bounds its own waits


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What an experiment saw, and what it printed to stderr."""

    seen: Any
    stderr: str


def observe(face: str, name: str, *arguments: str) -> Observation:
    """Run an experiment with a module: the standard library's `socketserver` or ours."""
    command = [sys.executable, "-m", "tests.pains.experiments", name, face, *arguments]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:  # a pipe would wait for its children
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=err, start_new_session=True)
        try:
            status = process.wait(PATIENCE)
        finally:
            _end_group(process)
        texts = [_content(file) for file in (out, err)]
    assert status == 0, texts
    return Observation(seen=json.loads(texts[0]), stderr=texts[1])


def _end_group(leader: subprocess.Popen[bytes]) -> None:
    """End the forked handlers that hang, too."""
    try:
        os.killpg(leader.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        leader.kill()
        leader.wait()


def _content(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode())
