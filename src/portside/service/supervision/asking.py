"""Questions to workers: who was asked, who has answered, and when nobody waits any longer. No sockets here."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Reply = dict[str, Any]

# Seconds that a worker has to answer: it answers in a thread of its own, so one that takes longer is stuck.
ANSWER_SECONDS = 5.0


@dataclass(kw_only=True)
class Question:
    """One question that is under way.

    Attributes:
        waiting: process ids of those who have not answered.
        replies: one for each who has, or could not, by process id.
        deadline: until when they may, in seconds.
        done: called once, with all replies.
    """

    waiting: set[int]
    replies: dict[int, Reply]
    deadline: float
    done: Callable[[list[Reply]], object]


class Questions:
    """All questions that are under way."""

    def __init__(self) -> None:
        self._open: dict[int, Question] = {}
        self._last = 0

    def ask(self, pids: Iterable[int], deadline: float, done: Callable[[list[Reply]], object]) -> int:
        """Begin a question; returns its number, which answers come with. Without anybody to ask it is done at once."""
        self._last += 1
        question = Question(waiting=set(pids), replies={}, deadline=deadline, done=done)
        self._open[self._last] = question
        self._settle(self._last, question)
        return self._last

    def answered(self, number: object, pid: int, reply: Reply) -> None:
        """A worker has answered; one that comes too late is nobody's any more."""
        question = self._open.get(number) if isinstance(number, int) else None
        if question is not None and pid in question.waiting:
            self._note(question, pid, reply)
            self._settle(int(str(number)), question)

    def gone(self, pid: int) -> None:
        """A worker has ended, and answers nothing any more."""
        for number, question in list(self._open.items()):
            if pid in question.waiting:
                self._note(question, pid, {"pid": pid, "error": "the worker has ended"})
                self._settle(number, question)

    def expire(self, now: float) -> None:
        """Let nobody wait past the deadline."""
        for number, question in list(self._open.items()):
            if question.deadline <= now:
                for pid in sorted(question.waiting):
                    self._note(question, pid, {"pid": pid, "error": "the worker does not answer"})
                self._settle(number, question)

    def next_due(self) -> float | None:
        """When the next question is over, at the latest."""
        return min((question.deadline for question in self._open.values()), default=None)

    def _note(self, question: Question, pid: int, reply: Reply) -> None:
        question.waiting.discard(pid)
        question.replies[pid] = reply

    def _settle(self, number: int, question: Question) -> None:
        if not question.waiting and number in self._open:
            del self._open[number]
            question.done([question.replies[pid] for pid in sorted(question.replies)])
