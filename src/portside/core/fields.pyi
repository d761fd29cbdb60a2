"""What Python code sees of the collector; fields.pyx documents it."""

from collections.abc import Iterable
from typing import final

def look_for(names: Iterable[str]) -> None: ...

@final
class FieldCollector:
    @property
    def fields(self) -> list[tuple[str, str]]: ...
    @property
    def meant(self) -> dict[str, list[str]]: ...
    def on_header(self, name: bytes, value: bytes) -> None: ...
