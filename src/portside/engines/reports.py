"""What a child found out at the gates, told to its parent: who the client is, and whether it was let in.

The parent tells of the connection's end, and would else know only the proxy that the client came through.
"""

import ast
import os
from typing import Any

from portside.finishing import Passage
from portside.telemetry import RefusalReason

# Bytes that are read of a report; an address has at most the 108 of a Unix socket's path.
_LONGEST = 4096


class Report:
    """A pipe for one line, made before the fork.

    Resource handling: two descriptors; `be_parent` and `be_child` each leave one, which `tell` and the parent close.
    """

    def __init__(self) -> None:
        self.reading, self._writing = os.pipe()

    def close(self) -> None:
        """Give both ends back: there is no child."""
        os.close(self.reading)
        os.close(self._writing)

    def be_parent(self) -> int:
        """Keep the end to read from, and return it; it is the caller's."""
        os.close(self._writing)
        return self.reading

    def be_child(self) -> None:
        """Keep the end to write to."""
        os.close(self.reading)

    def tell(self, passage: Passage) -> None:
        """In the child, once: what has come of the gates."""
        line = repr((passage.client_address, passage.refusal and passage.refusal.value))
        os.write(self._writing, line.encode())  # into an empty pipe, which takes it at once
        os.close(self._writing)


def read_report(reading: int) -> tuple[Any, RefusalReason | None] | None:
    """The client's address and why it was refused, or None in its place; None where the child has not told."""
    os.set_blocking(reading, False)  # a child's own child may hold the other end
    try:
        client_address, refusal = ast.literal_eval(os.read(reading, _LONGEST).decode())
        return client_address, refusal and RefusalReason(refusal)
    except (OSError, ValueError, SyntaxError):  # it ended before, or its address cannot be written down
        return None
