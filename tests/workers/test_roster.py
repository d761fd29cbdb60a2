"""What the supervisor decides, on a clock that only the test moves."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from portside.service.supervision.roster import FORCED_SECONDS, LEAVING_SECONDS, Kill, Phase, Retire, Roster, Start


class Told:
    """A roster, and a supervisor that does at once what it says; processes are numbers."""

    def __init__(self, count: int = 2, *, ready: bool = True) -> None:
        self.roster = Roster(count=count, start_timeout=60.0, drain=30.0)
        self.now = 0.0
        self.killed: list[int] = []
        self.retired: list[int] = []
        self._last = 0
        if ready:
            self.settle()

    def turn(self) -> int:
        """Do what is planned; returns how much that was."""
        plan = self.roster.plan(self.now)
        for action in plan:
            match action:
                case Start(slot):
                    self._last += 1
                    self.roster.started(self._last, slot, self.now)
                case Retire(pid):
                    self.retired.append(pid)
                case Kill(pid):
                    self.killed.append(pid)
        return len(plan)

    def settle(self) -> None:
        """Every worker that starts gets ready, and every one that was asked leaves, until nothing is to be done."""
        while self.turn() > 0 or self._come_and_go():
            pass

    def _come_and_go(self) -> bool:
        for member in list(self.roster.members.values()):
            if member.phase is Phase.STARTING and not self.roster.stopping:
                self.roster.ready(member.pid, self.now)
                return True
            if member.phase is Phase.LEAVING:
                self.roster.exited(member.pid, self.now, "it ended with 0")
                return True
        return False

    def pids(self, phase: Phase | None = None) -> list[int]:
        return [each.pid for each in self.roster.members.values() if phase in (None, each.phase)]


def test_every_place_gets_a_worker_at_once() -> None:
    told = Told(3, ready=False)
    told.turn()
    assert told.pids(Phase.STARTING) == [1, 2, 3]
    assert (told.roster.complete, told.roster.ready_pids()) == (False, [])
    told.settle()
    assert (told.roster.complete, told.roster.ready_pids()) == (True, [1, 2, 3])
    assert told.roster.next_due(told.now) is None


def test_place_of_a_worker_that_served_is_filled_at_once_and_then_soon() -> None:
    told = Told()
    pauses = []
    for _ in range(8):
        pid = told.pids()[-1]
        pauses.append(told.roster.exited(pid, told.now, "it was ended by SIGKILL"))
        due = told.roster.next_due(told.now)
        assert due is None or not told.turn()
        told.now = due or told.now
        told.settle()
    assert pauses == [0.0, *[0.5] * 7]


def test_place_of_a_worker_that_cannot_start_is_filled_after_growing_pauses() -> None:
    told = Told()
    pauses = [told.roster.exited(told.pids()[-1], told.now, "it was ended by SIGKILL")]
    for _ in range(7):
        assert told.turn()
        pauses.append(told.roster.exited(told.pids()[-1], told.now, "no such module"))
        told.now = told.roster.next_due(told.now) or told.now
    assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0]


def test_worker_that_served_for_long_is_sound() -> None:
    told = Told()
    for _ in range(3):
        told.now += 11
        assert told.roster.exited(told.pids()[-1], told.now, "it ended with 1") == 0.0
        told.settle()


def test_worker_that_cannot_start_ends_a_service_that_never_was() -> None:
    told = Told(ready=False)
    told.turn()
    told.roster.ready(1, told.now)
    assert told.roster.exited(2, told.now, "no such module") is None
    assert (told.roster.failure, told.roster.stopping) == ("no such module", True)
    told.settle()
    assert told.retired == [1]
    assert told.roster.finished


def test_worker_that_cannot_start_ends_a_service_that_nobody_serves() -> None:
    told = Told(1)
    told.roster.exited(1, told.now, "it was ended by SIGKILL")
    told.turn()
    told.roster.exited(2, told.now, "no such module")
    assert told.roster.failure == "no such module"


def test_worker_that_cannot_start_is_tried_again_while_others_serve() -> None:
    told = Told()
    told.roster.exited(2, told.now, "it was ended by SIGKILL")
    told.turn()
    assert told.roster.exited(3, told.now, "no such module") == 0.5
    assert not told.roster.stopping
    told.now += 0.5
    told.settle()
    assert told.roster.complete


def test_worker_that_was_not_forked_counts_as_one_that_could_not_start() -> None:
    told = Told()
    told.roster.exited(2, told.now, "it was ended by SIGKILL")
    assert told.roster.not_forked(1, told.now, "no room") == 0.5


def test_reload_replaces_one_by_one_and_never_before_the_successor_accepts() -> None:
    told = Told()
    told.roster.reload(told.now)
    told.turn()
    assert (told.pids(Phase.STARTING), told.retired) == ([3], [])
    assert not told.turn()
    told.now += 2
    told.roster.ready(3, told.now)
    told.turn()
    assert (told.retired, told.pids(Phase.STARTING)) == ([1], [4])
    assert told.roster.reloaded(told.now) is None
    told.roster.ready(4, told.now)
    told.turn()
    assert told.retired == [1, 2]
    assert told.roster.reloaded(told.now) == 2.0
    assert told.roster.reloaded(told.now) is None


def test_second_reload_replaces_those_too_that_are_on_the_way() -> None:
    told = Told(1)
    told.roster.reload(told.now)
    told.turn()
    told.roster.reload(told.now)
    told.settle()
    assert told.pids() == [3]
    assert told.retired == [1, 2]


def test_reload_that_fails_leaves_the_workers() -> None:
    told = Told()
    told.roster.reload(told.now)
    told.turn()
    assert told.roster.exited(3, told.now, "no such module") is None
    assert told.roster.reload_error == "no such module"
    assert not told.turn()
    assert told.pids(Phase.READY) == [1, 2]
    told.roster.reload(told.now)
    told.settle()
    assert told.pids(Phase.READY) == [4, 5]


def test_worn_worker_serves_until_its_successor_does() -> None:
    told = Told()
    told.roster.worn(1)
    told.turn()
    assert told.pids(Phase.READY) == [1, 2]
    told.settle()
    assert told.pids() == [2, 3]
    assert told.retired == [1]


def test_successor_of_a_worn_worker_that_cannot_start_is_tried_again() -> None:
    told = Told()
    told.roster.worn(1)
    told.turn()
    assert told.roster.exited(3, told.now, "no such module") == 0.0
    told.settle()
    assert told.retired == [1]


def test_predecessor_that_dies_meanwhile_is_no_loss() -> None:
    told = Told()
    told.roster.worn(1)
    told.turn()
    assert told.roster.exited(1, told.now, "it was ended by SIGKILL") is None
    told.settle()
    assert told.pids() == [2, 3]


def test_place_of_a_worker_that_leaves_by_itself_is_free_at_once() -> None:
    told = Told()
    told.roster.leaving(1, told.now)
    told.turn()
    assert told.pids(Phase.STARTING) == [3]
    assert told.roster.exited(1, told.now, "it ended with 0") is None


def test_more_and_fewer() -> None:
    told = Told()
    told.roster.resize(3)
    told.settle()
    assert told.pids() == [1, 2, 3]
    told.roster.resize(1)
    told.settle()
    assert (told.pids(), told.retired) == ([1], [2, 3])


def test_fewer_with_queues_to_pass_on_replaces_the_heirs_first() -> None:
    told = Told()
    told.roster.resize(1, moved={0})
    told.turn()
    assert (told.pids(Phase.STARTING), told.retired) == ([3], [])
    told.roster.ready(3, told.now)
    told.turn()
    assert told.retired == [1, 2]


def test_surplus_worker_that_dies_is_not_missed() -> None:
    told = Told()
    told.roster.resize(1, moved={0})
    assert told.roster.exited(2, told.now, "it was ended by SIGKILL") is None


def test_worker_that_does_not_get_ready_is_killed() -> None:
    told = Told(ready=False)
    told.turn()
    told.roster.ready(1, told.now)
    assert told.roster.next_due(told.now) == 60.0
    told.now = 60.0
    told.turn()
    assert told.killed == [2]


def test_worker_that_does_not_leave_is_killed() -> None:
    told = Told(1)
    told.roster.stop()
    told.turn()
    told.now = told.roster.next_due(told.now) or 0.0
    assert told.now == 30.0 + LEAVING_SECONDS
    told.turn()
    assert (told.retired, told.killed) == ([1], [1])
    assert not told.turn()
    told.roster.exited(1, told.now, "it was ended by SIGKILL")
    assert told.roster.finished


def test_forced_end_kills_who_stays() -> None:
    told = Told()
    told.roster.stop()
    told.turn()
    told.roster.force(told.now)
    told.roster.exited(1, told.now, "it ended with 0")
    told.now += FORCED_SECONDS
    told.turn()
    assert told.killed == [2]


def test_nobody_comes_while_the_service_ends() -> None:
    told = Told()
    told.roster.stop()
    told.roster.exited(1, told.now, "it was ended by SIGKILL")
    told.turn()
    assert told.pids() == [2]


@given(
    st.lists(st.tuples(st.deferred(lambda: st.sampled_from([*HAPPENINGS, *WISHES])), st.integers(0, 7)), max_size=40)
)
def test_whatever_happens_the_service_settles_or_says_why_not(events: list[tuple[str, int]]) -> None:
    told = Told()
    for event, number in events:
        happen(told, event, number)
        told.turn()
        assert sum(each.phase is not Phase.LEAVING for each in told.roster.members.values()) <= 20
    told.now += 3600
    told.settle()
    if told.roster.failure is None:
        assert told.roster.complete
        assert len(told.pids()) == told.roster.count
    else:
        assert told.roster.finished


# What can happen to a worker, and in which phases.
HAPPENINGS: dict[str, tuple[tuple[Phase, ...], Callable[[Told, int], object]]] = {
    "kill": (tuple(Phase), lambda told, pid: told.roster.exited(pid, told.now, "it was ended by SIGKILL")),
    "fail": ((Phase.STARTING,), lambda told, pid: told.roster.exited(pid, told.now, "no such module")),
    "ready": ((Phase.STARTING,), lambda told, pid: told.roster.ready(pid, told.now)),
    "worn": ((Phase.READY,), lambda told, pid: told.roster.worn(pid)),
    "leave": ((Phase.READY,), lambda told, pid: told.roster.leaving(pid, told.now)),
    "exit": ((Phase.LEAVING,), lambda told, pid: told.roster.exited(pid, told.now, "it ended with 0")),
}
WISHES: dict[str, Callable[[Told, int], object]] = {
    "reload": lambda told, _: told.roster.reload(told.now),
    "more": lambda told, _: told.roster.resize(min(4, told.roster.count + 1), moved={0}),
    "fewer": lambda told, _: told.roster.resize(max(1, told.roster.count - 1), moved={0}),
    "wait": lambda told, number: setattr(told, "now", told.now + number * 5),
}


def happen(told: Told, event: str, number: int) -> None:
    if event in WISHES:
        WISHES[event](told, number)
    elif pids := told.pids():
        pid = pids[number % len(pids)]
        phases, do = HAPPENINGS[event]
        if told.roster.members[pid].phase in phases:
            do(told, pid)


def test_late_words_change_nothing() -> None:
    told = Told(1)
    told.roster.leaving(1, told.now)
    told.roster.ready(1, told.now)
    told.roster.leaving(1, told.now + 5)
    assert told.roster.members[1].phase is Phase.LEAVING
    assert told.roster.members[1].since == 0.0
