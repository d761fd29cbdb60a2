"""Sockets at addresses: binding them, removing what binding left behind, connecting to them.

Rules of this file:

* It knows sockets and addresses, no endpoint text: ``portside.endpoints`` stands on top of it.
* A Unix socket file that answers is never removed, nor is a file that is no socket.
* A Unix socket file is at no moment open to more users than asked for.
* What the operating system refuses stays an OSError of the same class and number; ``explain_bind_error`` adds what to
  do about it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import stat
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

with contextlib.suppress(ImportError):  # Windows has no flock, and Python there no Unix sockets that need it
    import fcntl

__all__ = ["UnixFile", "bind_inet", "bind_unix", "dial", "explain_bind_error", "unlink_unix"]

# Seconds for which another starter may hold the directory. It does so for microseconds; anybody who may read the
# directory can do it for ever, and a start that hangs says nothing.
_LOCK_LIMIT: float = 5.0
_LOCK_PAUSE: Final = 0.005  # seconds between two tries: too short to be noticed, too long to burn a core

# Bytes of sockaddr_un.sun_path, which includes the closing NUL: unix(7) on Linux, unix(4) on the BSDs and macOS.
_PATH_LIMIT: Final = 108 if sys.platform in ("linux", "android") else 104

# Linux gives a Unix socket that binds to nothing a free abstract name, unix(7) "Autobind feature"; others do not.
_HAS_AUTOBIND: bool = sys.platform in ("linux", "android")

# What a probe's refusal says about the file: nobody listens, or the file has gone meanwhile. Everything else (EAGAIN: a
# full backlog; EPROTOTYPE: a socket of the other type; EACCES: not ours to ask; EPERM: a datagram socket that has
# another peer) means that somebody may be there.
_NOBODY: Final = frozenset({errno.ECONNREFUSED, errno.ENOENT})

_INET_ADVICE: Final[Mapping[int, str]] = {
    errno.EADDRINUSE: "is in use: another program listens there (find it with `ss -lntup`); stop it, choose another"
    " port, or port 0 for a free one",
    errno.EACCES: "needs rights: use a port from 1024 up, or grant CAP_NET_BIND_SERVICE",
    errno.EPERM: "needs rights: use a port from 1024 up, or grant CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "is no address of this machine: choose one that `ip address` lists, or no host for"
    " all of them",
    errno.EAFNOSUPPORT: "needs a protocol that this system lacks: choose an address of the other IP version",
}
_UNIX_ADVICE: Final[Mapping[int, str]] = {
    errno.EADDRINUSE: "is in use: another program listens there (find it with `ss -lxp`); stop it, or choose"
    " another path",
    errno.EACCES: "cannot be made: this process must be able to read and write the directory; choose another directory,"
    " or change its owner or mode",
    errno.EPERM: "cannot be made: the directory or its file system forbids it; choose another directory",
    errno.EROFS: "cannot be made: the file system is read-only; choose another directory",
    errno.ENOENT: "cannot be made: its directory does not exist; create that first",
    errno.ENOTDIR: "cannot be made: its directory is none; choose another path",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class UnixFile:
    """The socket file that ``bind_unix`` made, so that ``unlink_unix`` removes that one and no other.

    Attributes:
        path: the absolute path, which holds after a ``chdir`` too.
        device: ``st_dev`` of the file.
        inode: ``st_ino`` of the file. The kernel keeps the number from being used again while the socket is open.
    """

    path: str
    device: int
    inode: int


def bind_inet(
    sock: socket.socket, address: tuple[Any, ...], *, reuse_address: bool, reuse_port: bool, dual_stack: bool
) -> None:
    """Bind a TCP or UDP socket.

    A numeric host never reaches the resolver; a name is looked up by the system in the socket's family.

    Args:
        sock: an unbound AF_INET or AF_INET6 socket, which stays the caller's, also after an error.
        address: host and port, and for AF_INET6 perhaps flow information and the interface's index.
        reuse_address: whether to set SO_REUSEADDR, which binds in spite of connections in TIME_WAIT (socket(7)).
        reuse_port: whether to set SO_REUSEPORT, which shares the port with other sockets that set it (socket(7)).
        dual_stack: whether an AF_INET6 socket takes IPv4 clients too (clears IPV6_V6ONLY, RFC 3493 section 5.3); it
            then needs one port for both families, port 0 included. False leaves the system's default.

    Raises:
        OSError: the system refuses; see ``explain_bind_error``. ENOPROTOOPT where SO_REUSEPORT does not exist.
    """
    if reuse_address:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        _share_port(sock)
    if dual_stack and sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(address)


def bind_unix(sock: socket.socket, path: str | bytes, *, mode: int | None) -> UnixFile | None:
    """Bind a Unix socket, in the place of a socket file that nobody listens on any more.

    Whoever starts through this function holds a lock on the directory meanwhile, and a stream socket listens before the
    lock is released: a bound socket that does not listen yet answers like a dead one. Setting another backlog with
    ``listen`` later is fine.

    Args:
        sock: an unbound AF_UNIX socket, which stays the caller's, also after an error.
        path: a file's path, or a name in Linux's abstract namespace behind a NUL character.
        mode: permission bits of the file (unix(7): who may write to the file may connect). None: what the umask leaves.

    Returns:
        The file, for ``unlink_unix``; None for an abstract name, which vanishes with its socket.

    Raises:
        OSError: EADDRINUSE when somebody listens there, or the file is no socket; ENAMETOOLONG when the path is longer
            than the system's socket addresses; ETIMEDOUT when another program locks the directory for more than five
            seconds; and what the system refuses, see ``explain_bind_error``.
    """
    name = os.fsdecode(path)
    if name[:1] in ("", "\0"):
        sock.bind(name)
        return None
    _refuse_long(name)
    with _locked_directory(name):
        _remove_stale(name, sock)
        _bind_file(sock, name, mode)
        if sock.type != socket.SOCK_DGRAM:
            sock.listen()
        found = os.lstat(name)
        return UnixFile(path=os.path.abspath(name), device=found.st_dev, inode=found.st_ino)


def unlink_unix(file: UnixFile | None) -> bool:
    """Remove a socket file, if it is still the one that ``bind_unix`` made.

    Call it before closing the socket: while that is open, no other file can get the same inode number.

    Args:
        file: what ``bind_unix`` returned; None, for an abstract name, does nothing.

    Returns:
        Whether the file was removed. False: it had gone, or another server has replaced it, and it was left alone.

    Raises:
        OSError: the system refuses, because the directory cannot be read or written any more.
    """
    if file is None:
        return False
    try:
        with _locked_directory(file.path):
            return _unlink_same(file)
    except (FileNotFoundError, NotADirectoryError):
        return False


def explain_bind_error(error: OSError, endpoint_text: str) -> OSError:
    """Say what to do about an address that could not be bound.

    Args:
        error: what ``bind_inet``, ``bind_unix`` or a socket's own ``bind`` raised.
        endpoint_text: the endpoint as the user wrote it, such as ``tcp://127.0.0.1:80``.

    Returns:
        An error of the same class and number whose message is one sentence, to be raised ``from`` the first. An error
        that already has more to say than the system's own words is returned as it is.
    """
    is_resolver = isinstance(error, socket.gaierror)
    if error.errno is None or not (is_resolver or error.strerror == os.strerror(error.errno)):
        return error
    advice = _UNIX_ADVICE if endpoint_text.startswith("unix") else _INET_ADVICE
    default = f"cannot be bound ({error.strerror}): choose another address"
    return type(error)(error.errno, f"{endpoint_text} {advice.get(error.errno, default)}")


def dial(
    address: Any,
    *,
    family: socket.AddressFamily,
    kind: socket.SocketKind,
    timeout: float | None,
    network: Any = socket,
) -> socket.socket:
    """Connect to one address; a Unix datagram socket gets an address of its own first, so that replies arrive.

    Args:
        address: what Python's socket methods take for the family.
        family: AF_INET, AF_INET6 or AF_UNIX.
        kind: SOCK_STREAM or SOCK_DGRAM.
        timeout: seconds to wait, and of the returned socket; None waits without a limit.
        network: the `socket` module, or what stands in for it.

    Returns:
        A connected socket, which is the caller's to close. Where its own address is a file (not on Linux), that goes
        with the socket object.

    Raises:
        OSError: the system refuses. No socket is left open.
    """
    with _closed_on_error(network.socket(family, kind)) as sock:
        if kind == socket.SOCK_DGRAM and isinstance(address, str):
            sock.bind("" if _HAS_AUTOBIND else _temporary_path(sock))
        sock.settimeout(timeout)
        sock.connect(address)
        return sock


@contextlib.contextmanager
def _closed_on_error(sock: socket.socket) -> Iterator[socket.socket]:
    try:
        yield sock
    except BaseException:
        sock.close()
        raise


def _temporary_path(owner: socket.socket) -> str:
    directory = tempfile.mkdtemp(prefix="portside-")
    weakref.finalize(owner, shutil.rmtree, directory, ignore_errors=True)
    return os.path.join(directory, "reply")


def _share_port(sock: socket.socket) -> None:
    try:
        option = socket.SO_REUSEPORT
    except AttributeError as error:
        message = "reuse_port needs SO_REUSEPORT, which this system lacks; leave it out"
        raise OSError(errno.ENOPROTOOPT, message) from error
    sock.setsockopt(socket.SOL_SOCKET, option, 1)


def _refuse_long(path: str) -> None:
    # Python's own refusal is an OSError without a number.
    length = len(os.fsencode(path))
    if length >= _PATH_LIMIT:
        advice = f"is too long: {length} bytes where {_PATH_LIMIT - 1} are accepted; choose a shorter or a relative one"
        raise _refusal(errno.ENAMETOOLONG, path, advice)


def _refusal(number: int, path: str, advice: str) -> OSError:
    return OSError(number, f"the Unix socket {path} {advice}")


@contextlib.contextmanager
def _locked_directory(path: str) -> Iterator[None]:
    # O_RDONLY is enough for flock, and the directory is there already: no lock file is left behind.
    descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(descriptor, path)
        yield
    finally:
        # Closing alone would not do: a child that another thread forked meanwhile holds the same lock.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _lock(descriptor: int, path: str) -> None:
    deadline = time.monotonic() + _LOCK_LIMIT
    while not _is_locked(descriptor):
        if time.monotonic() > deadline:
            raise _refusal(
                errno.ETIMEDOUT, path, "waits for its directory, which `lslocks` shows locked; end that lock"
            )
        time.sleep(_LOCK_PAUSE)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_stale(path: str, sock: socket.socket) -> None:
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    # A connection to a plain file is refused just like one to a dead socket (ECONNREFUSED): ask for the type first.
    if not is_socket:
        raise _refusal(
            errno.EADDRINUSE, path, "would replace a file that is no socket; remove it, or choose another path"
        )
    if _somebody_listens(path, sock):
        raise _refusal(errno.EADDRINUSE, path, _UNIX_ADVICE[errno.EADDRINUSE])
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _somebody_listens(path: str, sock: socket.socket) -> bool:
    with socket.socket(sock.family, sock.type) as probe:
        probe.setblocking(False)  # a full backlog would wait
        return probe.connect_ex(path) not in _NOBODY


def _bind_file(sock: socket.socket, path: str, mode: int | None) -> None:
    if mode is None:
        sock.bind(path)
        return
    with _narrowed(sock, mode):
        sock.bind(path)
    os.chmod(path, mode)  # gives back what the umask took


@contextlib.contextmanager
def _narrowed(sock: socket.socket, mode: int) -> Iterator[None]:
    """Make the file appear with no more than the mode.

    Linux gives a socket's file the socket's own mode without the umask's bits. Starting from the mode, not from 0,
    leaves a file that a killed starter left behind open to its owner's probe. Elsewhere fchmod refuses a socket
    (EINVAL), and only the umask is left, which is the whole process's for that moment.
    """
    try:
        os.fchmod(sock.fileno(), mode)
        umask = None
    except OSError:
        umask = os.umask(0o777 & ~mode)
    try:
        yield
    finally:
        if umask is not None:
            os.umask(umask)


def _unlink_same(file: UnixFile) -> bool:
    found = os.lstat(file.path)
    if (found.st_dev, found.st_ino) != (file.device, file.inode):
        return False
    os.unlink(file.path)
    return True
