"""Who may come in: networks, bans, users; and that none of it grows or scans."""

import ipaddress
import os
import socket
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.peer import Peer
from portside.policy import access as module
from portside.policy.access import Access, Bans
from portside.policy.peers import groups_of, peer_of
from portside.telemetry import RefusalReason
from tests.conftest import StillClock


def verdict(access: Access, host: str) -> RefusalReason | None:
    return access.refusal(None, (host, 1))


@pytest.mark.parametrize(
    ("allow", "deny", "inside", "outside"),
    [
        ([], [], ["192.0.2.1", "::1"], []),
        (["10.0.0.0/8"], [], ["10.1.2.3", "::ffff:10.1.2.3"], ["192.0.2.1", "::1"]),
        ([], ["10.0.0.0/8"], ["192.0.2.1", "::1"], ["10.1.2.3", "::ffff:10.1.2.3"]),
        (["10.0.0.0/8"], ["10.1.0.0/16"], ["10.2.0.1"], ["10.1.2.3", "11.0.0.1"]),
        (["10.0.0.0/8", "10.1.2.3"], ["10.1.0.0/16"], ["10.2.0.1", "10.1.2.3"], ["10.1.2.4"]),
        (["192.0.2.0/24"], ["0.0.0.0/0", "::/0"], ["192.0.2.1"], ["192.0.3.1", "2001:db8::1"]),
        (["10.0.0.0/8"], ["10.0.0.0/8"], [], ["10.1.2.3"]),
        (["2001:db8::/32"], [], ["2001:db8::1"], ["2001:db9::1", "10.1.2.3"]),
    ],
)
def test_the_most_specific_network_decides(
    allow: list[str], deny: list[str], inside: list[str], outside: list[str]
) -> None:
    access = Access(allow=allow, deny=deny)
    assert [verdict(access, host) for host in inside] == [None] * len(inside)
    assert [verdict(access, host) for host in outside] == [RefusalReason.DENIED] * len(outside)


NETWORKS = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
            lambda pair: ipaddress.ip_network((pair[0], pair[1]), strict=False)
        ),
        st.tuples(st.integers(0, 7), st.integers(28, 32)).map(
            lambda pair: ipaddress.ip_network((pair[0], pair[1]), strict=False)
        ),
    ),
    max_size=12,
    unique=True,
)


@given(NETWORKS, NETWORKS, st.integers(0, 9) | st.integers(0, 2**32 - 1))
def test_rules_agree_with_a_scan(allow: list[Any], deny: list[Any], bits: int) -> None:
    host = ipaddress.IPv4Address(bits)
    found = [(each.prefixlen, each in deny) for each in {*allow, *deny} if host in each]
    refused = max(found)[1] if found else bool(set(allow) - set(deny))
    assert (verdict(Access(allow=allow, deny=deny), str(host)) is RefusalReason.DENIED) is refused


def test_rules_change_while_they_are_used() -> None:
    access = Access()
    access.deny("192.0.2.0/24")
    assert verdict(access, "192.0.2.7") is RefusalReason.DENIED
    access.allow("192.0.2.7")
    assert verdict(access, "192.0.2.7") is None
    assert verdict(access, "198.51.100.1") is RefusalReason.DENIED
    access.forget("192.0.2.7", "192.0.2.0/24")
    assert verdict(access, "198.51.100.1") is None
    with pytest.raises(ValueError, match="no network"):
        access.deny("198.51.100.1", "nowhere")
    assert verdict(access, "198.51.100.1") is None


def test_rules_may_be_changed_by_several_threads() -> None:
    access = Access()

    def deny(first: int) -> None:
        for last in range(100):
            access.deny(f"10.{first}.{last}.0/24")

    threads = [threading.Thread(target=deny, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(500):
        assert verdict(access, "192.0.2.1") is None
    for thread in threads:
        thread.join()
    assert all(verdict(access, f"10.{first}.{last}.5") for first in range(8) for last in range(100))


@pytest.mark.parametrize(
    "options",
    [{"allow": "10.0.0.0/8"}, {"deny": ["10.0.0.1/8"]}, {"deny": 5}, {"uids": ["root"]}, {"gids": [-1]}, {"uids": 0}],
)
def test_a_wrong_rule_is_told(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="accepted"):
        Access(**options)


# Bans


def test_a_ban_keeps_a_host_out_until_it_is_lifted() -> None:
    access = Access(allow=["192.0.2.0/24"])
    access.ban("192.0.2.7", 1_000)
    assert [verdict(access, f"192.0.2.{last}") for last in (7, 8)] == [RefusalReason.BANNED, None]
    assert access.is_banned("::ffff:192.0.2.7")
    assert (access.unban("192.0.2.7"), access.unban("192.0.2.7")) == (True, False)
    assert verdict(access, "192.0.2.7") is None


def test_a_ban_of_an_ipv6_address_is_one_of_its_network() -> None:
    access = Access()
    access.ban("2001:db8::7", 1_000)
    assert verdict(access, "2001:db8::8") is RefusalReason.BANNED
    assert verdict(access, "2001:db8:0:1::8") is None


@pytest.mark.parametrize(("host", "seconds"), [("nobody", 1), ("10.0.0.0/8", 1), ("10.0.0.1", 0), ("10.0.0.1", -1)])
def test_a_wrong_ban_is_told(host: str, seconds: float) -> None:
    with pytest.raises(ValueError, match="accepted is"):
        Access().ban(host, seconds)


def test_a_ban_ends_by_itself() -> None:
    clock = StillClock()
    bans = Bans(clock.monotonic)
    bans.add(1, 10)
    bans.add(2, 5)
    bans.add(1, 20)
    clock.now += 10
    assert [host in bans for host in (1, 2, 3)] == [True, False, False]
    clock.now += 10
    assert 1 not in bans


def test_bans_are_bounded_and_the_one_that_ends_first_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BANS", 10)
    bans = Bans(StillClock().monotonic)
    for host in range(1_000):
        bans.add(host, 1_000 + host)
    assert len(bans) == 10
    assert all(host in bans for host in range(990, 1_000))


def test_a_ban_that_is_renewed_for_ever_takes_no_memory() -> None:
    bans = Bans(StillClock().monotonic)
    for seconds in range(1, 10_000):
        bans.add(1, seconds)
    assert len(bans._ends) < 3_000


# Users of this machine


def test_the_process_behind_a_unix_socket_is_known() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_of(ours) == Peer(uid=os.getuid(), gid=os.getgid(), pid=os.getpid())
        assert groups_of(ours) >= set(os.getgroups()) - {os.getgid()}


def test_nobody_vouches_for_others() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as closed:
        closed.close()
        assert [peer_of(each) for each in (listener, closed, None, (b"datagram", listener))] == [None] * 4


@pytest.mark.parametrize(
    ("options", "comes_in"),
    [
        ({"uids": [os.getuid()]}, True),
        ({"gids": [os.getgid()]}, True),
        ({"uids": [os.getuid() + 1]}, False),
        ({"uids": [os.getuid() + 1], "gids": [os.getgid()]}, True),
        ({"uids": []}, False),
        ({"allow": ["10.0.0.0/8"]}, True),
    ],
)
def test_users_may_be_named(options: dict[str, Any], comes_in: bool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert (Access(**options).refusal(ours, "") is None) is comes_in
        assert Access(uids=[os.getuid() + 1]).refusal(None, ("127.0.0.1", 1)) is None
