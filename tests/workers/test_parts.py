"""The smaller parts: queues shared out, questions with a deadline, messages over a channel, wear, privileges."""

import json
import os
import subprocess
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside import Endpoint
from portside.service.loading import Deferred
from portside.service.privileges import Identity
from portside.service.supervision.asking import Questions, Reply
from portside.service.supervision.channel import Channel
from portside.service.supervision.evenness import HESITATION, Evenness
from portside.service.supervision.listeners import Listeners, share
from portside.service.supervision.wear import Wear, own_memory
from portside.service.workers import Workers
from portside.telemetry import ConnectionOpened, emit

pytestmark = pytest.mark.usefixtures("no_leaks")

# Queues


@given(st.integers(1, 12), st.integers(1, 12))
def test_every_queue_has_a_worker_and_every_worker_a_queue(queues: int, workers: int) -> None:
    shares = [share(queues, workers, slot) for slot in range(workers)]
    assert all(shares)
    assert {number for each in shares for number in each} == set(range(queues))


def test_listeners_share_one_port_or_have_a_queue_each() -> None:
    where = (Endpoint.parse("tcp://127.0.0.1:0"), Endpoint.parse("udp://127.0.0.1:0"))
    for balance, count in (("shared", 2), ("reuseport", 6)):
        listeners = Listeners(where, balance="reuseport" if balance == "reuseport" else "shared", workers=3)
        try:
            assert len(listeners.all()) == count
            ports = {Endpoint.from_socket(each.server.socket).port for each in listeners.all()}
            assert ports == {each.port for each in listeners.endpoints}
            assert listeners.moved(3, 2) == ({0} if count == 6 else set())
            assert listeners.moved(3, 4) == set()
        finally:
            listeners.close()


def test_listeners_that_cannot_all_be_bound_are_not() -> None:
    taken = Listeners([Endpoint.parse("tcp://127.0.0.1:0")])
    with pytest.raises(OSError, match="is in use"):
        Listeners([Endpoint.parse("tcp://127.0.0.1:0"), taken.endpoints[0]])
    taken.close()


def test_who_has_more_than_the_others_hesitates() -> None:
    evenness = Evenness()
    one, other = evenness.sit(), evenness.sit()
    assert (one, other) == (0, 1)
    assert one is not None and other is not None
    assert [evenness.hesitation(one, count) for count in (0, 8, 100)] == [0.0, 0.0, HESITATION]
    assert evenness.hesitation(other, 90) == 0.0
    assert evenness.hesitation(one, 100) == 0.0
    evenness.rise(other)
    evenness.rise(None)
    assert evenness.hesitation(other, 1000) == 0.0
    assert evenness.hesitation(one, 1000) == 0.0  # it is alone
    assert [evenness.sit() for _ in range(65)][-2:] == [None, None]
    evenness.close()


# Questions


def test_question_is_over_when_everybody_has_answered_or_gone() -> None:
    done: list[list[Reply]] = []
    questions = Questions()
    number = questions.ask([1, 2, 3], 5.0, done.append)
    questions.answered(number, 2, {"n": 2})
    questions.answered(number, 2, {"n": 0})
    questions.answered("no number", 1, {})
    questions.gone(1)
    assert (done, questions.next_due()) == ([], 5.0)
    questions.expire(4.0)
    questions.expire(5.0)
    assert done == [
        [{"pid": 1, "error": "the worker has ended"}, {"n": 2}, {"pid": 3, "error": "the worker does not answer"}]
    ]
    questions.answered(number, 3, {"n": 3})
    assert questions.next_due() is None
    questions.ask([], 5.0, done.append)
    assert done[1:] == [[]]


# Channels

JSON = st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.booleans()))


@given(st.lists(JSON, max_size=20))
def test_messages_arrive_as_they_were(messages: list[dict[str, Any]]) -> None:
    one, other = Channel.pair()
    for message in messages:
        one.send(message)
    one.close()
    heard, more = [], True
    while more:
        arrived, more = other.arrived()
        heard += arrived
    other.close()
    assert heard == messages


def test_offer_never_waits_and_send_does() -> None:
    one, other = Channel.pair()
    assert other.arrived() == ([], True)
    for number in range(1000):
        one.offer({"number": number, "filler": "x" * 1000})
    heard: list[int] = []
    reader = threading.Thread(target=lambda: heard.extend(numbers(other)))
    reader.start()
    one.send({"number": -1})
    one.close()
    reader.join()
    one.offer({"number": -2})
    other.close()
    assert heard[:100] == list(range(100))


def numbers(channel: Channel) -> list[int]:
    heard, more = list[int](), True
    while more:
        arrived, more = channel.arrived()
        heard += [each["number"] for each in arrived]
    return heard


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"\0\0\0\1x"])
def test_end_that_speaks_another_language_is_given_up(garbage: bytes) -> None:
    one, other = Channel.pair()
    one._sock.sendall(garbage)
    assert other.arrived() == ([], False)
    one.close()
    other.close()


# Wear


def test_worker_says_once_that_it_is_worn() -> None:
    said: list[str] = []
    event = ConnectionOpened(server=None, client_address=None)
    with Wear(Workers(max_connections_per_worker=1), said.append):
        emit(event)
        emit(event)
    emit(event)
    assert said == ["it has served 1 connections"]


def test_memory_is_looked_at() -> None:
    told = threading.Event()
    with Wear(Workers(max_memory=1), lambda _: told.set()):
        assert told.wait(60)
    assert own_memory() > 1024**2


# Names


@pytest.mark.parametrize("text", ["", "a", "a:", ":b", "a b:c", "a:b:c", "1:2"])
def test_name_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no handler"):
        Deferred.named(text)


def test_handler_that_was_not_loaded_handles_nothing() -> None:
    with pytest.raises(TypeError, match="Path was not loaded"):
        Deferred.named("pathlib:Path")()
    with Deferred.named("os:path.join").opened() as found:
        assert found is os.path.join


# Privileges

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs a start as root")

BECOME = """
import json, os, sys
from portside.service.privileges import Identity
for _ in range(2):
    Identity.of(*json.loads(sys.argv[1])).assume()
try:
    os.setuid(0)
    back = True
except PermissionError:
    back = False
print(json.dumps([os.getresuid(), os.getresgid(), os.getgroups(), back]))
"""


def become(user: object, group: object) -> list[Any]:
    done = subprocess.run(
        [sys.executable, "-c", BECOME, json.dumps([user, group])], capture_output=True, timeout=60, check=True
    )
    found: list[Any] = json.loads(done.stdout)
    return found


@as_root
@pytest.mark.parametrize(
    ("user", "group", "uid", "gid"),
    [
        ("nobody", None, 65534, 65534),
        (65534, 1, 65534, 1),
        ("54321", None, 54321, 54321),
        ("nobody", "daemon", 65534, 1),
    ],
)
def test_rights_are_given_up_for_good(user: object, group: object, uid: int, gid: int) -> None:
    users, groups, all_groups, back = become(user, group)
    assert (users, groups, back) == ([uid] * 3, [gid] * 3, False)
    assert set(all_groups) == {gid}


@as_root
def test_group_alone() -> None:
    assert become(None, "daemon") == [[0, 0, 0], [1, 1, 1], [1], True]


def test_nobody_in_particular() -> None:
    assert Identity.of(None, None) is None


REFUSED = """
import os
from portside import serve
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    serve(print, 0, user="root", workers=1)
except PermissionError as error:
    print(error)
"""


@as_root
def test_user_without_rights_is_told_before_anything_binds() -> None:
    done = subprocess.run([sys.executable, "-c", REFUSED], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "user='root' needs a start as root: start it so, or leave that out\n"
