"""Giving up rights: bind as root, serve as somebody else.

The order matters. Groups go first, since only root may change them; the user goes last and takes the rest along. Both
are looked at afterwards, since a server that goes on as root by mistake is worse than one that does not start
(Chen, Wagner and Dean, "Setuid Demystified", 2002).
"""

import contextlib
import os
from dataclasses import dataclass

with contextlib.suppress(ImportError):  # Windows has neither, nor privileges of this kind
    import grp
    import pwd

Name = str | int


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who a process is to be.

    Attributes:
        uid: the user; None stays as it is.
        gid: the group.
        groups: all groups, that one included.
        told: what was asked for, in the words of the configuration.
    """

    uid: int | None
    gid: int
    groups: tuple[int, ...]
    told: str

    @classmethod
    def of(cls, user: Name | None, group: Name | None) -> "Identity | None":
        """Look the names up; with a user alone, the groups are that user's.

        Args:
            user: a user's name or number; None stays as it is.
            group: a group's name or number; None is the user's own.

        Returns:
            None where neither is given.

        Raises:
            ValueError: there is no such user or group.
        """
        if user is None and group is None:
            return None
        told = " and ".join(f"{kind}={name!r}" for kind, name in (("user", user), ("group", group)) if name is not None)
        account = None if user is None else _account(user)
        gid = account[2] if account and group is None else _group(group)
        groups = os.getgrouplist(account[0], gid) if account and account[0] else [gid]
        return cls(uid=account[1] if account else None, gid=gid, groups=tuple(sorted(set(groups))), told=told)

    @property
    def is_current(self) -> bool:
        """True when the process is that already, and could not become anybody else again."""
        users = {self.uid} if self.uid is not None else set(os.getresuid())
        return (
            set(os.getresuid()) == users
            and set(os.getresgid()) == {self.gid}
            and {*os.getgroups(), self.gid} == {*self.groups}
        )

    def check(self) -> None:
        """See to it, before anything binds, that this process may become somebody else.

        Raises:
            PermissionError: it may not.
        """
        if os.geteuid() != 0 and not self.is_current:
            raise PermissionError(f"{self.told} needs a start as root: start it so, or leave that out")

    def assume(self) -> None:
        """Become it, for good.

        Raises:
            PermissionError: the system refuses, or the process could take its rights back.
        """
        if self.is_current:
            return
        try:
            os.setgroups(self.groups)
            os.setresgid(self.gid, self.gid, self.gid)
            if self.uid is not None:
                os.setresuid(self.uid, self.uid, self.uid)
        except OSError as error:
            raise PermissionError(f"{self.told} is refused by the system ({error.strerror}): start as root") from error
        self._verify()

    def _verify(self) -> None:
        if not self.is_current or (self.uid and _may_become_root()):
            raise PermissionError(f"{self.told} was not taken on in full: this process keeps rights that it should not")


def _may_become_root() -> bool:
    try:
        os.setuid(0)
    except OSError:
        return False
    return True


def _account(user: Name) -> tuple[str, int, int]:
    """Name, number and group of a user; a number that nobody has is accepted, and is its own group."""
    try:
        found = pwd.getpwnam(user) if isinstance(user, str) and not user.isdecimal() else pwd.getpwuid(int(user))
    except KeyError as error:
        if isinstance(user, int) or user.isdecimal():
            return "", int(user), int(user)
        raise ValueError(f"user={user!r} is nobody: name one that `getent passwd` lists") from error
    return found.pw_name, found.pw_uid, found.pw_gid


def _group(group: Name | None) -> int:
    if group is None:
        return os.getgid()
    if isinstance(group, int) or group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise ValueError(f"group={group!r} is none: name one that `getent group` lists") from error
