"""The fixtures of the conformance suite."""

from tests.engines.fixtures import gate, journal, kit, warm

__all__ = ["gate", "journal", "kit", "warm"]
