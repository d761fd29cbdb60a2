"""Certificates, made once for all tests of TLS, and the fixtures of the suites that run over all engines."""

import pytest

from tests.engines.fixtures import gate, journal, kit, warm
from tests.tls.kit import PKI, made

__all__ = ["gate", "journal", "kit", "warm"]


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> PKI:
    """The certificates."""
    return made(tmp_path_factory.mktemp("pki"))
