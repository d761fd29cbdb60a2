"""What an application may say to `start_response`."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.http.wsgi import rules
from portside.http.wsgi.rules import Head, checked

PLAIN = [("Content-Type", "text/plain")]


def test_head_of_an_ordinary_answer() -> None:
    assert checked("200 OK", [*PLAIN, ("X-A", "b\tc \xe9"), ("X-A", "")]) == Head(
        200, "200 OK\r\n", "Content-Type: text/plain\r\nX-A: b\tc \xe9\r\nX-A: \r\n", None, False, False
    )


def test_what_the_server_need_not_say() -> None:
    found = checked("204 ", [("date", "today"), ("SERVER", "me"), ("Content-length", "7")])
    assert (found.code, found.length, found.has_date, found.has_server) == (204, 7, True, True)


def test_length_said_twice_alike() -> None:
    assert checked("200 OK", [("Content-Length", "7"), ("content-length", "7")]).length == 7


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("200", AssertionError),
        ("200OK", AssertionError),
        ("20X OK", AssertionError),
        ("099 Early", ValueError),
        ("200 OK\r\nX: y", ValueError),
        ("200 \u20ac", ValueError),
        (b"200 OK", TypeError),
        (200, TypeError),
    ],
)
def test_bad_status(status: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"(?i)status"):
        checked(status, PLAIN)


@pytest.mark.parametrize("name", [*sorted(rules.HOP_BY_HOP), "Connection", "TRANSFER-ENCODING", "Keep-Alive"])
def test_fields_of_the_connection_are_the_servers(name: str) -> None:
    with pytest.raises(ValueError, match="is about the connection"):
        checked("200 OK", [(name, "x")])


@pytest.mark.parametrize(
    ("headers", "error", "why"),
    [
        ((("A", "b"),), TypeError, "must be a list, not tuple"),
        ([(b"A", "b")], TypeError, "name must be a str, not bytes"),
        ([("A", b"b")], TypeError, "must be a str, not bytes"),
        ([("A", 1)], TypeError, "must be a str, not int"),
        ([("A B", "b")], ValueError, "has characters that a name cannot have"),
        ([("A:", "b")], ValueError, "has characters that a name cannot have"),
        ([("", "b")], ValueError, "has characters that a name cannot have"),
        ([("A\r\nB", "b")], ValueError, "has characters that a name cannot have"),
        ([("A", "b\r\nC: d")], ValueError, "cannot be sent"),
        ([("A", "b\nC: d")], ValueError, "cannot be sent"),
        ([("A", "b\0")], ValueError, "cannot be sent"),
        ([("A", "\u20ac")], ValueError, "cannot be sent"),
        ([("Status", "200")], ValueError, "not a header"),
        ([("Content-Length", "x")], ValueError, "must be one number"),
        ([("Content-Length", "-1")], ValueError, "must be one number"),
        ([("Content-Length", "1"), ("Content-Length", "2")], ValueError, "must be one number"),
    ],
)
def test_bad_headers(headers: Any, error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why):
        checked("200 OK", headers)


def test_memory_of_names_is_bounded() -> None:
    for number in range(2 * rules.REMEMBERED):
        checked(f"200 {number}", [(f"X-{number}", "y")])
    assert len(rules._names) <= rules.REMEMBERED
    assert len(rules._statuses) <= rules.REMEMBERED
    assert checked("200 New", [("X-New", "y")]).fields == "X-New: y\r\n"


@given(st.text(max_size=12), st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=4))
def test_any_text_is_a_sound_head_or_refused(reason: str, headers: list[tuple[str, str]]) -> None:
    try:
        head = checked(f"200 {reason}", headers)
    except ValueError:
        return
    lines = (head.line + head.fields).encode("latin-1").split(b"\r\n")
    assert len(lines) == len(headers) + 2
    assert not any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines)
