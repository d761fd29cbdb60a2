"""Fixtures for services with workers."""

from pathlib import Path

import pytest

from tests.workers.kit import MODULE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A current directory with the module `talk`."""
    (tmp_path / "talk.py").write_text(MODULE, encoding="utf-8")
    return tmp_path
