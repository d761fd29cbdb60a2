"""The fuzzers run, and find nothing in their first hundred inputs; `make fuzz` gives each its minute."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = sorted(path.stem for path in (ROOT / "fuzz").glob("fuzz_*.py"))
COMPILED = ("fuzz_http_requests", "fuzz_stream")  # what they try is compiled
SECONDS = 120.0  # a batch of inputs takes a second, and a busy machine its time


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 10)
@pytest.mark.parametrize("name", PROGRAMS)
def test_first_inputs_keep_the_contract(name: str) -> None:
    if name in COMPILED:
        pytest.importorskip("portside.core.hub", reason="the core is not compiled")
    command = [sys.executable, "-m", f"fuzz.{name}", "--seconds", "0.01", "--seed", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-5000:]


def test_every_program_is_told_of() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [name for name in PROGRAMS if f"`fuzz/{name}.py`" not in page] == []
