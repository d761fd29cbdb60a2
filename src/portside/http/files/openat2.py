"""openat2(2), which Python's os module has not: opens a file that must lie below a folder (Linux 5.6 and later)."""

import ctypes
import errno
import os
import platform
import struct
import sys
from functools import cache
from typing import Final

_NUMBER: Final = 437  # of the system call, the same on every machine of the list
_MACHINES: Final = frozenset(
    {"x86_64", "i686", "aarch64", "armv7l", "ppc64le", "riscv64", "s390x", "loongarch64"}  # as uname(2) calls them
)
_HOW: Final = struct.Struct("=QQQ")  # struct open_how: flags, mode, resolve
_RESOLVE: Final = 0x02 | 0x08  # RESOLVE_NO_MAGICLINKS and RESOLVE_BENEATH
_TRIES: Final = 64  # EAGAIN means that a folder was renamed meanwhile; whoever does that for ever gets EAGAIN


def open_beneath(folder: int, name: str, flags: int) -> int:
    """Open a file below a folder, whatever its name and the symbolic links on the way say.

    Args:
        folder: the descriptor of the folder.
        name: relative to it.
        flags: as `os.open` takes them; O_CLOEXEC is added.

    Returns:
        A descriptor, which is the caller's to close.

    Raises:
        OSError: as openat2(2): EXDEV where the way leaves the folder.
        ValueError: the name holds a null byte, or cannot be written in the file system's encoding.
    """
    path = os.fsencode(name)
    if b"\0" in path:  # the kernel would take what stands before it for the name
        raise ValueError("embedded null byte")
    how = _HOW.pack(flags | os.O_CLOEXEC, 0, _RESOLVE)
    for _ in range(_TRIES):
        descriptor = int(_syscall()(_NUMBER, folder, path, how, len(how)))
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(number, os.strerror(number), name)


@cache
def is_available() -> bool:
    """Whether this kernel has it; a container's filter may hide it, which then looks as if it had not."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return False
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(open_beneath(root, ".", os.O_RDONLY | os.O_DIRECTORY))
    except OSError:  # ENOSYS from the kernel, EPERM from a filter
        return False
    finally:
        os.close(root)
    return True


@cache
def _syscall() -> "ctypes._NamedFuncPointer":
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    function.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)
    return function
