"""Who works, who is on the way, who leaves: what the supervisor decides, without processes, signals or clocks.

What happened goes in by methods, each with the time; `plan` says what to do about it. The rules, in order:

1. Who has not come up, or has not left, by the deadline is killed.
2. When the service stops, everybody is asked to leave, and nobody comes.
3. A place without a worker gets one: at once the first time, after a pause when they keep dying, and after growing ones
   when they keep failing to start.
4. A worker that is to be replaced goes on until its successor accepts. Replacements come one at a time.
5. Places that are too many lose their worker once everybody else has what they need.

A worker that dies before it is ready could not start. Where the service has never been complete, or nobody else serves,
that ends it (a crash loop helps nobody: gunicorn #1199, uvicorn #2757 and #3025); a reload it ends with the old workers
in their places; else it is tried again, after a pause.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from portside.policy.accepting import Backoff

# Seconds that a worker must have served to count as sound: one that dies after it is started again at once.
STABLE_SECONDS = 10.0

# Pauses before a place is filled again: systemd waits 0.1 s each time, Kubernetes 10 s to 5 min; here the first restart
# is immediate. They grow only for a worker that could not start, where half a minute is short enough for whoever
# repairs it meanwhile. One that has accepted clients is missed by them: were its pauses to grow, a client whose request
# crashes a worker, once a second, could shut the whole service for good (tools/chaos, the row "kills").
RESTARTS = Backoff(first=0.5, factor=2.0, limit=30.0)

# Seconds beyond its drain in which a worker must have left: the drain's grace, and time to end the interpreter.
LEAVING_SECONDS = 5.0

# Seconds between a second signal and SIGKILL: connections are cut at once, and a process has only to end.
FORCED_SECONDS = 2.0


class Phase(Enum):
    """A worker's life."""

    STARTING = auto()
    READY = auto()
    LEAVING = auto()


class Wear(Enum):
    """Why a worker is to be replaced."""

    RELOAD = auto()  # SIGHUP
    WORN = auto()  # it has had its share of connections or memory
    MOVED = auto()  # its listeners change, since the number of workers has


@dataclass(kw_only=True)
class Member:
    """One worker.

    Attributes:
        pid: its process id.
        slot: its place.
        since: when its phase began, in seconds.
        phase: where it is in its life.
        wear: why it is to be replaced; None while it is not.
        deadline: when it is killed, unless it has moved on.
    """

    pid: int
    slot: int
    since: float
    deadline: float | None
    phase: Phase = Phase.STARTING
    wear: Wear | None = None


@dataclass(frozen=True)
class Start:
    """Fork a worker for this place."""

    slot: int


@dataclass(frozen=True)
class Retire:
    """Ask this worker to drain and leave."""

    pid: int


@dataclass(frozen=True)
class Kill:
    """End this worker, whatever it does."""

    pid: int


Action = Start | Retire | Kill


class Roster:
    """The workers of one service.

    Args:
        count: how many are wanted.
        start_timeout: seconds that one has to get ready.
        drain: seconds that the handlers of one have to finish.

    Attributes:
        members: all of them, by process id.
        count: how many are wanted.
        stopping: the service ends.
        drain: seconds that handlers have to finish.
        failure: why it ends, where it was not asked to.
        pauses: seconds until the places that were just lost are filled again, for whoever tells of it.
    """

    def __init__(self, *, count: int, start_timeout: float, drain: float) -> None:
        self.members: dict[int, Member] = {}
        self.count = count
        self.stopping = False
        self.failure: str | None = None
        self.reload_error: str | None = None
        self._start_timeout = start_timeout
        self.drain = drain
        self._reload_began: float | None = None
        self._was_complete = False
        self._failures: dict[int, int] = {}
        self._not_before: dict[int, float] = {}

    # What is known

    @property
    def complete(self) -> bool:
        """Every place has a worker that accepts."""
        return all(any(each.phase is Phase.READY for each in self._holders(slot)) for slot in range(self.count))

    @property
    def finished(self) -> bool:
        """The service has ended."""
        return self.stopping and not self.members

    @property
    def reloading(self) -> bool:
        """A reload is under way."""
        return self._reload_began is not None

    def ready_pids(self) -> list[int]:
        """Those that accept."""
        return [each.pid for each in self.members.values() if each.phase is Phase.READY]

    def serving_pids(self) -> list[int]:
        """Those that accept, and those that drain."""
        return [each.pid for each in self.members.values() if each.phase is not Phase.STARTING]

    def described(self, now: float) -> list[dict[str, Any]]:
        """The workers: `pid`, `slot`, `phase` ("starting", "ready", "leaving") and `seconds` in it."""
        return [
            {"pid": each.pid, "slot": each.slot, "phase": each.phase.name.lower(), "seconds": now - each.since}
            for each in list(self.members.values())
        ]

    def is_starting(self, pid: int) -> bool:
        """A worker is on the way."""
        return self.members[pid].phase is Phase.STARTING

    def _holders(self, slot: int) -> list[Member]:
        """Who has this place, or is about to."""
        return [each for each in self.members.values() if each.slot == slot and each.phase is not Phase.LEAVING]

    def _starting(self) -> bool:
        return any(each.phase is Phase.STARTING for each in self.members.values())

    # What happened

    def started(self, pid: int, slot: int, now: float) -> None:
        """A worker was forked."""
        self.members[pid] = Member(pid=pid, slot=slot, since=now, deadline=now + self._start_timeout)

    def ready(self, pid: int, now: float) -> float:
        """A worker accepts at every endpoint; returns how many seconds that took."""
        member = self.members[pid]
        took = now - member.since
        if member.phase is Phase.STARTING:
            member.phase, member.since, member.deadline = Phase.READY, now, None
            self._was_complete = self._was_complete or self.complete
        return took

    def leaving(self, pid: int, now: float) -> None:
        """A worker drains, asked by us or by somebody else; its place is free."""
        self._leave(self.members[pid], now)

    def worn(self, pid: int) -> None:
        """A worker wants to be replaced."""
        if self.members[pid].wear is None:
            self.members[pid].wear = Wear.WORN

    def exited(self, pid: int, now: float, reason: str) -> float | None:
        """A worker has ended.

        Args:
            pid: which.
            now: when, in seconds.
            reason: how, in words.

        Returns:
            Seconds until its place is filled again; None where nothing is lost by it.
        """
        member = self.members.pop(pid)
        if self.stopping or member.phase is Phase.LEAVING or member.slot >= self.count:
            return None
        if member.phase is Phase.STARTING:
            return self._could_not_start(member.slot, now, reason)
        if self._holders(member.slot):  # its successor is on the way
            return None
        return self._set_back(member.slot, now, longest=RESTARTS.first, lived=now - member.since)

    def not_forked(self, slot: int, now: float, reason: str) -> float | None:
        """There was no room for another process; returns what `exited` does."""
        return self._could_not_start(slot, now, reason)

    def _could_not_start(self, slot: int, now: float, reason: str) -> float | None:
        predecessor = self._holders(slot)
        if not self._was_complete or not self.members:
            self.failure, self.stopping = reason, True
            return None
        if predecessor and self.reloading:
            self._give_the_reload_up(reason)
            return None
        return self._set_back(slot, now, longest=RESTARTS.limit)

    def _set_back(self, slot: int, now: float, *, longest: float, lived: float = 0.0) -> float:
        failures = self._failures[slot] = 1 if lived >= STABLE_SECONDS else self._failures.get(slot, 0) + 1
        pause = min(longest, RESTARTS.seconds(failures - 1)) if failures > 1 else 0.0
        self._not_before[slot] = now + pause
        return pause

    def _give_the_reload_up(self, reason: str) -> None:
        self._reload_began, self.reload_error = None, reason
        for each in self.members.values():
            if each.wear is Wear.RELOAD:
                each.wear = None

    # What is wanted

    def reload(self, now: float) -> None:
        """Replace everybody, those too that are on the way: they may have loaded the old code."""
        self.reload_error = None
        self._reload_began = now if self._reload_began is None else self._reload_began
        for each in self.members.values():
            each.wear = Wear.RELOAD

    def reloaded(self, now: float) -> float | None:
        """Seconds that a reload took, once, when it is through; None otherwise."""
        worn = any(each.wear is Wear.RELOAD for each in self.members.values() if each.phase is not Phase.LEAVING)
        if self._reload_began is None or worn or not self.complete:
            return None
        took, self._reload_began = now - self._reload_began, None
        return took

    def resize(self, count: int, moved: Set[int] = frozenset()) -> None:
        """Want so many workers from now on.

        Args:
            count: how many.
            moved: places whose listeners change by that.
        """
        self.count = count
        for each in self.members.values():
            if each.slot in moved and each.slot < count and each.wear is None:
                each.wear = Wear.MOVED

    def stop(self, drain: float | None = None) -> None:
        """End the service: everybody drains.

        Args:
            drain: seconds for handlers to finish; None is what was said before.
        """
        self.stopping = True
        if drain is not None:
            self.drain = drain

    def force(self, now: float) -> None:
        """End it now: who has not left in a moment is killed."""
        self.stopping = True
        for each in self.members.values():
            each.deadline = now + FORCED_SECONDS

    # What to do

    def plan(self, now: float) -> list[Action]:
        """What to do now; the caller does all of it, and asks again when something has happened or is due."""
        overdue = [each for each in self.members.values() if each.deadline is not None and each.deadline <= now]
        for each in overdue:
            each.deadline = None
        actions = self._everybody_out(now) if self.stopping else self._keep_up(now)
        return [*(Kill(each.pid) for each in overdue), *actions]

    def next_due(self, now: float) -> float | None:
        """When `plan` has to be asked although nothing happens; None for never."""
        deadlines = [each.deadline for each in self.members.values() if each.deadline is not None]
        pauses = [] if self.stopping else [when for when in self._not_before.values() if when > now]
        return min([*deadlines, *pauses], default=None)

    def _everybody_out(self, now: float) -> Iterator[Action]:
        return (self._retire(each, now) for each in list(self.members.values()) if each.phase is not Phase.LEAVING)

    def _keep_up(self, now: float) -> Iterator[Action]:
        yield from self._vacancies(now)
        yield from self._superseded(now)
        if not self._starting():
            yield from self._next_replacement(now)
        yield from self._surplus(now)

    def _vacancies(self, now: float) -> Iterator[Action]:
        return (Start(slot) for slot in range(self.count) if not self._holders(slot) and self._may_start(slot, now))

    def _superseded(self, now: float) -> Iterator[Action]:
        for slot in range(self.count):
            holders = [each for each in self._holders(slot) if each.phase is Phase.READY]
            for old in holders[:-1]:  # members are kept in the order in which they came
                yield self._retire(old, now)

    def _next_replacement(self, now: float) -> Iterator[Action]:
        for slot in range(self.count):
            holders = self._holders(slot)
            if holders and holders[-1].wear is not None and self._may_start(slot, now):
                yield Start(slot)
                return

    def _surplus(self, now: float) -> Iterator[Action]:
        surplus = [each for each in self.members.values() if each.slot >= self.count]
        settled = not self._starting() and self.complete and not self._has_moves()
        for each in surplus:
            if each.phase is not Phase.LEAVING and settled:
                yield self._retire(each, now)

    def _has_moves(self) -> bool:
        return any(each.wear is Wear.MOVED for slot in range(self.count) for each in self._holders(slot))

    def _may_start(self, slot: int, now: float) -> bool:
        return self._not_before.get(slot, now) <= now

    def _retire(self, member: Member, now: float) -> Action:
        self._leave(member, now)
        return Retire(member.pid)

    def _leave(self, member: Member, now: float) -> None:
        if member.phase is not Phase.LEAVING:
            member.phase, member.since = Phase.LEAVING, now
            member.deadline = now + self.drain + LEAVING_SECONDS
