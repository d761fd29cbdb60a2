"""What Python code sees of the compiled notes; `portside.telemetry.notes` documents them."""

from typing import final

from portside.telemetry.notes import Noted

@final
class Notes:
    def note(self, seconds: float = 0.0, received: int | None = None, sent: int | None = None) -> None: ...
    def once(self) -> None: ...
    def read(self) -> Noted: ...
