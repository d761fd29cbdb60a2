"""Who may come in at all: networks, bans with an end, users of this machine.

The most specific network that holds an address decides, whatever the order in which networks were named. It is found
with one look-up for each length of prefix that occurs, however many networks there are.
"""

import heapq
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from portside.policy.hosts import Address, Family, Network, address_of, network, parsed
from portside.policy.peers import groups_of, peer_of
from portside.telemetry import RefusalReason

# Bans at once: some 150 bytes each, so 10 MB. A list of more than that is a firewall's.
MOST_BANS = 65_536


class Access:
    """Rules for one or more servers, changed at any time and from any thread; a connection that is open stays open.

    Where `allow` names any network, every client of another one stays out; else every client that is not denied may
    come in. Where a user or a group is named, Unix clients of others stay out.

    Args:
        allow: networks (`"10.0.0.0/8"`, `"2001:db8::/32"`, `"192.0.2.7"`, or objects of `ipaddress`).
        deny: networks; one that is in both is denied.
        uids: users who may come in over a Unix socket, by number; None leaves that open.
        gids: groups, likewise: a user's own or any that the client's process has.

    Attributes:
        active: whether it may keep anybody out, as far as has been said until now.

    Raises:
        ValueError: what was given is no network, or no number.
    """

    def __init__(
        self,
        *,
        allow: Iterable[object] = (),
        deny: Iterable[object] = (),
        uids: Iterable[int] | None = None,
        gids: Iterable[int] | None = None,
    ) -> None:
        self.active = False
        self._lock = threading.Lock()
        self._rules = _Rules()
        self._bans = Bans()
        self._users: _Users | None = None
        self.allow(*_each("allow", allow))
        self.deny(*_each("deny", deny))
        self._users = None if uids is None and gids is None else _Users(uids, gids)
        self._see_to_it()

    def allow(self, *networks: object) -> None:
        """Let clients of these networks in, from now on.

        Raises:
            ValueError: one of them is none; nothing has changed.
        """
        self._set(networks, True)

    def deny(self, *networks: object) -> None:
        """Keep clients of these networks out, from now on.

        Raises:
            ValueError: one of them is none; nothing has changed.
        """
        self._set(networks, False)

    def forget(self, *networks: object) -> None:
        """Take back what `allow` or `deny` has said of these networks.

        Raises:
            ValueError: one of them is none; nothing has changed.
        """
        self._set(networks, None)

    def _set(self, networks: Iterable[object], verdict: bool | None) -> None:
        found = [network(each) for each in networks]
        with self._lock:
            for each in found:
                self._rules.set(each, verdict)
        self._see_to_it()

    def _see_to_it(self) -> None:
        self.active = bool(self._rules.any or self._bans.any or self._users)

    def ban(self, host: str, seconds: float) -> None:
        """Keep one host out for a while; a ban that lasts longer already is shortened.

        Args:
            host: an address; of IPv6 its whole /64 is banned.
            seconds: how long.

        Raises:
            ValueError: `host` is no address, or `seconds` is not above 0.
        """
        if not seconds > 0:
            raise ValueError(f"seconds={seconds!r} is not accepted for a ban; accepted is a number above 0")
        self._bans.add(_host(host), seconds)
        self.active = True

    def unban(self, host: str) -> bool:
        """Let a host in again; False when it was not banned.

        Raises:
            ValueError: `host` is no address.
        """
        return self._bans.remove(_host(host))

    def is_banned(self, host: str) -> bool:
        """True while a ban keeps the host out.

        Raises:
            ValueError: `host` is no address.
        """
        return _host(host) in self._bans

    def refusal(self, request: Any, client_address: object) -> RefusalReason | None:
        """Why this client stays out; None for one that may come in. Takes constant time.

        Args:
            request: its socket; asked for the client's user only where that matters.
            client_address: its address.
        """
        address = address_of(client_address)
        if address is None:
            return self._users.refusal(request) if self._users else None
        if address.host in self._bans:
            return RefusalReason.BANNED
        return None if self._rules.admit(address) else RefusalReason.DENIED


class _Rules:
    """Networks and what is said of them. One at a time changes it, everybody else may read at the same time.

    Attributes:
        any: whether there is any rule.
    """

    def __init__(self) -> None:
        # For each length of prefix, the longest first: how far to shift an address, and the networks of that length.
        self._tables: dict[Family, tuple[tuple[int, dict[int, bool]], ...]] = {Family.V4: (), Family.V6: ()}
        self._allowed: set[Network] = set()
        self.any = False

    def admit(self, address: Address) -> bool:
        for shift, networks in self._tables[address.family]:
            verdict = networks.get(address.bits >> shift)
            if verdict is not None:
                return verdict
        return not self._allowed

    def set(self, found: Network, verdict: bool | None) -> None:
        """Say something of a network, or with None nothing any more."""
        shift = found.family - found.length
        networks = self._networks(found.family, shift)
        if verdict is None:
            networks.pop(found.bits >> shift, None)
        else:
            networks[found.bits >> shift] = verdict
        (self._allowed.add if verdict else self._allowed.discard)(found)
        self.any = any(networks for tables in self._tables.values() for _, networks in tables)

    def _networks(self, family: Family, shift: int) -> dict[int, bool]:
        tables = dict(self._tables[family])
        if shift not in tables:
            tables[shift] = {}
            self._tables[family] = tuple(sorted(tables.items()))
        return tables[shift]


class Bans:
    """Hosts that are kept out until some time; as many as `MOST_BANS`, then the one that ends first makes room.

    Args:
        clock: tells the time, in seconds; for tests.

    Attributes:
        any: whether there may be any.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[int, float] = {}
        self._ends: list[tuple[float, int]] = []  # a heap; some of it is of bans that were changed since
        self.any = False

    def __contains__(self, host: object) -> bool:
        until = self._until.get(host) if isinstance(host, int) else None
        return until is not None and self._clock() < until

    def __len__(self) -> int:
        return len(self._until)

    def add(self, host: int, seconds: float) -> None:
        """Ban a host for so many seconds from now on."""
        with self._lock:
            self._until[host] = until = self._clock() + seconds
            heapq.heappush(self._ends, (until, host))
            self.any = True
            self._tidy()

    def remove(self, host: int) -> bool:
        """Lift a ban; False where there was none."""
        with self._lock:
            banned = host in self
            self._until.pop(host, None)
            self.any = bool(self._until)
        return banned

    def _tidy(self) -> None:
        """Forget what is over, and what there is no room for."""
        now = self._clock()
        while self._ends and (self._ends[0][0] <= now or len(self._until) > MOST_BANS):
            until, host = heapq.heappop(self._ends)
            if self._until.get(host) == until:
                del self._until[host]
        if len(self._ends) > 2 * len(self._until) + 1_000:
            self._ends = sorted((until, host) for host, until in self._until.items())


class _Users:
    """The users of this machine who may come in."""

    def __init__(self, uids: Iterable[int] | None, gids: Iterable[int] | None) -> None:
        self._uids = frozenset(_number("uids", each) for each in _each("uids", () if uids is None else uids))
        self._gids = frozenset(_number("gids", each) for each in _each("gids", () if gids is None else gids))

    def refusal(self, request: Any) -> RefusalReason | None:
        peer = peer_of(request)
        if peer is None:  # a datagram, whose sender nobody vouches for
            return RefusalReason.DENIED
        known = peer.uid in self._uids or peer.gid in self._gids
        return None if known or self._gids & groups_of(request) else RefusalReason.DENIED


def _host(text: object) -> int:
    address = parsed(text) if isinstance(text, str) else None
    if address is None:
        raise ValueError(f"{text!r} is no host; accepted is an address, such as '192.0.2.7' or '2001:db8::7'")
    return address.host


def _each(name: str, given: Iterable[Any]) -> list[Any]:
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise ValueError(f"Access({name}={given!r}) is not accepted; accepted is a list, such as [{given!r}]")
    return list(given)


def _number(name: str, given: object) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise ValueError(f"Access({name}=[{given!r}]) is not accepted; accepted are numbers from 0 on")
    return given
