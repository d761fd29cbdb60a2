"""Without the compiled core HTTP is the same: the handler's tests pass in an interpreter that cannot import it."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
for name in ("connecting", "fields", "prompt", "replies", "requests"):
    sys.modules[f"portside.core.{name}"] = None
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""
TESTS = ("test_handler", "test_quick", "test_head", "test_smuggling")


@pytest.mark.timeout(400)
def test_the_same_tests_pass() -> None:
    files = [f"tests/http/{name}.py" for name in TESTS]
    command = [sys.executable, "-c", PROGRAM, "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=350, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
