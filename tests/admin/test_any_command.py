"""Whatever is sent as a command, or over a supervisor's channel, is answered or given up; nothing else happens."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portside.endpoints import Endpoint
from portside.framing import LengthPrefixed
from portside.handlers import StreamRequestHandler
from portside.policy.access import Access
from portside.service.bound import Bound
from portside.service.control import COMMANDS, Control
from portside.service.description import Service
from portside.service.supervision.channel import Channel

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner), max_leaves=6
)
words = st.sampled_from(["do", "id", "host", "seconds", "limit", "stacks", "x"])
commands = st.dictionaries(words, st.sampled_from(sorted(COMMANDS)) | st.just("127.0.0.1") | values)
NESTED = b"[" * 60_000


@pytest.fixture(scope="module")
def control() -> Iterator[Control]:
    """The commands of a service that listens, and serves nobody."""
    service = Service(handler=StreamRequestHandler, endpoints=(Endpoint.parse("tcp://127.0.0.1:0"),), access=Access())
    bound = Bound(service)
    made = Control(bound)
    yield made
    made.close()
    for server in bound.servers:
        server.server_close()


@given(command=commands | values)
def test_any_command_has_its_reply(control: Control, command: Any) -> None:
    reply = json.loads(json.dumps(control.handle(command)))
    assert reply["pid"]
    assert isinstance(reply.get("error", ""), str)


@given(st.binary(max_size=200) | st.lists(values, max_size=4).map(lambda each: framed(*map(json.dumps, each))))
@example(len(NESTED).to_bytes(4) + NESTED)
def test_any_bytes_on_a_channel_are_messages_or_its_end(data: bytes) -> None:
    one, other = Channel.pair()
    with suppress(BrokenPipeError):
        one._sock.sendall(data)
    one.close()
    more = True
    while more:
        messages, more = other.arrived()
        assert all(isinstance(message, dict) for message in messages)
    other.close()


def framed(*messages: str) -> bytes:
    """Messages as they are sent."""
    return b"".join(LengthPrefixed().encode(message.encode()) for message in messages)
