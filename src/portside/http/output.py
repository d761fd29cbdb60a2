"""A binary file that can only be written, in all that is not writing: what `io.BufferedIOBase` would add.

That class has a lay-out of its own in memory, which a compiled class cannot share; so it only stands for this one.
"""

import io
from collections.abc import Iterable
from typing import Any, Never, Self


class Output:
    """Everything that programs ask of a file but `write`, `flush` and `close`.

    Attributes:
        closed: whether it is.
    """

    closed = False

    def write(self, b: Any, /) -> int:
        """Write bytes; a subclass says where."""
        raise NotImplementedError

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")

    def writelines(self, lines: Iterable[Any]) -> None:
        """Write each of `lines`."""
        self._check()
        for line in lines:
            self.write(line)

    def writable(self) -> bool:
        """True."""
        self._check()
        return True

    def _no(self) -> bool:
        """False."""
        self._check()
        return False

    readable = seekable = isatty = _no

    def _unsupported(self, *_: Any) -> Never:
        """Not for a file that can only be written."""
        raise io.UnsupportedOperation("this file can only be written")

    read = read1 = readline = readlines = readinto = readinto1 = _unsupported
    seek = tell = truncate = detach = fileno = __iter__ = __next__ = _unsupported

    def __enter__(self) -> Self:
        self._check()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. May be extended."""
        self.closed = True


io.BufferedIOBase.register(Output)
