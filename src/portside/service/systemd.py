"""What systemd says to a service, and what it wants to hear: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).

The protocol is three environment variables and a datagram, so that no library is needed for it.
"""

import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from portside.endpoints import Endpoint, EndpointError

# The first descriptor that systemd passes: SD_LISTEN_FDS_START of sd-daemon.h.
FIRST_DESCRIPTOR: Final = 3

# In the environment of a program that takes over from an older version of itself; see
# portside.service.supervision.handover. Such a program has its predecessor's descriptors under their numbers, and
# another process id than LISTEN_PID.
HANDED_OVER: Final = "PORTSIDE_HANDOVER"

ANY: Final = Endpoint(scheme="systemd")


def listening(
    endpoints: Iterable[str | int | Endpoint], environment: Mapping[str, str] = os.environ
) -> tuple[Endpoint, ...]:
    """Read endpoints, with systemd's sockets in the place of `systemd:` and of `systemd:NAME`.

    Args:
        endpoints: texts, ports of the loopback interface, or `Endpoint` objects. Without any, all that systemd has
            passed are meant.
        environment: where systemd says what it has passed.

    Returns:
        The endpoints, those of systemd as `fd:N`.

    Raises:
        EndpointError: a text is no endpoint, or systemd has passed no such socket.
    """
    passed = list(_passed(environment))
    wanted = [*map(Endpoint.parse, endpoints)] or [ANY] * bool(passed)
    return tuple(found for each in wanted for found in _found(each, passed))


def _passed(environment: Mapping[str, str]) -> Iterator[tuple[str, Endpoint]]:
    """Each socket's name and where it is."""
    count, owner = environment.get("LISTEN_FDS", ""), environment.get("LISTEN_PID", "")
    if not count.isdecimal() or (owner != str(os.getpid()) and HANDED_OVER not in environment):
        return
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    for number in range(int(count)):
        name = names[number] if number < len(names) else ""
        yield name, Endpoint(scheme="fd", fd=FIRST_DESCRIPTOR + number)


def _found(endpoint: Endpoint, passed: list[tuple[str, Endpoint]]) -> list[Endpoint]:
    if endpoint.scheme != "systemd":
        return [endpoint]
    found = [where for name, where in passed if endpoint.name in ("", name)]
    if not found:
        names = ", ".join(sorted({name for name, _ in passed})) or "none at all"
        raise EndpointError(
            f"{endpoint} is not among the sockets that systemd has passed to this process ({names}): start it through a"
            " systemd socket unit, with FileDescriptorName= where a name is given"
        )
    return found


class Notifier:
    """Tells systemd how the service is; nobody, where no systemd asks.

    Args:
        environment: where systemd says what it wants to know.

    Attributes:
        watchdog: seconds within which `WATCHDOG=1` has to come again and again; None where it need not.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = _socket_address(environment.get("NOTIFY_SOCKET", ""))
        self.watchdog = _watchdog_seconds(environment)

    def ready(self) -> None:
        """Every endpoint accepts."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """The service drains and ends."""
        self._tell("STOPPING=1")

    def reloading(self) -> None:
        """The workers are replaced; `ready` tells of the end (systemd.service(5), Type=notify-reload)."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def alive(self) -> None:
        """Every worker answers."""
        self._tell("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Say how it is, in one line, for `systemctl status`."""
        self._tell(f"STATUS={text}")

    def succeeded_by(self, pid: int) -> None:
        """Another process is the service from now on."""
        self._tell(f"MAINPID={pid}")

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            try:
                sender.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, self._address)
            except OSError:
                return  # nobody is there, or too busy: a service does not end for that


def _socket_address(text: str) -> str | None:
    """A path, or a name in the abstract namespace, which is written with @ (sd_notify(3))."""
    if text.startswith("@"):
        return f"\0{text[1:]}"
    return text if text.startswith("/") else None


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    wanted, owner = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    mine = owner in ("", str(os.getpid())) or HANDED_OVER in environment
    return int(wanted) / 1e6 if wanted.isdecimal() and int(wanted) and mine else None
