"""What Python code sees of the files whose state is known; knownfiles.pyx documents it."""

import os
from typing import Self, final

@final
class KnownFile:
    def __new__(cls, folder: bytes, name: bytes, status: os.stat_result, *, confined: bool) -> Self: ...
    def read(self) -> bytes | None: ...
