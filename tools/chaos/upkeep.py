"""What a service holds of the system's: its processes' descriptors and memory, before an attack and after it."""

from contextlib import suppress
from dataclasses import dataclass

import psutil

from tools.chaos.service import Service

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Upkeep:
    """What all processes of a service have together.

    Attributes:
        processes: how many there are.
        descriptors: open in all of them.
        memory: bytes that only they have (their unique set size).
    """

    processes: int
    descriptors: int
    memory: int

    @classmethod
    def of(cls, service: Service) -> "Upkeep":
        """Look now."""
        found = [each for process in service.processes() if (each := _look(process)) is not None]
        return cls(
            processes=len(found), descriptors=sum(each[0] for each in found), memory=sum(each[1] for each in found)
        )


def _look(process: psutil.Process) -> tuple[int, int] | None:
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        return process.num_fds(), process.memory_full_info().uss
    return None
